"""Groups of latents: what is said of ε is so of z; where latents stand in a map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.vae.family import divergence, log_ratio
from mmgen_jax.generators.vae.networks import SMALLEST_LOG_SCALE, Group, HierarchicalVAE, Posterior
from tests.tiny import random_parameters

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def gaussian(params, x, cell):
    """(mean, deviation) that a head says, in float64."""
    x = np.asarray(x, np.float64).reshape(len(x), 4 // cell, cell, 4 // cell, cell, -1).mean((2, 4))
    said = x @ np.asarray(params["kernel"], np.float64) + np.asarray(params["bias"], np.float64)
    mean, log_deviation = np.split(said, 2, axis=-1)
    return mean.reshape(len(x), -1), np.exp(log_deviation.reshape(len(x), -1))


@pytest.mark.parametrize("side", [1, 2, 4])
def test_divergence_and_ratio_are_those_of_z(side):
    """Of a posterior and a prior whose moments are said apart."""
    group = Group(side, 16, jnp.dtype("float32"))
    x, features, noise = normal(3, 4, 4, 8), normal(3, 4, 4, 8), normal(3, 16)
    params = random_parameters(lambda key: group.init(key, x, noise, features)["params"])
    _, fields = group.apply({"params": params}, x, noise, features)
    of_group = Posterior(*(field[:, None] for field in fields))

    cell = 4 // side
    mean, deviation = gaussian(params["prior"], x, cell)
    both = jnp.concatenate([x, features], axis=-1)
    q_mean, q_deviation = gaussian(params["posterior"], both, cell)
    z = q_mean + q_deviation * np.asarray(noise)

    def log_density(z, mean, deviation):
        return (-0.5 * ((z - mean) / deviation) ** 2 - np.log(deviation)).sum(axis=1)

    expected = log_density(z, mean, deviation) - log_density(z, q_mean, q_deviation)
    np.testing.assert_allclose(log_ratio(of_group, noise[:, None]), expected, rtol=1e-3)
    terms = (q_deviation**2 + (q_mean - mean) ** 2) / (2 * deviation**2) - 0.5
    kl = (terms - np.log(q_deviation / deviation)).sum(axis=1)
    np.testing.assert_allclose(divergence(of_group)[:, 0], kl, rtol=1e-3)


def test_without_features_the_noise_is_drawn_as_it_is():
    group = Group(2, 8, jnp.dtype("float32"))
    x, noise = normal(3, 4, 4, 8), normal(3, 8)
    params = random_parameters(lambda key: group.init(key, x, noise, x)["params"])
    _, (mean, log_deviation, drawn) = group.apply({"params": params}, x, noise, None)
    assert (mean == 0).all() and (log_deviation == 0).all()
    np.testing.assert_array_equal(drawn, noise)


def test_a_latent_changes_its_own_place():
    group = Group(2, 8, jnp.dtype("float32"))
    x, noise = normal(1, 4, 4, 8), jnp.zeros((1, 8))
    params = random_parameters(lambda key: group.init(key, x, noise, x)["params"])
    before, _ = group.apply({"params": params}, x, noise, None)
    after, _ = group.apply({"params": params}, x, noise.at[0, 2:4].set(1.0), None)
    changed = np.abs(after - before).max(axis=(0, 3)) > 0
    np.testing.assert_array_equal(changed, [[False, False, True, True]] * 2 + [[False] * 4] * 2)


def network():
    model = HierarchicalVAE(16, 4, 24, 1, 2, 16, (1, 4), jnp.dtype("float32"))
    vector, noise, images = normal(2, 6), normal(2, 2, 16), normal(2, 16, 16, 3)
    params = random_parameters(lambda key: model.init(key, vector, noise, images)["params"])
    return jax.jit(model.apply), {"params": params}, vector, noise, images


def test_a_later_group_depends_on_earlier_ones_and_not_the_other_way():
    apply, params, vector, noise, images = network()
    _, one = apply(params, vector, noise, images)
    for moved in (0, 1):
        _, other = apply(params, vector, noise.at[:, moved].add(1.0), images)
        changed = [bool((one.mean[:, k] != other.mean[:, k]).any()) for k in (0, 1)]
        assert changed == [False, moved == 0]


def test_prior_posterior_and_likelihood_see_the_condition():
    apply, params, vector, noise, images = network()
    for inputs in ((noise,), (noise, images)):
        (mean, log_scale), posterior = apply(params, vector, *inputs)
        (other_mean, other_scale), other = apply(params, vector + 1, *inputs)
        assert (mean != other_mean).any() and (log_scale != other_scale).any()
        assert (posterior.mean != other.mean).any() == (len(inputs) == 2)


def test_a_scale_is_never_too_small():
    apply, params, vector, noise, _ = network()
    head = jax.tree.map(lambda x: 100 * x, params["params"]["image"])
    (_, log_scale), _ = apply({"params": params["params"] | {"image": head}}, vector, noise)
    assert float(log_scale.min()) == SMALLEST_LOG_SCALE < float(log_scale.max())
