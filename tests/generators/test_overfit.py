"""Every family learns one batch by heart, from each modality alone and from all together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.schema import read_options
from mmgen_jax.training import optimizers
from mmgen_jax.training import state as states
from mmgen_jax.training import step as steps
from tests.tiny import ALL, open_source, tiny_batch, tiny_config

# By family, the metric of its likelihood term, and by how much it falls at least.
FAMILIES = {"flow": ("flow", 8), "autoencoder": ("mse", 8), "vae": ("bits_per_dim", 2)}
STEPS = 200
ROWS = 8


def config_of(family):
    config = tiny_config()
    config.generator.name = family
    config.train.steps = STEPS
    optimizer = config.optimizer.generator
    optimizer.name, optimizer.learning_rate = "adamw", 1e-2
    optimizer.warmup_steps, optimizer.final_fraction = 10, 0.1
    for name in ALL:
        config.modalities[name].recovery_weight = 1.0
    return config


@functools.lru_cache
def trainer(family):
    """(a fresh state, the compiled step): one program, whoever is present."""
    config = config_of(family)
    model = models.build(config, models.fit(config, open_source(config)))
    players = {
        player: optimizers.build(read_options(OptimizerOptions, config.optimizer[player]), STEPS)
        for player in model.generator.players
    }
    fresh = jax.jit(lambda: states.create(model, players, seed=0))()
    return fresh, jax.jit(steps.build(config, model, players))


@functools.lru_cache
def batch():
    """The first records; no two have the same caption, so that recovery can be perfect."""
    found = tiny_batch(rows=ROWS)
    assert len(np.unique(found.values["text"]["tokens"], axis=0)) == ROWS
    return found


def overfit(family, names):
    """The metrics of every step, with nothing but `names` present."""
    state, step = trainer(family)
    has = {name: jnp.full(ROWS, name in names) for name in ALL}
    history = []
    for number in range(STEPS):
        # A new index means new noise and timesteps: it is the batch that is learned by heart.
        index = number * ROWS + jnp.arange(ROWS, dtype=jnp.uint32)
        state, metrics = step(state, batch()._replace(has=has, index=index))
        history.append(metrics)
    return jax.device_get(history)


@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL], ids="+".join)
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_one_batch_is_learned_by_heart(family, names):
    history = overfit(family, names)

    def mean(metric, part):
        return np.mean([metrics[metric] for metrics in history[part]])

    metric, factor = FAMILIES[family]
    assert factor * mean(metric, slice(-20, None)) < mean(metric, slice(0, 5))
    for name in names:
        # Where a value is told from the others one by one, a row that is lost to one of them alone
        # misses no more than this share.
        rivals = ROWS - 1 if f"recovery_ceiling_{name}" in history[0] else 1
        assert 1 - mean(f"recovery_accuracy_{name}", slice(-20, None)) < 0.01 / rivals, name
