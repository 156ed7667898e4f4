"""Batch norm and running moments in closed form, whole and in shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn import batch_norm, global_batch
from mmgen_jax.nn.batch_norm import BatchNorm, Moments, batch_moments, run_along

ROWS, FEATURES = 16, 5
RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, (ROWS, FEATURES)).astype(np.float32)
PARAMS = {"scale": jnp.arange(1.0, FEATURES + 1), "bias": jnp.linspace(-1, 1, FEATURES)}


def numpy_norm(x, mean, variance):
    scale, bias = (np.asarray(PARAMS[name], np.float64) for name in ("scale", "bias"))
    return scale * (x - mean) / np.sqrt(variance + batch_norm.EPSILON) + bias


def apply(x, moments=None, dtype=jnp.float32):
    return BatchNorm(jnp.dtype(dtype)).apply({"params": PARAMS}, x, moments)


@pytest.mark.parametrize("shares", [None, 1, 2, 8])
def test_it_normalises_over_the_global_batch(shares):
    """In shares as under pmap: `vmap` binds the axis and has the same collectives."""
    if shares is None:
        y, moments = apply(jnp.asarray(X))
    else:
        mapped = jax.vmap(apply, axis_name=global_batch.AXIS)
        y, moments = mapped(jnp.asarray(X.reshape(shares, -1, FEATURES)))
        y, moments = y.reshape(X.shape), jax.tree.map(lambda m: m[-1], moments)
    x = X.astype(np.float64)
    np.testing.assert_allclose(y, numpy_norm(x, x.mean(0), x.var(0)), atol=1e-5)
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.square, (x**2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, x.var(0), rtol=1e-5)


def test_given_moments_are_used_and_rows_are_then_by_themselves():
    given = Moments(jnp.arange(5.0), jnp.arange(5.0) ** 2 + 4)
    y, used = apply(jnp.asarray(X), given)
    np.testing.assert_allclose(y, numpy_norm(X.astype(np.float64), np.arange(5), 4.0), atol=1e-5)
    assert used is given
    np.testing.assert_array_equal(apply(jnp.asarray(X[:3]), given)[0], y[:3])


def test_gradients_are_those_of_the_closed_form():
    """Through the batch's moments too."""
    target = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)

    def plain(x):
        centred = x - x.mean(axis=0, keepdims=True)
        variance = jnp.square(centred).mean(axis=0, keepdims=True)
        y = PARAMS["scale"][None] * centred / jnp.sqrt(variance + batch_norm.EPSILON)
        return (y * target).sum()

    ours = jax.grad(lambda x: (apply(x)[0] * target).sum())(jnp.asarray(X))
    np.testing.assert_allclose(ours, jax.grad(plain)(jnp.asarray(X)), atol=1e-5)


def test_a_feature_that_never_changes_stays_finite():
    x = jnp.full((4, FEATURES), 1000.1)
    y, moments = apply(x)
    assert np.isfinite(y).all() and (moments.variance >= 0).all()
    assert np.isfinite(jax.grad(lambda x: apply(x)[0].sum())(x)).all()
    assert (Moments(jnp.ones(2), jnp.zeros(2)).variance == 0).all()


def test_moments_are_float32_whatever_is_computed_with():
    y, moments = apply(jnp.asarray(X, jnp.bfloat16), dtype=jnp.bfloat16)
    assert y.dtype == jnp.bfloat16
    assert moments.mean.dtype == moments.square.dtype == jnp.float32
    mean = X.astype(jnp.bfloat16).astype(np.float64).mean(0)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-5)


def follow(batches, decay):
    """Running moments after each of these batches, from zeros and ones."""
    features = batches.shape[-1]
    running, history = {"x": Moments(jnp.zeros(features), jnp.ones(features))}, []
    for number, x in enumerate(batches):
        batch = {"x": batch_moments(jnp.asarray(x, jnp.float32))}
        running = run_along(running, batch, jnp.int32(number), decay)
        history.append(running["x"])
    return history


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_running_moments_are_weighted_means_of_batches(decay):
    batches = RNG.normal(1.0, 2.0, (40, 8, 3))
    rates = [min(decay, n / (n + 10)) for n in range(len(batches))]
    for last, found in enumerate(follow(batches, decay)):
        weights = np.array(
            [(1 - rates[k]) * np.prod(rates[k + 1 : last + 1]) for k in range(last + 1)]
        )
        assert weights.sum() == pytest.approx(1)
        for power, ours in ((1, found.mean), (2, found.square)):
            means = (batches[: last + 1] ** power).mean(axis=1)
            np.testing.assert_allclose(ours, weights @ means, rtol=1e-4, atol=1e-5)


def test_running_moments_are_unbiased_from_the_first_batch_on():
    for found in follow(np.broadcast_to(X, (30, *X.shape)), 0.99):
        np.testing.assert_allclose(found.mean, X.mean(0), rtol=1e-4)
        np.testing.assert_allclose(found.variance, X.var(0), rtol=1e-4)


def test_the_variance_counts_how_batches_differ():
    # Two kinds of batches, each of which does not vary by itself.
    batches = np.where(np.arange(200)[:, None, None] % 2, 1.0, -1.0) * np.ones((1, 4, 1))
    last = follow(batches, 0.95)[-1]
    np.testing.assert_allclose(last.variance, 1, atol=1e-2)


def test_no_gradient_comes_back_from_running_moments():
    def total(x):
        batch = {"x": batch_moments(x)}
        running = run_along(jax.tree.map(jnp.zeros_like, batch), batch, jnp.int32(3), 0.99)
        return sum(leaf.sum() for leaf in jax.tree.leaves(running))

    assert total(jnp.asarray(X)) != 0
    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(X)), 0)
