"""The training step: players, accumulation, averages, dtypes, rematerialisation."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.data.pipeline import fixed_batch
from mmgen_jax.modalities.examples import prepare_example
from mmgen_jax.model import Batch
from mmgen_jax.objective import objective
from mmgen_jax.schema import read_options
from mmgen_jax.training import optimizers, state
from mmgen_jax.training import step as steps
from tests import toys
from tests.tiny import open_source, random_parameters, tiny_batch, tiny_config

NAMES = ("label",)  # no term of it compares examples


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def toy_config(**players):
    """The toys with quick optimizers; `players` overrides their options."""
    config = toys.toy_config()
    for player in ("generator", "critic"):
        config.optimizer[player].update(name="adamw", learning_rate=0.01, warmup_steps=0)
    for player, options in players.items():
        config.optimizer[player].update(options)
    return config


def toy_model(config):
    return models.build(config, {"number": {}})


def toy_batch(model, start=0, rows=8):
    prepare = partial(prepare_example, modalities=model.modalities, image_shape=(8, 8))
    example = fixed_batch(toys.Greys(), prepare, range(start, start + rows))
    return Batch(example["index"], example["image"], example["values"], example["has"])


def run(config, model, count):
    """The states before and after each of `count` steps."""
    players = {
        player: optimizers.build(
            read_options(OptimizerOptions, config.optimizer[player]), config.train.steps
        )
        for player in model.generator.players
    }
    step = jax.jit(steps.build(config, model, players))
    states = [jax.jit(lambda: state.create(model, players, 0))()]
    for start in range(0, 8 * count, 8):
        states.append(step(states[-1], toy_batch(model, start))[0])
    return states


def equal(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def moves(states, group):
    """At which steps a group of parameters moved."""
    groups = [state.params[group] for state in states]
    return [step for step, (old, new) in enumerate(pairwise(groups)) if not equal(old, new)]


def test_each_player_moves_when_its_config_says():
    config = toy_config(
        critic={"update_start": 2, "update_every": 3}, generator={"update_every": 2}
    )
    states = run(config, toy_model(config), 9)
    assert moves(states, "critic") == [2, 5, 8]
    for group in ("encoders", "recovery", "generator"):
        assert moves(states, group) == [0, 2, 4, 6, 8]
    assert [int(s.step) for s in states] == list(range(10))
    assert [int(s.state["batches"]) for s in states] == list(range(10))


def test_a_player_that_rests_keeps_its_optimizer():
    config = toy_config(critic={"update_every": 2})
    _, first, second, third = run(config, toy_model(config), 3)
    assert equal(first.optimizer["critic"], second.optimizer["critic"])
    assert not equal(second.optimizer["critic"], third.optimizer["critic"])
    assert not equal(first.optimizer["generator"], second.optimizer["generator"])


def test_a_group_that_nobody_owns_is_frozen():
    config = toy_config()
    model = toy_model(config)
    players = {"generator": ("encoders", "generator")}
    model = model._replace(generator=model.generator._replace(players=players))
    losses = model.generator.losses

    def lonely(*args):
        return (drawn := losses(*args))._replace(players={"generator": drawn.players["generator"]})

    model = model._replace(generator=model.generator._replace(losses=lonely))
    first, *_, last = run(config, model, 3)
    for group in ("critic", "recovery"):
        assert equal(first.params[group], last.params[group])
        assert equal(first.params[group], last.averaged[group])
        assert group not in last.ema
    for group in ("encoders", "generator"):
        assert not equal(first.params[group], last.params[group])
    assert last.optimizer.keys() == {"generator"}


def test_the_average_follows_its_closed_form():
    """ema_n = r_n ema_(n-1) + (1 - r_n) params_n with r_n = min(decay, n / (n + 10))."""
    config = toy_config()
    config.train.ema_decay = 0.3  # is reached at the fifth step
    first, *rest = run(config, toy_model(config), 7)
    assert equal(first.ema, first.params)
    expected = np.asarray(first.params["generator"]["kernel"], np.float64)
    for n, after in enumerate(rest, start=1):
        rate = min(0.3, n / (n + 10))
        expected = rate * expected + (1 - rate) * after.params["generator"]["kernel"]
        np.testing.assert_allclose(after.ema["generator"]["kernel"], expected, rtol=1e-5, atol=1e-7)


def test_steps_leave_no_weak_types_behind():
    """Else the second step, and the first after a checkpoint, would be compiled anew."""
    config = toy_config()
    model = toy_model(config)
    build = model.generator.init

    def weak(*args):
        params, family_state = build(*args)
        return params | {"frozen": {"weak": jnp.full(3, 0.1)}}, family_state

    model = model._replace(generator=model.generator._replace(init=weak))
    for before, after in zip(*run(config, model, 1), strict=True):
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            assert (old.dtype, old.weak_type) == (new.dtype, new.weak_type) == (old.dtype, False)


def assert_close(ours, theirs, rtol=1e-4):
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale), ours, theirs
    )


def test_accumulation_is_the_mean_over_the_parts():
    """Rows go to the parts in turn, and the family's state from part to part."""
    model = toy_model(toy_config())
    before = jax.jit(lambda: state.create(model, {}, 0))()
    batch = toy_batch(model)
    gradients = jax.jit(partial(steps.gradients, model), static_argnums=2)
    grads, after, metrics = gradients(before, batch, 2)

    halves = [jax.tree.map(lambda x, k=k: x[k::2], batch) for k in range(2)]
    first = gradients(before, halves[0], 1)
    second = gradients(before._replace(state=first[1]), halves[1], 1)
    assert_close(grads, jax.tree.map(lambda a, b: (a + b) / 2, first[0], second[0]))
    assert_close(metrics, jax.tree.map(lambda a, b: (a + b) / 2, first[2], second[2]))
    assert_close(after, second[1])
    assert not equal(first[0], second[0])


def flow(**options):
    """(loss and gradients, parameters) of the tiny flow with other options."""
    config = tiny_config(NAMES)
    for name, value in options.items():
        group = config.train if name in config.train else config.generator.flow
        group[name] = value
    model = models.build(config, models.fit(config, open_source(config)))
    params, family_state = random_parameters(lambda key: models.init(model, key))
    batch = tiny_batch(NAMES)

    def loss(params):
        return objective(model, params, family_state, batch, jax.random.key(5), 0)[0]

    return jax.value_and_grad(loss), params


@pytest.fixture(scope="module")
def plain():
    """(jaxpr, loss, gradients) of the tiny flow in float32, without rematerialisation."""
    function, params = flow()
    return str(jax.make_jaxpr(function)(params)), *jax.jit(function)(params)


def test_rematerialisation_changes_memory_and_no_number(plain):
    function, params = flow(remat=True)
    assert "remat" in str(jax.make_jaxpr(function)(params))
    assert "remat" not in plain[0]
    loss, grads = jax.jit(function)(params)
    np.testing.assert_allclose(loss, plain[1], rtol=1e-6)
    assert_close(grads, plain[2])


def test_bfloat16_computes_in_bfloat16_and_trains_float32(plain):
    function, params = flow(dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    jaxpr = str(jax.make_jaxpr(function)(params))
    products = [line for line in jaxpr.split("\n") if "dot_general" in line]
    assert sum("bf16[" in line for line in products) > len(products) / 2
    assert "bf16" not in plain[0]
    loss, grads = jax.jit(function)(params)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, grads))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(loss, plain[1], rtol=0.05)
    ours, exact = (
        np.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (grads, plain[2])
    )
    assert ours @ exact > 0.98 * np.linalg.norm(ours) * np.linalg.norm(exact)
