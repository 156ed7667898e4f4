"""The transformer of image tokens: what sees what, cached against uncached, and its sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.dalle.networks import PrefixTransformer
from mmgen_jax.nn.patches import sequence_positions
from tests.tiny import random_parameters

CODES, GRID, ROWS, CONDITION = 11, (3, 4), 3, 5
PLACES = GRID[0] * GRID[1]
MASK = jnp.array([[True] * 5, [True, False, True, False, False], [True] + [False] * 4])
NET = PrefixTransformer(CODES, GRID, width=16, depth=2, num_heads=2, dtype=jnp.dtype("float32"))


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    ids = jnp.asarray(rng.integers(0, CODES, (ROWS, PLACES)))
    tokens = jnp.asarray(rng.normal(size=(ROWS, CONDITION, 6)), jnp.float32)
    vector = jnp.asarray(rng.normal(size=(ROWS, 8)), jnp.float32)
    return ids, tokens, MASK, sequence_positions(CONDITION), vector


def variables():
    return random_parameters(lambda key: NET.init(key, *inputs()))


def test_cached_logits_are_those_of_all_tokens_at_once():
    weights, (ids, *condition) = variables(), inputs()
    expected = NET.apply(weights, ids, *condition)
    cache, visible = NET.apply(weights, *condition, method="read")
    extend = jax.jit(lambda *a: NET.apply(weights, *a, method="extend"))
    before, found = jnp.zeros(ROWS, jnp.int32), []
    for place in range(PLACES):
        cache, logits = extend(cache, visible, before, jnp.array(place, jnp.int32))
        found.append(logits)
        before = ids[:, place]
    np.testing.assert_allclose(jnp.stack(found, axis=1), expected, rtol=0, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_a_place_sees_the_codes_before_it_and_no_other():
    weights, (ids, *condition) = variables(), inputs()
    apply = jax.jit(lambda ids: NET.apply(weights, ids, *condition))
    expected = apply(ids)
    for place in range(PLACES):
        changed = apply(ids.at[:, place].add(1) % CODES)
        moved = np.abs(changed - expected).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(moved, np.arange(PLACES) > place)


def test_the_prefix_is_read_in_both_directions_and_masked():
    weights, (ids, tokens, *rest) = variables(), inputs()
    apply = jax.jit(lambda tokens: NET.apply(weights, ids, tokens, *rest))
    expected = apply(tokens)
    for place in range(CONDITION):
        moved = np.abs(apply(tokens.at[:, place].add(1)) - expected).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(moved, MASK[:, place])
    # In both directions: exchanged tokens, positions alike, are the same prefix.
    order = jnp.array([3, 1, 4, 0, 2])
    mask, positions, vector = rest
    exchanged = NET.apply(weights, ids, tokens[:, order], mask[:, order], positions[order], vector)
    np.testing.assert_allclose(exchanged, expected, rtol=0, atol=1e-5)


def test_every_code_is_as_likely_as_any_other_at_first():
    logits = NET.apply(NET.init(jax.random.key(0), *inputs()), *inputs())
    np.testing.assert_array_equal(logits, 0)


@pytest.mark.parametrize(
    ("width", "depth", "num_heads", "published"),
    [(768, 12, 12, 111e6), (1024, 24, 16, 343e6), (1280, 36, 20, 775e6)],
)
def test_sizes_are_those_of_llamagen(width, depth, num_heads, published):
    """Sun et al. 2024, table 1: B, L and XL, with 16,384 codes on a grid of 16 x 16."""
    net = PrefixTransformer(16_384, (16, 16), width, depth, num_heads, jnp.dtype("bfloat16"))
    ids = jnp.zeros((1, 256), jnp.int32)
    condition = (jnp.zeros((1, 2, 128)), jnp.ones((1, 2), bool), sequence_positions(2))
    shapes = jax.eval_shape(
        lambda: net.init(jax.random.key(0), ids, *condition, jnp.zeros((1, 128)))
    )
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == pytest.approx(published, rel=0.01)
