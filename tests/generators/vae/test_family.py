"""The VAE: likelihood and divergences in closed form, what the loss charges, and drawing."""

import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit

from mmgen_jax import config as configs
from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.errors import InputError
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.generators.vae import family
from mmgen_jax.generators.vae.networks import (
    SMALLEST_LOG_SCALE,
    HierarchicalVAE,
    Likelihood,
    Posterior,
)
from mmgen_jax.modalities import Encoding
from tests.launching import python
from tests.tiny import family_options, random_parameters, sampling_options

SIZE, ROWS, D = 16, 8, 16 * 16 * 3
SIZES = dict(patch_size=4, width=24, depth=1, num_heads=2, latent_dim=16, latent_sides=(1, 4))
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def condition(rows):
    there, mask = jnp.ones(rows, bool), jnp.ones((rows, 1), bool)
    one = Encoding(normal(rows, 1, 4), mask, normal(rows, 3), normal(rows, 3), there)
    params = {"null": jnp.zeros(4), "mark": {"one": jnp.zeros(4)}}
    return fusion.fuse(params, {"one": one}, {"one": there})


def keys(rows=ROWS, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def levels(images):
    """The nearest of the 256 levels."""
    return jnp.round((images + 1) * 127.5) / 127.5 - 1


IMAGES, CONDITION = levels(jnp.tanh(normal(ROWS, SIZE, SIZE, 3))), condition(ROWS)


def build(**changes):
    options = family_options("vae", **(SIZES | changes))
    return family.build(options, pixels(SIZE, SIZE), "float32")


@functools.cache
def made():
    """(generator, parameters of noise, its losses compiled)."""
    generator = build(free_bits=0.0)
    params = random_parameters(lambda key: generator.init(key, IMAGES, CONDITION)[0])
    return generator, params, jax.jit(generator.losses)


@functools.cache
def compiled(name):
    return jax.jit(getattr(made()[0], name))


def losses_of(images=IMAGES, seed=0, step=10**6):
    _, params, losses = made()
    return losses(params, {}, images, CONDITION, keys(seed=seed), step)


def posterior(rows=3, groups=2, latent=4):
    return [normal(rows, groups, latent), 0.5 * normal(rows, groups, latent)]


# The likelihood.

LEVELS = np.arange(256) / 127.5 - 1
MEANS = [-3.0, -1.0, -0.999, 0.0, 0.3, 1.0, 2.5]
LOG_SCALES = [-7.0, -4.0, -1.0, 2.0]


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_the_levels_probabilities_are_those_of_the_definition_and_sum_to_one(mean, log_scale):
    x = jnp.asarray(LEVELS, jnp.float32)
    logs = family.discretised_logistic(x, jnp.full(256, mean), jnp.full(256, log_scale))
    assert float(np.exp(np.asarray(logs, np.float64)).sum()) == pytest.approx(1, abs=1e-5)
    edges = (np.arange(257) - 0.5) / 127.5 - 1
    edges[0], edges[-1] = -np.inf, np.inf
    expected = np.diff(expit((edges - mean) / np.exp(log_scale)))
    # Relative, where float64 itself can tell the difference of two sigmoids.
    known = expected > 1e-9
    np.testing.assert_allclose(logs[known], np.log(expected[known]), atol=2e-3, rtol=2e-4)
    np.testing.assert_allclose(np.exp(logs), expected, atol=2e-5)


def test_far_from_the_mean_the_likelihood_and_its_gradient_are_finite():
    x, mean = jnp.array([-1.0, 0.0, 1.0]), jnp.array([1.0, -1.0, -1.0])

    def total(mean, log_scale):
        return family.discretised_logistic(x, mean, log_scale).sum()

    value, grads = jax.value_and_grad(total, (0, 1))(mean, jnp.full(3, -7.0))
    assert np.isfinite(value) and all(np.isfinite(g).all() and (g != 0).all() for g in grads)


def test_the_gradient_of_the_likelihood():
    x = jnp.array([-1.0, -1 + 2 / 255, 0.0, 1.0]).at[2].set(1 / 255)
    check_grads(
        lambda *of: family.discretised_logistic(x, *map(jnp.asarray, of)),
        (jnp.array([-0.9, -0.7, 0.2, 0.8]), jnp.array([-1.0, -2.0, -1.5, -1.0])),
        order=1,
        modes=["rev"],
        atol=1e-2,
        rtol=1e-2,
        eps=1e-2,
    )


# Divergences.


def test_the_divergence_is_that_of_two_gaussians():
    mean, log_deviation = posterior()
    found = family.divergence(Posterior(mean, log_deviation, mean))
    m, s = np.asarray(mean, np.float64), np.exp(np.asarray(log_deviation, np.float64))
    noise = np.random.default_rng(1).normal(size=(40_000, *m.shape))
    log_q = -0.5 * noise**2 - np.log(s)
    log_p = -0.5 * (m + s * noise) ** 2
    np.testing.assert_allclose(found, (log_q - log_p).mean(0).sum(-1), rtol=0.03)


def test_the_mean_log_ratio_is_minus_the_divergence():
    mean, log_deviation = posterior()
    expected = family.divergence(Posterior(mean, log_deviation, mean)).sum(axis=1)

    def one(key):
        noise = jax.random.normal(key, mean.shape)
        return family.log_ratio(
            Posterior(mean, log_deviation, mean + jnp.exp(log_deviation) * noise), noise
        )

    ratios = jax.vmap(one)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(-ratios.mean(0), expected, rtol=0.03)


def test_a_fresh_prior_is_standard_normal_and_there_is_no_state():
    params, state = build().init(jax.random.key(0), IMAGES, CONDITION)
    assert state == {} and losses_of().state == {}
    for group in ("group_0", "group_1"):
        assert all((leaf == 0).all() for leaf in params["generator"][group]["prior"].values())
        assert np.abs(params["generator"][group]["posterior"]["kernel"]).max() > 0


# The loss.


def test_what_the_divergence_costs():
    """Nothing at step 0, half of it half-way, and no group less than its free bits."""
    kl, bit = jnp.array([3.0, 0.5]), np.log(2)
    for free_bits, charged in ((0.0, 3.5), (1.0, 3 + bit), (6.0, 12 * bit)):
        options = family_options("vae", free_bits=free_bits, kl_warmup_steps=10)
        for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (1_000, 1.0)):
            found = family.charged(options, kl, step)
            np.testing.assert_allclose(found, weight * charged, rtol=1e-6)


