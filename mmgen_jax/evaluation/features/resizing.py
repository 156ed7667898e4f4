"""Pictures brought to the size that an extractor of features wants, as others do it.

How pictures are resized moves the FID by more than most papers' gains (Parmar et al. 2022, "On
aliased resizing"): a score belongs to a mode, by its name.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mmgen_jax.errors import InputError

Pictures = UInt8[np.ndarray, "batch height width 3"]
Resized = Float[np.ndarray, "batch side side 3"]


def resize(images: Pictures, side: int, mode: str) -> Resized:
    """float32 in 0..255, not rounded.

    Args:
      images: as they would be saved.
      side: height and width that are wanted.
      mode: clean (clean-fid: Pillow's bicubic with antialiasing, in floating point),
        legacy_pytorch (pytorch-fid: bilinear without antialiasing) or legacy_tensorflow
        (torch-fidelity, and the first FID: bilinear without half-pixel centres).

    Raises:
      InputError: for another mode.
    """
    if mode not in MODES:
        raise InputError(f"resize mode {mode!r} is unknown; allowed: {', '.join(MODES)}")
    return MODES[mode](images, side)


def _clean(images: Pictures, side: int) -> Resized:
    found = np.empty((len(images), side, side, 3), np.float32)
    for image, into in zip(images, found, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[:, :, channel].astype(np.float32))
            into[:, :, channel] = plane.resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(found, 0, 255)


def _bilinear(centre: float) -> Callable[[Pictures, int], Resized]:
    """Without antialiasing; `centre` is where in a pixel it is meant to be: 0.5, or 0 at its edge.

    The sampled places are computed in float32, as both libraries do.
    """

    def ends(size: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scale = np.float32(size / side)
        place = (np.arange(side, dtype=np.float32) + np.float32(centre)) * scale
        place = np.maximum(place - np.float32(centre), 0)
        low = np.minimum(place.astype(np.int64), size - 1)
        return low, np.minimum(low + 1, size - 1), place - low.astype(np.float32)

    def resized(images: Pictures, side: int) -> Resized:
        top, bottom, down = ends(images.shape[1], side)
        left, right, along = ends(images.shape[2], side)
        down, along = down[None, :, None, None], along[None, None, :, None]
        x = images.astype(np.float32)
        x = x[:, :, left] * (1 - along) + x[:, :, right] * along
        return x[:, top] * (1 - down) + x[:, bottom] * down

    return resized


MODES: dict[str, Callable[[Pictures, int], Resized]] = {
    "clean": _clean,
    "legacy_pytorch": _bilinear(0.5),
    "legacy_tensorflow": _bilinear(0.0),
}
