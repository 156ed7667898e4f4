"""Pictures on the host: read, resized, and moved between uint8 and [-1, 1]."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmgen_jax.errors import InputError, reading

# Above this a picture is taken for a decompression bomb: Pillow's own limit. Pillow only warns, and
# `decode_image` refuses such a picture, so nobody needs the warning.
MOST_PIXELS = Image.MAX_IMAGE_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: str) -> np.ndarray:
    """Reads a picture file as uint8 [height, width, 3], see `decode_image`.

    Raises:
      InputError: if the file is missing or no picture.
    """
    with reading(path, "picture"), Path(path).open("rb") as file:
        return decode_image(file)


def decode_image(file: io.BufferedIOBase) -> np.ndarray:
    """Decodes a picture as uint8 [height, width, 3].

    A photograph is turned as its EXIF data say; transparency is laid on white; 16 bits become 8; of
    an animation the first picture counts.

    Raises:
      InputError: if it is no picture, broken, of more than MOST_PIXELS, or of 32 bits a channel.
    """
    try:
        with Image.open(file) as image:
            return _pixels(image)
    except InputError:  # which is a ValueError
        raise
    except UnidentifiedImageError as error:
        raise InputError("it is no picture; allowed: PNG, JPEG and what Pillow reads") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(_TOO_LARGE) from error
    except _BROKEN as error:
        raise InputError(f"the picture is broken: {error}") from error


# What Pillow's decoders raise; RuntimeError is AVIF's.
_BROKEN = (OSError, SyntaxError, ValueError, IndexError, RuntimeError, struct.error, zlib.error)
_TOO_LARGE = f"the picture has more pixels than allowed: at most {MOST_PIXELS}"


def _pixels(image: Image.Image) -> np.ndarray:
    if image.width * image.height > MOST_PIXELS:
        raise InputError(_TOO_LARGE)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise InputError("the picture has 32 bits for a pixel's grey; allowed: 8 or 16")
    if image.mode.startswith("I;16"):  # Pillow would make white of all above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, "white")
    canvas.alpha_composite(rgba)
    return np.asarray(canvas.convert("RGB"))


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Centre-crops uint8 [height, width, 3] to the proportions of `shape` and resizes it to that.

    Shrinking by a whole factor averages areas; anything else is bicubic with antialiasing.

    Args:
      image: the picture.
      shape: height and width.
    """
    whole = image.shape[:2]
    # Rounded, but never to nothing: of a long thin picture a line of pixels is left.
    height = max(1, min(whole[0], round(whole[1] * shape[0] / shape[1])))
    width = max(1, min(whole[1], round(whole[0] * shape[1] / shape[0])))
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    part = image[top : top + height, left : left + width]
    if (height, width) == shape:
        return part
    exact = height % shape[0] == 0 and width % shape[1] == 0
    method = Image.Resampling.BOX if exact else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(part).resize(shape[::-1], method))


def normalise(image: np.ndarray) -> np.ndarray:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return image.astype(np.float32) / 127.5 - 1


def quantise(images: np.ndarray) -> np.ndarray:
    """Float in [-1, 1] to the nearest uint8 in 0..255; values outside are clipped."""
    return np.round((np.clip(np.asarray(images, np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)