def test_a_group_within_its_free_bits_is_not_pushed():
    options = family_options("vae", free_bits=1.0, kl_warmup_steps=1)
    slopes = jax.grad(lambda kl: family.charged(options, kl, 1))(jnp.array([3.0, 0.5]))
    np.testing.assert_array_equal(slopes, [1, 0])


def test_the_loss_is_the_negative_elbo_per_dimension():
    found = losses_of()
    metrics = {name: float(value) for name, value in found.metrics.items()}
    assert metrics["kl"] == pytest.approx(metrics["kl_0"] + metrics["kl_1"], rel=1e-5)
    assert min(metrics["kl_0"], metrics["kl_1"]) > 0
    assert found.players.keys() == {"generator"}
    np.testing.assert_allclose(
        found.players["generator"], metrics["nll"] + metrics["kl"], rtol=1e-5
    )
    expected = float(found.players["generator"]) / np.log(2)
    assert metrics["bits_per_dim"] == pytest.approx(expected, rel=1e-5)


def test_the_mean_log_weight_is_the_elbo():
    _, params, _ = made()
    weigh = compiled("log_weight")
    seeds = range(60)
    weights = [weigh(params, {}, IMAGES, CONDITION, keys(seed=seed)).mean() for seed in seeds]
    bits = [losses_of(seed=100 + seed).metrics["bits_per_dim"] for seed in seeds]
    error = np.hypot(np.std(weights) / (D * np.log(2)), np.std(bits)) / len(seeds) ** 0.5
    assert abs(-np.mean(weights) / (D * np.log(2)) - np.mean(bits)) < 4 * error < 0.5
    assert weigh(params, {}, IMAGES, CONDITION, keys()).shape == (ROWS,)


