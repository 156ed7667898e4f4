"""The autoencoder: losses and moments in closed form, the law of what is drawn, reconstruction."""

import functools
import json
import os
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmgen_jax import config as configs
from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.errors import InputError
from mmgen_jax.generators.autoencoder import family
from mmgen_jax.generators.autoencoder.networks import AutoEncoder
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.modalities import Encoding
from mmgen_jax.nn.batch_norm import Moments
from tests.launching import python
from tests.tiny import family_options, random_parameters, sampling_options

SIZE = 16
WIDTHS = dict(encoder_widths=(8, 16), dense_widths=(32, 24), base_width=16, decoder_widths=(16, 8))
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def condition(rows):
    there, mask = jnp.ones(rows, bool), jnp.ones((rows, 1), bool)
    one = Encoding(normal(rows, 1, 4), mask, normal(rows, 3), normal(rows, 3), there)
    params = {"null": jnp.zeros(4), "mark": {"one": jnp.zeros(4)}}
    return fusion.fuse(params, {"one": one}, {"one": there})


def one_pass(condition):
    return Guidance(condition, jnp.ones((1, condition.mean.shape[0])))


def keys(rows, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def build(**changes):
    options = family_options("autoencoder", **(WIDTHS | changes))
    return family.build(options, pixels(SIZE, SIZE), "float32")


def sampling(temperature=1.0):
    return sampling_options("autoencoder", temperature=temperature)


IMAGES, CONDITION = jnp.tanh(normal(8, SIZE, SIZE, 3)), condition(8)
NETWORK = AutoEncoder(image_size=SIZE, **WIDTHS, dtype=jnp.dtype("float32"))


@functools.cache
def compiled(losses):
    return jax.jit(losses)


def losses_of(generator, params, state, images=IMAGES):
    return compiled(generator.losses)(params, state, images, CONDITION, keys(8), 0)


@functools.cache
def made():
    """(generator, parameters of noise, the state that it begins with, losses of one batch)."""
    generator = build(statistics_decay=0.75)  # of the first batch nothing is left out
    params = random_parameters(lambda key: generator.init(key, IMAGES, CONDITION)[0])
    state = jax.jit(lambda key: generator.init(key, IMAGES, CONDITION)[1])(jax.random.key(0))
    return generator, params, state, losses_of(generator, params, state)


@functools.cache
def trained():
    """(parameters, state) of a few batches."""
    generator, params, state, _ = made()
    for _ in range(3):
        state = losses_of(generator, params, state, jnp.tanh(normal(8, SIZE, SIZE, 3))).state
    return params, state


# The loss and the state.


def test_the_loss_is_the_mean_squared_error_of_what_it_returns():
    _, _, _, losses = made()
    error = np.square(np.asarray(losses.images, np.float64) - np.asarray(IMAGES)).mean()
    np.testing.assert_allclose(losses.players["generator"], error, rtol=1e-5)
    assert losses.players.keys() == {"generator"}
    np.testing.assert_allclose(losses.metrics["mse"], error, rtol=1e-5)
    np.testing.assert_allclose(losses.metrics["psnr"], 10 * np.log10(4 / error), rtol=1e-5)


def test_decibels():
    # White against black is 0 dB, a grey one that is off by a hundredth of that 40 dB.
    np.testing.assert_allclose(family.decibels(jnp.array([4.0, 0.02**2])), [0, 40], atol=1e-4)
    assert np.isfinite(family.decibels(jnp.zeros(())))


def test_moments_of_the_first_batch_are_the_state_then():
    _, params, fresh, losses = made()
    _, expected = NETWORK.apply({"params": params["generator"]}, IMAGES, CONDITION.vector)
    code = NETWORK.apply({"params": params["generator"]}, IMAGES, method=lambda m, x: m.encoder(x))
    code = np.asarray(code, np.float64)
    assert int(fresh["count"]) == 0 and int(losses.state["count"]) == 1
    assert set(losses.state["moments"]) == {"code", "dense_1", "dense_2", "dense_3"}
    found = losses.state["moments"]["code"]
    np.testing.assert_allclose(found.mean, code.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.square, np.square(code).mean(axis=0), rtol=1e-4)
    for ours, theirs in zip(
        jax.tree.leaves(losses.state["moments"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_state_begins_standard_normal_and_keeps_its_shapes():
    _, _, fresh, losses = made()
    for of in fresh["moments"].values():
        assert (of.mean == 0).all() and (of.variance == 1).all()
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shapes(fresh) == shapes(losses.state)


def test_moments_decay_as_the_config_says():
    """After many batches an old one counts `statistics_decay` as much as before."""
    generator, params, _, first = made()
    late = first.state | {"count": jnp.int32(10_000)}
    zero = late | {"moments": jax.tree.map(jnp.zeros_like, first.state["moments"])}
    after = losses_of(generator, params, zero).state
    for ours, whole in zip(
        jax.tree.leaves(after["moments"]), jax.tree.leaves(first.state["moments"]), strict=True
    ):
        np.testing.assert_allclose(ours, 0.25 * whole, rtol=1e-3, atol=1e-5)


def test_the_loss_uses_the_batch_and_no_gradient_passes_the_state():
    generator, params, _, losses = made()
    other = jax.tree.map(lambda x: x + 1, losses.state)

    def run(params):
        found = generator.losses(params, losses.state, IMAGES, CONDITION, keys(8), 0)
        moments = sum(leaf.sum() for leaf in jax.tree.leaves(found.state["moments"]))
        return jnp.stack([found.players["generator"], jnp.square(found.images).sum(), moments])

    with_other, with_own = (
        losses_of(generator, params, state).players["generator"] for state in (other, losses.state)
    )
    assert with_other == with_own
    # Of the loss, of what it returns, of the state. A bias before ReLU and norm learns, too.
    for leaf in jax.tree.leaves(jax.jit(jax.jacrev(run))(params)):
        largest = np.abs(leaf).reshape(3, -1).max(1)
        assert ((largest > 0) == [True, True, False]).all()


# Sampling.


@pytest.fixture
def spied(monkeypatch):
    """(generator, what its network was asked to decode): it draws the first of the condition."""
    seen = []

    def apply(variables, codes, vector, moments, method):
        assert method == "decode"
        seen.append((np.asarray(codes), moments))
        return jnp.broadcast_to(vector[:, :1, None, None], (len(vector), SIZE, SIZE, 3))

    monkeypatch.setattr(family, "AutoEncoder", lambda **_: SimpleNamespace(apply=apply))
    return build(), seen


def state_of(mean, square):
    return {"count": jnp.int32(1), "moments": {"code": Moments(mean, square)}}


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_codes_are_drawn_with_the_moments_of_training(spied, temperature):
    generator, seen = spied
    mean, deviation = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 3.0])
    state = state_of(*(jnp.asarray(x, jnp.float32) for x in (mean, deviation**2 + mean**2)))
    guidance = one_pass(condition(2000))
    generator.sample({"generator": {}}, state, guidance, keys(2000), sampling(temperature))
    codes, moments = seen[0]
    assert moments is state["moments"]
    for k in range(3):
        law = stats.norm(mean[k], temperature * deviation[k])
        assert stats.kstest(codes[:, k], law.cdf).pvalue > 0.01
    assert abs(stats.pearsonr(codes[:, 0], codes[:, 1]).statistic) < 0.1


def test_a_variance_below_zero_is_none(spied):
    generator, seen = spied
    state = state_of(jnp.array([1.0, 2.0]), jnp.array([0.9999, 4.0]))
    generator.sample({"generator": {}}, state, one_pass(condition(4)), keys(4), sampling())
    np.testing.assert_array_equal(seen[0][0], np.tile([1.0, 2.0], (4, 1)))


def test_passes_share_a_code_and_are_combined_as_pictures(spied):
    generator, seen = spied
    both = condition(4)
    coefficients = jnp.array([[-0.5, -1.0], [1.5, 2.0]])
    state = state_of(jnp.zeros(3), jnp.ones(3))
    guidance = Guidance(both, coefficients)
    images = generator.sample({"generator": {}}, state, guidance, keys(2), sampling())
    codes = seen[0][0]
    np.testing.assert_array_equal(codes[:2], codes[2:])
    assert not np.allclose(codes[0], codes[1])
    said = np.asarray(both.vector[:, 0]).reshape(2, 2)
    expected = (np.asarray(coefficients) * said).sum(axis=0)
    np.testing.assert_allclose(images[:, 0, 0, 0], expected, rtol=1e-5)


def test_samples_are_pictures_of_their_own_key_alone():
    generator, _, _, _ = made()
    params, state = trained()
    draw = jax.jit(
        lambda condition, keys: generator.sample(
            params, state, one_pass(condition), keys, sampling()
        )
    )
    whole = draw(CONDITION, keys(8))
    assert whole.shape == (8, SIZE, SIZE, 3) and np.abs(whole).max() <= 1
    assert len({image.tobytes() for image in np.asarray(whole)}) == 8
    # Other neighbours: other keys and conditions in all rows but the third.
    keep = jnp.arange(8) == 2
    other = jax.tree.map(
        lambda a, b: jnp.where(keep.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
        CONDITION._replace(positions=None),
        condition(8)._replace(positions=None),
    )._replace(positions=CONDITION.positions)
    mixed = draw(other, jnp.where(keep, keys(8), keys(8, seed=1)))
    same = [np.array_equal(a, b) for a, b in zip(whole, mixed, strict=True)]
    assert same == (np.arange(8) == 2).tolist()


# Reconstruction.


def test_reconstruction_uses_running_moments():
    generator, _, _, _ = made()
    params, state = trained()
    expected, _ = NETWORK.apply(
        {"params": params["generator"]}, IMAGES, CONDITION.vector, state["moments"]
    )
    reconstruct = jax.jit(generator.reconstruct)
    found = reconstruct(params, state, IMAGES, CONDITION)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    moved = jax.tree.map(lambda x: 2 * x, state)
    assert np.abs(reconstruct(params, moved, IMAGES, CONDITION) - found).max() > 0.01
    # A picture by itself is what it is among others.
    one = reconstruct(params, state, jnp.repeat(IMAGES[:1], 8, axis=0), CONDITION)
    np.testing.assert_allclose(one[0], found[0], atol=1e-5)


def test_batch_and_running_moments_agree_where_every_batch_is_the_same():
    generator, params, _, losses = made()
    found = jax.jit(generator.reconstruct)(params, losses.state, IMAGES, CONDITION)
    np.testing.assert_allclose(found, losses.images, atol=1e-4)


# The config.


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"image": 48},
            "image_size = 48 .*decoder_widths = .512, 256, 128, 64.; .*multiples of 32",
        ),
        ({"image": 16, "decoder_widths": (8,) * 4}, "image_size = 16 .*multiples of 32"),
        ({"encoder_widths": ()}, "encoder_widths = ().*at least one"),
        ({"dense_widths": (8, 0)}, r"dense_widths = \(8, 0\).*each at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(values, words):
    config = configs.default()
    config.generator.name, config.data.image_size = "autoencoder", values.pop("image", 32)
    config.generator.autoencoder.update(values)
    config.objective.recovery_patch_size = 4
    with pytest.raises(InputError, match=words) as refusal:
        configs.validate(config)
    assert "\n" not in str(refusal.value)


def test_it_is_refused_before_jax_is_imported():
    code = """
import sys
from mmgen_jax import config as configs
config = configs.default()
config.generator.name, config.data.image_size = "autoencoder", 48
try:
    configs.validate(config)
finally:
    assert "jax" not in sys.modules
"""
    done = python("-c", code)
    assert (
        "InputError: config.data.image_size = 48" in done.err and "AssertionError" not in done.err
    )


def test_it_owns_one_group_and_learns_the_encoders_too():
    generator, params, _, _ = made()
    assert set(params) == {"generator"}
    assert generator.players == {"generator": ("encoders", "recovery", "generator")}


# Loss, gradients and state of a batch on eight devices against one: with pmap, and on meshes.
ON_DEVICES = """
import json

import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType

from mmgen_jax.nn import layout
from mmgen_jax.training import crossbatch, sharding
from tests.generators import test_autoencoder as tests

generator, rows = tests.build(), 16
images, condition = jnp.tanh(tests.normal(rows, 16, 16, 3)), tests.condition(rows)
params, state = tests.random_parameters(lambda key: generator.init(key, images, condition))
state = jax.tree.map(jnp.abs, state) | {"count": jnp.int32(5)}
shared = condition._replace(positions=None)

def graded(params, state, images, shared):
    given = shared._replace(positions=condition.positions)

    def loss(params):
        whole = layout.gathered(params)
        keys = jax.random.split(jax.random.key(0), len(images))
        found = generator.losses(whole, state, images, given, keys, 0)
        return found.players["generator"], (found.state, found.metrics)

    grads, others = jax.grad(loss, has_aux=True)(params)
    return crossbatch.average(grads), others

def compare(together):
    error = lambda a, b: float(np.abs(a - b).max() / (np.abs(a).max() + 1e-6))
    return max(jax.tree.leaves(jax.tree.map(error, alone, jax.device_get(together))))

alone = jax.device_get(jax.jit(graded)(params, state, images, shared))
cut = lambda x: x.reshape(8, -1, *x.shape[1:])
mapped = jax.pmap(graded, crossbatch.AXIS, in_axes=(None, None, 0, 0), out_axes=None)
errors = {"pmap": compare(mapped(params, state, *jax.tree.map(cut, (images, shared))))}
for name, shape in {"fsdp": (1, 8, 1), "cube": (2, 2, 2)}.items():
    mesh = jax.make_mesh(shape, layout.AXES, (AxisType.Auto,) * 3)
    split, whole = sharding.split(mesh), sharding.replicated(mesh)
    places = sharding.shard(mesh, (params, state))
    compiled = jax.jit(
        layout.on_mesh(mesh, graded),
        in_shardings=(*places, split, split),
        out_shardings=(places[0], (places[1], whole)),
    )
    errors[name] = compare(compiled(params, state, images, shared))
print(json.dumps(errors))
"""


@pytest.mark.slow
def test_eight_devices_are_one():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = python("-c", ON_DEVICES, XLA_FLAGS=flags)
    assert done.code == 0, done.err
    errors = json.loads(done.out)
    assert set(errors) == {"pmap", "fsdp", "cube"} and max(errors.values()) < 1e-4, errors
