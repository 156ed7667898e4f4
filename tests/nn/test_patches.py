"""Patches: which pixels a token holds, that nothing is lost, and where tokens stand."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn.patches import (
    depth_to_space,
    patch_positions,
    patchify,
    sequence_positions,
    space_to_depth,
    unpatchify,
)


def _images(height, width, channel=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, height, width, channel)), "float32")


@pytest.mark.parametrize(
    ("height", "width", "patch_size"), [(8, 8, 2), (4, 12, 4), (6, 3, 3), (5, 7, 1)]
)
def test_unpatchify_is_the_inverse_both_ways(height, width, patch_size):
    images = _images(height, width)
    tokens = patchify(images, patch_size)
    assert tokens.shape == (2, height * width // patch_size**2, 3 * patch_size**2)
    np.testing.assert_array_equal(unpatchify(tokens, height, width, patch_size), images)
    back = patchify(unpatchify(tokens, height, width, patch_size), patch_size)
    np.testing.assert_array_equal(back, tokens)


def test_a_token_holds_its_patch_and_tokens_run_row_by_row():
    images = _images(4, 6)
    tokens = patchify(images, 2)
    for number in range(6):
        row, column = divmod(number, 3)
        patch_size = images[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_array_equal(tokens[:, number], patch_size.reshape(2, -1))


def test_depth_holds_the_patch_of_each_place():
    images = _images(4, 6)
    deep = space_to_depth(images, 2)
    assert deep.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(deep[:, 1, 2], images[:, 2:, 4:].reshape(2, -1))
    np.testing.assert_array_equal(depth_to_space(deep, 2), images)


def test_positions_are_the_patches_centres_from_the_image_s_middle():
    height, width, patch_size = 4, 12, 4
    y, x = np.mgrid[:height, :width]
    # Each pixel's distance from the middle, in patches: a token's mean of it is its position.
    distance = np.stack([y - (height - 1) / 2, x - (width - 1) / 2], axis=-1) / patch_size
    tokens = patchify(jnp.asarray(distance[None], "float32"), patch_size)
    centres = tokens[0].reshape(-1, patch_size * patch_size, 2).mean(axis=1)
    positions = patch_positions(height, width, patch_size)
    np.testing.assert_allclose(positions[:, 1:], centres, atol=1e-6)
    np.testing.assert_array_equal(positions[:, 0], 0)


def test_a_sequence_counts_on_an_axis_of_its_own():
    assert sequence_positions(3).tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
