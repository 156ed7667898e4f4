"""From features to an encoding: what is masked does not count, and experts are bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.encoder import LOG_PRECISION_BOUNDS, ExpertHead, SequenceEncoder
from mmgen_jax.nn.patches import sequence_positions
from tests.tiny import random_parameters

ROWS, TOKENS, FEATURES = 3, 5, 12
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def shared(pool_tokens):
    return Shared(16, 8, pool_tokens, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))


def features(seed=0, scale=1.0):
    shape = (ROWS, TOKENS, FEATURES)
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), jnp.float32)


def build(module, *inputs):
    """The module as a compiled function of its inputs, with random parameters."""
    params = random_parameters(lambda key: module.init(key, *inputs))
    return params["params"], jax.jit(lambda *inputs: module.apply(params, *inputs))


def elsewhere(x):
    """`x` with something else where it is masked."""
    return jnp.where(jnp.asarray(MASK)[..., None], x, 100 + x)


@pytest.mark.parametrize("pool_tokens", [False, True])
def test_the_expert_is_read_off_the_mean_of_the_valid_tokens(pool_tokens):
    mask = jnp.asarray(MASK)
    params, head = build(ExpertHead(shared(pool_tokens)), features(), mask)
    encoding = head(features(), mask)
    x = np.asarray(features(), np.float64)
    pooled = (x * MASK[..., None]).sum(axis=1) / np.maximum(MASK.sum(axis=1), 1)[:, None]

    def dense(name, x):
        return x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])

    mean, log_precision = np.split(dense("expert", pooled), 2, axis=1)
    np.testing.assert_allclose(encoding.mean, mean, atol=1e-5)
    clipped = np.clip(log_precision, *LOG_PRECISION_BOUNDS)
    np.testing.assert_allclose(encoding.log_precision, clipped, atol=1e-5)
    np.testing.assert_array_equal(encoding.present, MASK.any(axis=1))
    if pool_tokens:
        np.testing.assert_array_equal(encoding.mask, MASK.any(axis=1)[:, None])
        np.testing.assert_allclose(encoding.tokens, dense("tokens", pooled)[:, None], atol=1e-5)
    else:
        np.testing.assert_array_equal(encoding.mask, MASK)
        np.testing.assert_allclose(encoding.tokens, dense("tokens", x), atol=1e-5)


def test_precision_is_bounded():
    _, head = build(ExpertHead(shared(False)), features(), jnp.asarray(MASK))
    log_precision = np.asarray(head(features(scale=1e4), jnp.asarray(MASK)).log_precision)
    assert (log_precision.min(), log_precision.max()) == LOG_PRECISION_BOUNDS


@pytest.mark.parametrize("pool_tokens", [False, True])
def test_masked_tokens_reach_nothing_that_counts(pool_tokens):
    mask, positions = jnp.asarray(MASK), sequence_positions(TOKENS)
    module = SequenceEncoder(depth=1, num_heads=2, shared=shared(pool_tokens))
    _, encoder = build(module, features(), mask, positions)
    one, other = (
        encoder(features(), mask, positions),
        encoder(elsewhere(features()), mask, positions),
    )
    # Row 1 is masked at its first token, which a row without any token attends to: not this one.
    rows = MASK.any(axis=1) & MASK[:, 0]
    np.testing.assert_array_equal(one.mean[rows], other.mean[rows])
    valid = np.asarray(one.mask) & rows[:, None]
    np.testing.assert_array_equal(np.asarray(one.tokens)[valid], np.asarray(other.tokens)[valid])
    changed = encoder(features() + 0.1 * mask[..., None], mask, positions)
    assert np.abs(changed.mean[rows] - one.mean[rows]).max() > 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))
