"""What looks across the examples of a batch: whole, as under jit, and in shares, as under pmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn import global_batch

X = jnp.array([[1.0, 2.0], [3.0, 4.0], [8.0, 6.0], [0.0, -2.0], [5.0, 1.0], [4.0, 9.0]])
MASK = jnp.array([True, False, True, False, False, True])


def in_shares(function, shares):
    """`function` of the whole batch, or of each device's share of it, as pmap would call it.

    What each returned, stacked: `vmap` binds the axis and has the same collectives.
    """
    if shares is None:
        return lambda *args: jax.tree.map(lambda x: x[None], function(*args))
    cut = lambda x: x.reshape(shares, -1, *x.shape[1:])  # noqa: E731
    mapped = jax.vmap(function, axis_name=global_batch.AXIS)
    return lambda *args: mapped(*map(cut, args))


@pytest.fixture(params=(None, 1, 2, 3, 6))
def shares(request):
    return request.param


def test_mean(shares):
    for x in (X, X[:, 0]):
        for found in in_shares(global_batch.mean, shares)(x):
            np.testing.assert_allclose(found, x.mean(axis=0), rtol=1e-6)


def test_masked_mean(shares):
    masked_mean = in_shares(global_batch.masked_mean, shares)
    np.testing.assert_allclose(masked_mean(X[:, 0], MASK), 13 / 3, rtol=1e-6)
    np.testing.assert_array_equal(masked_mean(X[:, 0], jnp.zeros(6, bool)), 0)


def test_what_is_masked_may_be_anything():
    mask = jnp.array([True, False, True])
    for junk in (jnp.nan, jnp.inf):
        mean, gradient = jax.value_and_grad(global_batch.masked_mean)(
            jnp.array([1.0, junk, 8.0]), mask
        )
        assert mean == 4.5
        np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])


def test_gather_and_positions_find_each_example(shares):
    def find(x):
        return global_batch.gather(x)[global_batch.positions(x.shape[0])]

    np.testing.assert_array_equal(in_shares(find, shares)(X).reshape(X.shape), X)
    for gathered in in_shares(global_batch.gather, shares)(X):
        np.testing.assert_array_equal(gathered, X)


def test_roll_pairs_each_example_with_another(shares):
    rolled = in_shares(global_batch.roll, shares)(jnp.arange(6)).ravel()
    assert rolled.tolist() == [5, 0, 1, 2, 3, 4]
    rolled = in_shares(global_batch.roll, shares)(X).reshape(X.shape)
    np.testing.assert_array_equal(rolled, jnp.roll(X, 1, axis=0))


def test_the_average_of_gradients_is_the_gradient(shares):
    """Of a loss that compares examples: what a device returns depends on all the others' rows."""

    def loss(weight, x, mask):
        others = global_batch.gather(x @ weight)
        rows = jnp.tanh(global_batch.roll(x @ weight)) * others.sum()
        return global_batch.masked_mean(rows, mask) + global_batch.mean(x @ weight) ** 2

    def gradient(x, mask):
        return global_batch.average(jax.grad(loss)(jnp.array([0.3, -0.2]), x, mask))

    expected = gradient(X, MASK)
    for found in in_shares(gradient, shares)(X, MASK):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
