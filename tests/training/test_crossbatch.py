"""What looks across the examples of a batch."""

import jax
import jax.numpy as jnp
import numpy as np

from mmgen_jax.training import crossbatch

X = jnp.array([[1.0, 2.0], [3.0, 4.0], [8.0, 6.0]])


def test_mean():
    np.testing.assert_array_equal(crossbatch.mean(X), [4.0, 4.0])
    assert crossbatch.mean(X[:, 0]) == 4.0


def test_masked_mean():
    mask = jnp.array([True, False, True])
    assert crossbatch.masked_mean(X[:, 0], mask) == 4.5
    assert crossbatch.masked_mean(X[:, 0], jnp.zeros(3, bool)) == 0


def test_what_is_masked_may_be_anything():
    mask = jnp.array([True, False, True])
    for junk in (jnp.nan, jnp.inf):
        mean, gradient = jax.value_and_grad(crossbatch.masked_mean)(
            jnp.array([1.0, junk, 8.0]), mask
        )
        assert mean == 4.5
        np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])


def test_gather_and_positions_find_each_example():
    gathered, positions = crossbatch.gather(X), crossbatch.positions(X.shape[0])
    np.testing.assert_array_equal(gathered[positions], X)


def test_roll_pairs_each_example_with_another():
    assert crossbatch.roll(jnp.arange(5)).tolist() == [4, 0, 1, 2, 3]
    assert crossbatch.roll(X).tolist() == [[8.0, 6.0], [1.0, 2.0], [3.0, 4.0]]
