"""Attention: equal to float64 NumPy; positions are relative; what is masked is not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn.attention import QueryKeyValue, attend, rotate
from tests.nn import reference

BATCH, TOKENS, HEADS, CHANNEL = 2, 7, 3, 10


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _queries_keys_values():
    return tuple(_normal(BATCH, TOKENS, HEADS, CHANNEL, seed=seed) for seed in range(3))


def _mask():
    mask = np.random.default_rng(4).random((BATCH, TOKENS)) < 0.6
    assert (mask.sum(axis=1) > 1).all() and not mask.all(axis=1).any()
    return jnp.asarray(mask)


def _heads_first(x):
    return np.asarray(x, np.float64).swapaxes(1, 2)


# At the end a channel of 4: two pairs for three axes.
@pytest.mark.parametrize(("channel", "axes"), [(10, 1), (10, 2), (10, 3), (16, 3), (4, 3)])
def test_rotation_equals_numpy(channel, axes):
    x, positions = _normal(BATCH, TOKENS, HEADS, channel), 10 * _normal(TOKENS, axes)
    expected = reference.rope(_heads_first(x), np.asarray(positions, np.float64))
    np.testing.assert_allclose(_heads_first(rotate(x, positions)), expected, atol=1e-5, rtol=0)


def test_attention_sees_relative_positions_only():
    query, key, _ = _queries_keys_values()
    positions = 3 * _normal(TOKENS, 3)

    def logits(shift):
        moved = positions + jnp.array(shift, jnp.float32)[None]
        return jnp.einsum("bqhc,bkhc->bhqk", rotate(query, moved), rotate(key, moved))

    for shift in ([5, 0, 0], [0, -2.5, 0], [0, 0, 7], [1, 2, 3]):
        np.testing.assert_allclose(logits(shift), logits([0, 0, 0]), atol=2e-5)
    # And they are seen, on every axis: a key that moves alone is met differently.
    for axis in range(3):
        moved = rotate(key, positions + jnp.eye(3)[axis][None])
        assert jnp.abs(moved - rotate(key, positions)).max() > 0.1


def test_a_rotation_keeps_norms_and_leaves_the_origin():
    x, positions = _normal(BATCH, TOKENS, HEADS, CHANNEL), 10 * _normal(TOKENS, 3)
    norms = np.linalg.norm(rotate(x, positions), axis=-1)
    np.testing.assert_allclose(norms, np.linalg.norm(x, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(rotate(x, jnp.zeros((TOKENS, 3))), x)


def test_projection_equals_numpy():
    x, positions = _normal(BATCH, TOKENS, HEADS * CHANNEL), 5 * _normal(TOKENS, 3)
    network = QueryKeyValue(HEADS, jnp.dtype("float32"))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, positions)["params"]
    single, double = reference.randomised(shapes)
    ours = network.apply({"params": single}, x, positions)
    expected = reference.query_key_value(double, *map(reference.double, (x, positions)), HEADS)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(_heads_first(one), other, atol=1e-5, rtol=0)


def test_queries_and_keys_are_normalised_so_that_logits_are_bounded():
    x = 1000 * _normal(BATCH, TOKENS, HEADS * CHANNEL)
    network = QueryKeyValue(HEADS, jnp.dtype("float32"))
    (query, key, _), _ = network.init_with_output(jax.random.key(0), x, jnp.zeros((TOKENS, 3)))
    for each in (query, key):
        np.testing.assert_allclose(np.square(each).mean(axis=-1), 1, rtol=1e-5)


def test_attention_equals_numpy():
    mask = _mask()
    ours = attend(*_queries_keys_values(), mask[:, None])
    expected = reference.attend(*map(_heads_first, _queries_keys_values()), mask)
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


def test_a_masked_key_has_weight_zero_and_gradient_zero():
    query, key, value = _queries_keys_values()
    mask = _mask()
    hidden = ~mask[:, :, None, None]
    run = jax.jit(lambda key, value: attend(query, key, value, mask[:, None]))
    loud = run(jnp.where(hidden, 1e4, key), jnp.where(hidden, -1e9, value))
    np.testing.assert_array_equal(loud, run(key, value))
    gradients = jax.grad(lambda *kv: jnp.square(run(*kv)).sum(), argnums=(0, 1))(key, value)
    for gradient in gradients:
        at_token = np.abs(gradient).max(axis=(2, 3))
        np.testing.assert_array_equal(at_token == 0, ~mask)


def test_one_key_alone_gives_its_value_whatever_the_query():
    query, key, value = _queries_keys_values()
    mixed = attend(query, key, value, (jnp.arange(TOKENS)[None] == jnp.array([[2], [5]]))[:, None])
    expected = np.stack([value[0, 2], value[1, 5]])[:, None].repeat(TOKENS, axis=1)
    np.testing.assert_allclose(mixed, expected.reshape(BATCH, TOKENS, -1), rtol=1e-6)


def test_bfloat16_stays_bfloat16_and_close():
    arrays, mask = _queries_keys_values(), _mask()[:, None]
    half = attend(*(jnp.asarray(x, jnp.bfloat16) for x in arrays), mask)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), attend(*arrays, mask), atol=0.05)
    assert rotate(jnp.ones((1, 1, 1, 4), jnp.bfloat16), jnp.ones((1, 3))).dtype == jnp.bfloat16
