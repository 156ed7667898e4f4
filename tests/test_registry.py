"""Registries, and a modality, a family and a data set that the package does not know."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.data import SOURCES, DataOptions
from mmgen_jax.data.pipeline import collate
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.model import Batch
from mmgen_jax.registry import Registry
from mmgen_jax.sampling.inputs import conditions, describe
from mmgen_jax.sampling.sampler import Sampler, seed_bits
from mmgen_jax.schema import read_options
from mmgen_jax.training import optimizers
from mmgen_jax.training import state as states
from mmgen_jax.training import step as steps
from tests import toys

STEPS = 200


@pytest.fixture
def toy():
    with toys.registered():
        yield


def test_a_builtin_is_imported_at_its_first_use():
    registry = Registry("thing", {"pi": "math:pi", "broken": "no.such.module:x"})
    assert list(registry) == ["pi", "broken"] and len(registry) == 2
    assert "pi" in registry and "e" not in registry
    assert registry["pi"] == np.pi
    registry.check("broken")
    with pytest.raises(ModuleNotFoundError):
        registry["broken"]


def test_unknown_and_taken_names_are_refused_in_one_line():
    registry = Registry("thing", {"pi": "math:pi"})
    with pytest.raises(InputError, match=r"^unknown thing 'tau'; allowed: pi$"):
        registry["tau"]
    with pytest.raises(InputError, match=r"^thing 'pi' is registered already$"):
        registry.register("pi", 3)


@pytest.mark.parametrize("registry", [MODALITIES, GENERATORS, SOURCES])
def test_every_builtin_can_be_imported(registry):
    assert all(registry[name] is not None for name in registry)


def batch_of(model, source, indices):
    example = collate([model.prepare(source[i], i) for i in indices])
    arrays = jax.tree.map(jnp.asarray, example)
    return Batch(arrays["index"], arrays["image"], arrays["values"], arrays["has"])


def train(config, model):
    """(first metrics, last metrics, trained state) of the package's own step."""
    source = DataOptions.of(config).open(config.data.split)
    players = {
        player: optimizers.build(read_options(OptimizerOptions, config.optimizer[player]), STEPS)
        for player in model.generator.players
    }
    state = jax.jit(lambda: states.create(model, players, seed=0))()
    step = jax.jit(steps.build(config, model, players))
    history = []
    for number in range(STEPS):
        size = config.train.batch_size
        first = number * size % len(source)
        state, metrics = step(state, batch_of(model, source, range(first, first + size)))
        history.append(jax.device_get(metrics))
    return history[0], history[-1], state


def test_a_modality_and_a_family_from_outside_train_and_sample(toy):
    config = toys.toy_config()
    for player in ("generator", "critic"):
        config.optimizer[player].learning_rate = 0.02
        config.optimizer[player].warmup_steps = 1
    config.modalities.number.recovery_weight = 1.0
    configs.validate(config, devices=1)
    source = DataOptions.of(config).open("train")
    model = models.build(config, models.fit(config, source))

    first, last, state = train(config, model)
    # What is left are the records without a number: a fifth of them, of variance 1/3.
    assert last["error"] < 0.3 * first["error"]
    assert last["recovery_number"] > 0.1 * first["recovery_number"]
    assert last["recovery_accuracy_number"] > first["recovery_accuracy_number"]
    assert int(state.state["batches"]) == STEPS
    assert np.abs(state.params["critic"]["kernel"]).max() > 0

    sampler = Sampler(model, config.generator.duel.sample, batch_size=2)
    brightness = {}
    for number in (-0.5, 0.5):
        values, has = conditions(model, {"number": number}, rows=3)
        pictures = sampler(state.params, state.state, values, has, {"number": 1.0}, seed=0)
        assert pictures.shape == (3, 8, 8, 3) and pictures.dtype == np.uint8
        brightness[number] = pictures.mean()
    assert brightness[-0.5] + 60 < brightness[0.5]
    assert describe(model, values, has)[0] == ["number: 0.50"] * 3
    values, has = conditions(model, {}, rows=1)
    assert describe(model, values, has) == ([""], [[]])
    sampler(state.params, state.state, values, has, {"number": 3.0}, seed=0)


def test_a_sampler_refuses_a_seed_that_no_device_can_hold():
    for seed in (-1, 2**32, 10**30):
        with pytest.raises(InputError, match=rf"seed {seed}; allowed: 0 to 4294967295"):
            seed_bits(seed)
    assert seed_bits(2**32 - 1) == 2**32 - 1


def test_nothing_of_the_toys_is_left():
    """In no table of the whole package, whether or not `toys.tables` knows of it."""
    with toys.registered():
        assert {"duel", "number", "greys"} <= names_in_tables()
    assert not names_in_tables() & {"duel", "number", "greys", "critic"}


def names_in_tables():
    """Every word of a key in the module-level tables, and the registries, of the package."""
    modules = [module for name, module in sys.modules.items() if name.startswith("mmgen_jax")]
    tables = [table for module in modules for table in list(vars(module).values())]
    words = set()
    for table in tables:
        if isinstance(table, (dict, set, Registry)):
            words |= {
                word for key in list(table) if isinstance(key, str) for word in key.split(".")
            }
    return words


def test_conditions_refuse_what_the_model_does_not_have(toy):
    model = models.build(toys.toy_config(), {"number": {}})
    with pytest.raises(InputError, match=r"^the run has no modality 'text'; it has: number$"):
        conditions(model, {"text": "a cat"}, rows=1)
    with pytest.raises(InputError, match="out of range"):
        conditions(model, {"number": 2.0}, rows=1)
