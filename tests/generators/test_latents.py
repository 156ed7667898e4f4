"""Latents: on the way between two, and how a family samples through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.generators.latents import Latents, linear, sampler, spherical


def pair(rows=5, layers=2, width=7):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(rows, layers, width)), jnp.float32) for _ in range(2)]


@pytest.mark.parametrize("blend", [linear, spherical])
def test_the_ends_are_the_two_latents(blend):
    first, second = pair()
    np.testing.assert_allclose(blend(first, second, jnp.zeros(5)), first, atol=1e-6)
    np.testing.assert_allclose(blend(first, second, jnp.ones(5)), second, atol=1e-6)


def test_linear_is_the_mean_half_way():
    first, second = pair()
    half = linear(first, second, jnp.full(5, 0.5))
    np.testing.assert_allclose(half, (first + second) / 2, atol=1e-6)


def test_spherical_turns_evenly_and_keeps_the_length():
    first, second = pair()
    second = (
        second
        * (jnp.linalg.norm(first, axis=(1, 2)) / jnp.linalg.norm(second, axis=(1, 2)))[
            :, None, None
        ]
    )
    shares = jnp.linspace(0, 1, 5)
    path = jnp.stack([spherical(first, second, jnp.full(5, share)) for share in shares])
    lengths = jnp.linalg.norm(path, axis=(2, 3))
    np.testing.assert_allclose(lengths, jnp.broadcast_to(lengths[:1], lengths.shape), rtol=1e-5)
    steps = jnp.linalg.norm(path[1:] - path[:-1], axis=(2, 3))
    np.testing.assert_allclose(steps, jnp.broadcast_to(steps[:1], steps.shape), rtol=1e-4)


def test_spherical_between_the_same_is_the_same():
    first, _ = pair()
    same = spherical(first, first, jnp.full(5, 0.3))
    np.testing.assert_allclose(same, first, atol=1e-6)


def test_a_sample_is_what_its_latents_render():
    """Pass by pass, each with the same keys, added up by their coefficients."""

    def draw(params, state, condition, keys, options):
        return options + jax.vmap(lambda key: jax.random.normal(key, (1, 3)))(keys)

    def render(params, state, condition, latents, keys):
        return latents[:, :, None] * condition.mean[:, None, None, :1]

    mean = jnp.arange(4.0)[:, None]
    empty = jnp.zeros((4, 0))
    condition = Condition(empty[:, None], empty, jnp.zeros((0, 3)), mean, mean, experts={})
    guidance = Guidance(condition, jnp.array([[0.0, 1.0], [1.0, -2.0]]))
    keys = jax.random.split(jax.random.key(0), 2)
    images = sampler(Latents(draw, render, linear))(None, None, guidance, keys, 0.1)
    latents = draw(None, None, None, keys, 0.1)[:, :, None]
    expected = jnp.stack([latents[0] * 2, latents[1] * (1 - 2 * 3)])
    np.testing.assert_allclose(images, expected, rtol=1e-6)
    assert (images[0] != images[1]).any()


def test_experts_multiply_to_the_pooled_vector():
    """What a wrong condition is made of (`generators.gan`)."""
    rng = np.random.default_rng(1)
    normal = lambda: jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)  # noqa: E731
    given = {"a": jnp.array([True, True, False]), "b": jnp.array([True, False, False])}
    experts = {name: fusion.Expert(normal(), normal(), has) for name, has in given.items()}
    mean, log_precision = fusion.product(experts)
    tau = {name: jnp.exp(e.log_precision) * e.given[:, None] for name, e in experts.items()}
    precision = 1 + tau["a"] + tau["b"]
    np.testing.assert_allclose(log_precision, jnp.log(precision), rtol=1e-5)
    weighted = tau["a"] * experts["a"].mean + tau["b"] * experts["b"].mean
    np.testing.assert_allclose(mean, weighted / precision, rtol=1e-5)
