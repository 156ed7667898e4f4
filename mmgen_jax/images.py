"""Pictures on the host: read, resized, and moved between uint8 and [-1, 1]."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmgen_jax.errors import InputError


def read_image(path: str) -> np.ndarray:
    """Reads a picture file as uint8 [height, width, 3].

    A photograph is turned as its EXIF data say; transparency is laid on white.

    Raises:
      InputError: if the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            rgba = ImageOps.exif_transpose(image).convert("RGBA")
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is no picture; allowed: PNG, JPEG and what Pillow reads"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read picture {path}: {error}") from error
    canvas = Image.new("RGBA", rgba.size, "white")
    canvas.alpha_composite(rgba)
    return np.asarray(canvas.convert("RGB"))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Centre-crops uint8 [height, width, 3] to a square and resizes it to `size`.

    Shrinking by a whole factor averages areas; anything else is bicubic with antialiasing.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == size:
        return square
    method = Image.Resampling.BOX if side % size == 0 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(square).resize((size, size), method))


def normalise(image: np.ndarray) -> np.ndarray:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return image.astype(np.float32) / 127.5 - 1


def quantise(images: np.ndarray) -> np.ndarray:
    """Float in [-1, 1] to the nearest uint8 in 0..255; values outside are clipped."""
    return np.round((np.clip(np.asarray(images, np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)
