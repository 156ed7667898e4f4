"""Resize modes against the libraries that they are named after, on 0 to 255."""

import numpy as np
import pytest

from mmgen_jax.evaluation.features.resizing import resize

pytestmark = pytest.mark.reference
SIZES = [(32, 32), (64, 64), (100, 75), (256, 256), (299, 299), (512, 512)]


def pictures(shape):
    return np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)


@pytest.mark.parametrize("shape", SIZES)
def test_clean(shape):
    theirs = pytest.importorskip("cleanfid.resize").make_resizer(
        "PIL", False, "bicubic", (299, 299)
    )
    images = pictures(shape)
    expected = np.stack([theirs(image) for image in images])
    np.testing.assert_allclose(resize(images, 299, "clean"), np.clip(expected, 0, 255), atol=5e-3)


@pytest.mark.parametrize("shape", SIZES)
def test_legacy_pytorch(shape):
    torch = pytest.importorskip("torch")
    images = pictures(shape)
    found = torch.nn.functional.interpolate(
        torch.tensor(images.transpose(0, 3, 1, 2)).float(),
        size=(299, 299),
        mode="bilinear",
        align_corners=False,
    )
    expected = found.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(resize(images, 299, "legacy_pytorch"), expected, atol=1e-3)


@pytest.mark.parametrize("shape", SIZES)
def test_legacy_tensorflow(shape):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = pictures(shape)
    found = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        torch.tensor(images.transpose(0, 3, 1, 2)).float(), size=(299, 299), align_corners=False
    )
    expected = found.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(resize(images, 299, "legacy_tensorflow"), expected, atol=2e-3)
