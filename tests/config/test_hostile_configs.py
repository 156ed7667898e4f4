"""Whatever stands in a config: one line that names the key, or a model that can be built."""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import CHOSEN, MODALITIES
from mmgen_jax.sampling.sample import sample
from mmgen_jax.schema import find
from mmgen_jax.training import run
from tests.test_properties import FAMILIES, Setup, assets_of, config_of
from tests.tiny import ALL


def nested(make, depth=50):
    value = ()
    for _ in range(depth):
        value = make(value)
    return value


HOSTILE = [
    *(math.nan, math.inf, -1, 0, 1e9, 2**40, 10**400, 1e308, 2.5, -0.5, np.int64(3), np.float32(1)),
    *("", "x", "a\0b", "two\nlines", b"x", True, None),
    *((), ("",), (["text"],), (math.nan,), (2.5, 3), (True,), ("text", "text"), [1, 2]),
    *(nested(lambda v: [v]), nested(lambda v: {"a": v}), {}),
]
CASES = [
    (family, path, number)
    for family in FAMILIES
    for path in configs.all_keys()
    for number in range(len(HOSTILE))
    # Of every other family's keys one family sees all.
    if path.startswith(f"generator.{family}.") or family == "flow"
]


def change(config, path, value):
    """Sets a key past the type checks of ml_collections, as a file or a recipe may."""
    group, _, name = path.rpartition(".")
    fields = find(config, group)._fields
    fields[name] = ConfigDict(value) if isinstance(value, dict) else value


def is_refused(family, path, value):
    """Whether `validate` refuses the value; asserts that its line is one and names the key."""
    config = config_of(Setup(family, ALL))
    change(config, path, value)
    try:
        configs.validate(config)
    except InputError as error:
        message = str(error)
        assert path in message and "\n" not in message and len(message) < 1_000, message
        return True
    return False


def build(family, path, value):
    """The shapes of the state and of a sample of a config that is not refused."""
    config = config_of(Setup(family, ALL))
    change(config, path, value)
    assets = dict(assets_of(Setup(family, ALL)))
    for name in ALL:  # a number that is left to the data, as `fit` would choose it
        chosen = dict.fromkeys(MODALITIES[name].left_open, 8)
        assets[name] = {**assets[name], CHOSEN: chosen}
    model = models.build(config, assets)
    state = run.state_shapes(config, model)
    batch = jax.eval_shape(lambda: models.blank_batch(model))

    def draw(state, batch):
        keys = jax.random.split(jax.random.key(0), 1)
        weights = {name: jnp.ones(1) for name in ALL}
        options = config.generator[config.generator.name].sample
        inputs = batch.values, batch.has, weights, keys, options
        return sample(model, state.params, state.state, *inputs)

    if ".sample." in path:
        jax.eval_shape(draw, state, batch)


def ordered(cases):
    """In an order that is always the same, and alike to that of declaration in nothing."""
    return sorted(cases, key=lambda case: zlib.crc32(repr(case).encode()))


def test_values_of_another_type_are_refused_for_every_key():
    """Whatever a key's rule says of its own type's."""
    for path, key in configs.all_keys().items():
        kind = type(key.default)
        for value in HOSTILE:
            taken = kind is type(value) or (kind is float and type(value) is int)
            assert taken or key.refusal(value), f"{path} = {value!r}"


def test_numbers_are_finite_and_bounded_for_every_key():
    for path, key in configs.all_keys().items():
        for value in (math.nan, math.inf, -math.inf, 1e308, 10**400, 2**63, -(2**63)):
            exact = int(value) if type(key.default) is int and abs(value) < math.inf else value
            if path.endswith("clip_norm") and abs(value) == 2**63:
                continue  # any finite float32
            assert key.refusal(exact), f"{path} = {value!r}"
            assert key.refusal((exact,)), f"{path} = ({value!r},)"


@pytest.mark.parametrize("family", ["flow", "stylegan"])
def test_hostile_values_are_refused_in_one_line_that_names_the_key(family):
    chosen = [case for case in ordered(CASES) if case[0] == family][:250]
    refused = [is_refused(f, path, HOSTILE[number]) for f, path, number in chosen]
    assert sum(refused) > 150


@pytest.mark.slow
def test_what_is_not_refused_can_be_built():
    for family, path, number in ordered(CASES):
        if not is_refused(family, path, HOSTILE[number]):
            build(family, path, HOSTILE[number])


def test_some_of_what_is_not_refused_can_be_built():
    built = 0
    for family, path, number in ordered(CASES):
        of_model = path.startswith(("generator.", "modalities.", "fusion.", "objective."))
        wanted = of_model and family in ("flow", "vae") and built < 4
        if wanted and not is_refused(family, path, HOSTILE[number]):
            build(family, path, HOSTILE[number])
            built += 1
    assert built == 4


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_a_saved_config_is_checked_as_a_new_one(value):
    """A run from a stranger: the same line, and the file that it stands in."""
    saved = configs.default().to_dict()
    saved["train"]["batch_size"] = value
    with pytest.raises(InputError) as refusal:
        configs.from_dict(saved, "stranger/config.json")
    message = str(refusal.value)
    assert "train.batch_size" in message and "stranger/config.json" in message
    assert "\n" not in message and len(message) < 1_000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": {"image_size": 36}}, ("flow.patch_size = 8", "image_size = 36")),
        ({"train.steps": 5}, ("unknown config key train.steps",)),
        ({"generator": {"name": {}}}, ("config.generator.name = {}",)),
        ({"modalities": {"names": []}}, ("config.modalities.names is empty",)),
    ],
)
def test_what_no_model_can_be_built_of_is_refused_when_it_is_loaded(values, words):
    with pytest.raises(InputError) as refusal:
        configs.from_dict(values, "stranger/config.json")
    for word in (*words, "stranger/config.json"):
        assert word in str(refusal.value)


def test_a_saved_config_needs_not_its_data(tmp_path):
    config = configs.default()
    config.data.name, config.data.path = "folder", str(tmp_path / "gone")
    configs.save(config, tmp_path / "config.json")
    assert configs.load(tmp_path / "config.json").data.path == config.data.path


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"data.image_size": 8_192, "generator.flow.patch_size": 1},
            ("config.generator.flow.patch_size = 1", "image_size = 8192", "PiB", "512 GiB"),
        ),
        (
            {"data.image_size": 8_192, "generator.flow.patch_size": 512, "eval.count": 4_096},
            ("config.eval.count = 4096", "image_size = 8192", "TiB"),
        ),
        (
            {"modalities.audio.fit_examples": 10**6, "modalities.audio.seconds": 100.0},
            ("config.modalities.audio.fit_examples = 1000000", "at most 360"),
        ),
    ],
)
def test_an_example_that_no_device_has_room_for_is_refused(values, words):
    config = configs.default()
    config.modalities.names = ("label", "audio")
    for path, value in values.items():
        change(config, path, value)
    with pytest.raises(InputError) as refusal:
        configs.validate(config)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("name", ["names", "a.b", "", "A b", "x" * 99])
def test_an_input_of_a_stranger_has_a_name_that_can_be_one(name):
    with pytest.raises(InputError, match="unknown config key modalities|whole|tuple"):
        configs.from_dict({"modalities": {name: {"kind": "image"}}}, "stranger/config.json")


def test_a_config_of_a_stranger_may_be_deep():
    deep = node = {}
    for _ in range(900):
        node["generator"] = node = {}
    with pytest.raises(InputError, match="unknown config key"):
        configs.from_dict(deep, "stranger/config.json")
