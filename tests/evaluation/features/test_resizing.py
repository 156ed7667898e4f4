"""Resize modes: what each is by definition. Against others: `test_resizing_reference.py`."""

import jax
import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.features.resizing import MODES, resize

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, (2, *shape, 3), np.uint8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(32, 32), (7, 50), (299, 299), (512, 400)])
def test_one_colour_stays_as_it_is(mode, shape):
    found = resize(np.full((1, *shape, 3), 77, np.uint8), 299, mode)
    assert found.shape == (1, 299, 299, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, 77, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_the_right_size_is_left_as_it_is(mode):
    images = noise(20, 20)
    np.testing.assert_allclose(resize(images, 20, mode), images, atol=1e-4)


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (300, 512)])
def test_bilinear_with_centres_is_jaxs(shape):
    images = noise(*shape)
    size = (2, 299, 299, 3)
    expected = jax.image.resize(images.astype(np.float32), size, "linear", antialias=False)
    np.testing.assert_allclose(resize(images, 299, "legacy_pytorch"), expected, atol=1e-3)


def test_the_first_fids_resize_samples_from_the_edges():
    """Twice as large: each pixel, and between it and the next; the last one stands twice."""
    row = np.array([10, 30, 90], np.uint8)
    images = np.broadcast_to(row[None, None, :, None], (1, 3, 3, 3))
    found = resize(images, 6, "legacy_tensorflow")
    np.testing.assert_allclose(found[0, 2, :, 1], [10, 20, 30, 60, 90, 90])


@pytest.mark.parametrize("shape", [(32, 32), (512, 400)])
def test_the_clean_one_is_bicubic_and_antialiased(shape):
    images = noise(*shape)
    expected = jax.image.resize(images.astype(np.float32), (2, 299, 299, 3), "cubic")
    np.testing.assert_allclose(resize(images, 299, "clean"), np.clip(expected, 0, 255), atol=0.01)


def test_other_modes_are_refused():
    with pytest.raises(
        InputError, match="resize mode 'nearest' is unknown; allowed: clean, legacy"
    ):
        resize(noise(4, 4), 299, "nearest")