def test_the_gradient_of_the_loss():
    """Along one direction, against the difference of two losses."""
    _, params, losses = made()
    direction = jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape), x.dtype), params)

    def loss(step):
        moved = jax.tree.map(lambda p, d: p + step * d, params, direction)
        return losses(moved, {}, IMAGES, CONDITION, keys(), 10**6).players["generator"]

    loss, near = jax.jit(loss), 1e-3
    slope = jax.jit(jax.grad(loss))(0.0)
    assert float(slope) == pytest.approx(float((loss(near) - loss(-near)) / (2 * near)), rel=0.02)


def test_every_parameter_learns():
    _, params, losses = made()

    def total(params):
        return losses(params, {}, IMAGES, CONDITION, keys(), 10**6).players["generator"]

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(params)):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


# Drawing.


def test_the_pictures_of_the_loss_are_drawn_from_the_prior():
    """They do not see the images, and their gradient reaches the prior but not the posterior."""
    _, params, losses = made()
    drawn = losses_of().images
    np.testing.assert_array_equal(losses_of(images=IMAGES[::-1]).images, drawn)
    assert np.abs(losses_of(seed=1).images - drawn).max() > 0.01 and np.abs(drawn).max() <= 1

    def bright(params):
        return losses(params, {}, IMAGES, CONDITION, keys(), 0).images.mean()

    grads = jax.jit(jax.grad(bright))(params)["generator"]
    for part, moved in (("prior", True), ("posterior", False), ("latent", True)):
        assert (np.abs(grads["group_1"][part]["kernel"]).max() > 0) == moved, part


def one_pass(condition):
    return Guidance(condition, jnp.ones((1, condition.mean.shape[0])))


@functools.cache
def sampled(temperature, seed=0):
    generator, params, _ = made()
    options = sampling_options("vae", temperature=temperature)
    return np.asarray(
        jax.jit(lambda k: generator.sample(params, {}, one_pass(CONDITION), k, options))(
            keys(seed=seed)
        )
    )


def test_without_temperature_a_condition_has_one_picture():
    np.testing.assert_array_equal(sampled(0.0), sampled(0.0, seed=1))
    assert len({image.tobytes() for image in sampled(0.0)}) == ROWS
    spread = [np.abs(sampled(t) - sampled(0.0)).mean() for t in (0.25, 1.0)]
    assert 0 < spread[0] < spread[1]


def test_samples_are_the_likelihoods_mean_of_their_own_key():
    generator, params, _ = made()
    draw = generator.latents.draw
    latents = draw(params, {}, CONDITION, keys(), sampling_options("vae", temperature=1.0))
    assert latents.shape == (ROWS, 2, 16)
    network = HierarchicalVAE(SIZE, 4, 24, 1, 2, 16, (1, 4), jnp.dtype("float32"))
    likelihood, _ = jax.jit(network.apply)(
        {"params": params["generator"]}, CONDITION.vector, latents
    )
    np.testing.assert_allclose(sampled(1.0), np.clip(likelihood.mean, -1, 1), atol=1e-5)
    # Other keys for all but the third: its latents stay.
    mixed = jnp.where(jnp.arange(ROWS) == 2, keys(), keys(seed=1))
    others = draw(params, {}, CONDITION, mixed, sampling_options("vae", temperature=1.0))
    same = [np.array_equal(a, b) for a, b in zip(latents, others, strict=True)]
    assert same == (np.arange(ROWS) == 2).tolist()


def test_a_reconstruction_is_that_of_the_posteriors_mean():
    _, params, _ = made()
    found = compiled("reconstruct")(params, {}, IMAGES, CONDITION)
    network = HierarchicalVAE(SIZE, 4, 24, 1, 2, 16, (1, 4), jnp.dtype("float32"))
    likelihood, posterior = jax.jit(network.apply)(
        {"params": params["generator"]}, CONDITION.vector, jnp.zeros((ROWS, 2, 16)), IMAGES
    )
    np.testing.assert_array_equal(posterior.noise, posterior.mean)
    np.testing.assert_allclose(found, np.clip(likelihood.mean, -1, 1), atol=1e-5)
    other = compiled("reconstruct")(params, {}, IMAGES[::-1], CONDITION)
    assert np.abs(other - found).max() > 0.01


