"""The program of a config: compiled before there is a batch, it takes the batches that come."""

import jax
import pytest

from mmgen_jax import model as models
from mmgen_jax.training import loop, program, sharding
from tests.tiny import open_source, tiny_config


@pytest.mark.parametrize("strategy", ["jit", "pmap"])
def test_what_it_is_compiled_for_is_what_it_is_fed(strategy, monkeypatch):
    traced, create = [], program.create
    monkeypatch.setattr(program, "create", lambda *args: traced.append(args) or create(*args))
    config = tiny_config(("text", "label"))
    config.train.strategy, config.sharding.data = strategy, 1
    source = open_source(config)
    model = models.build(config, models.fit(config, source))
    built = program.build(config, model, sharding.make_mesh(config.sharding))
    batches = loop.feed(config, model, source, list(range(config.train.batch_size)))
    batch = built.strategy.place(next(batches))
    batches.close()
    compiled = built.lower().compile()
    state, metrics = compiled(built.init(), batch)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(state) == shapes(built.init()) == shapes(built.state)
    again = built.strategy.step(built.init(), batch)[1]
    assert again["loss"] == metrics["loss"]
    assert len(traced) == 1, "tracing takes seconds: for shapes and for the compiler, once"
    facts = lambda x: (x.shape, x.dtype, x.sharding.spec)  # noqa: E731
    assert jax.tree.map(facts, batch) == jax.tree.map(facts, built.strategy.batch)