# The config.


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latent_sides": (1, 3)}, "latent_sides = .1, 3. with 4 patches .*divisors of 4"),
        ({"latent_dim": 24, "latent_sides": (1, 4)}, "latent_dim = 24; .*squares divide 24"),
        ({"latent_sides": ()}, "latent_sides = ().*at least one"),
        ({"num_heads": 3}, "vae.num_heads = 3 does not divide config.generator.vae.width = 128"),
        ({"kl_warmup_steps": 0}, "kl_warmup_steps = 0; allowed: at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(values, words):
    config = configs.default()
    config.generator.name = "vae"
    configs.validate(config)
    config.generator.vae.update(values)
    with pytest.raises(InputError, match=words) as refusal:
        configs.validate(config)
    assert "\n" not in str(refusal.value)


# Loss and gradients of a batch on eight devices against one: with pmap, and on meshes.
ON_DEVICES = """
import json

import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType

from mmgen_jax.nn import layout
from mmgen_jax.training import crossbatch, sharding
from tests.generators import test_vae as tests

generator, rows = tests.build(free_bits=1.0), 16
images, condition = tests.levels(jnp.tanh(tests.normal(rows, 16, 16, 3))), tests.condition(rows)
params, _ = tests.random_parameters(lambda key: generator.init(key, images, condition))
shared = condition._replace(positions=None)
keys = jax.random.split(jax.random.key(0), rows)

def graded(params, images, shared, keys):
    given = shared._replace(positions=condition.positions)

    def loss(params):
        whole = layout.gathered(params)
        found = generator.losses(whole, {}, images, given, keys, 10**6)
        return found.players["generator"], found.metrics

    grads, metrics = jax.grad(loss, has_aux=True)(params)
    return crossbatch.average(grads), metrics

def compare(together):
    error = lambda a, b: float(np.abs(a - b).max() / (np.abs(a).max() + 1e-6))
    return max(jax.tree.leaves(jax.tree.map(error, alone, jax.device_get(together))))

inputs = images, shared, keys
alone = jax.device_get(jax.jit(graded)(params, *inputs))
cut = lambda x: x.reshape(8, -1, *x.shape[1:])
mapped = jax.pmap(graded, crossbatch.AXIS, in_axes=(None, 0, 0, 0), out_axes=None)
errors = {"pmap": compare(mapped(params, *jax.tree.map(cut, inputs)))}
for name, shape in {"fsdp": (1, 8, 1), "cube": (2, 2, 2)}.items():
    mesh = jax.make_mesh(shape, layout.AXES, (AxisType.Auto,) * 3)
    split, whole = sharding.split(mesh), sharding.replicated(mesh)
    places = sharding.shard(mesh, params)
    compiled = jax.jit(
        layout.on_mesh(mesh, graded),
        in_shardings=(places, split, split, split),
        out_shardings=(places, whole),
    )
    errors[name] = compare(compiled(params, *inputs))
print(json.dumps(errors))
"""


@pytest.mark.slow
def test_eight_devices_are_one():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = python("-c", ON_DEVICES, XLA_FLAGS=flags)
    assert done.code == 0, done.err
    errors = json.loads(done.out)
    assert set(errors) == {"pmap", "fsdp", "cube"} and max(errors.values()) < 1e-4, errors


def test_scales_are_alike_at_first_and_the_networks_own_at_last():
    mean = jnp.zeros((1, 2, 2, 3))
    likelihood = Likelihood(mean, jnp.full(mean.shape, SMALLEST_LOG_SCALE).at[0, 0].set(1.0))
    assert family.softened(family_options("vae"), likelihood, 0) is likelihood
    options = family_options("vae", scale_warmup_steps=100)
    for step, (wide, narrow) in {0: (-1, -1), 50: (0, -4), 100: (1, -7), 1_000: (1, -7)}.items():
        found = family.softened(options, likelihood, jnp.int32(step))
        np.testing.assert_allclose(found.log_scale[0, 0], wide, atol=1e-6)
        np.testing.assert_allclose(found.log_scale[0, 1], narrow, rtol=1e-6)
        assert found.mean is mean
