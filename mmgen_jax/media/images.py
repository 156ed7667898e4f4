"""Pictures on the host: read, resized, and moved between uint8 and [-1, 1]."""

import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmgen_jax.errors import InputError, reading
from mmgen_jax.media.color_profiles import profile_of, to_srgb
from mmgen_jax.media.jpegs import decode_whole

# What is an image, by its content and whatever its name. Pillow reads more formats, some of them
# by running a program on the file (PostScript), or by code that hardly anybody tests.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
_ALLOWED = ", ".join(FORMATS)
# What the names of such files end in, where a folder is searched for them.
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
)

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

    Colors are converted to sRGB where there is a profile (`color_profiles.to_srgb`), and taken as
    sRGB where there is none. A photograph is turned as its EXIF data say; transparency is laid on
    white; 16 bits become 8; of an animation the first picture counts.

    Raises:
      InputError: if it is in none of FORMATS, broken, damaged, of more than MOST_PIXELS, or of 32
        bits a channel.
    """
    return _laid_on_white(_decoded(file))


def read_mask(path: str) -> np.ndarray:
    """Reads a mask file as bool [height, width]: True where it is white, or lighter than black.

    Raises:
      InputError: if it cannot be read, or has transparency: some programs make holes where others
        paint, so that nobody can tell which part is meant.
    """
    with reading(path, "mask"), Path(path).open("rb") as file:
        image = _decoded(file)
        if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
            raise InputError(
                "the mask has transparency, which may mean either part; allowed: an opaque image,"
                " white where it is to be redrawn and black elsewhere (flatten it)"
            )
        return (_laid_on_white(image) >= 128).any(axis=-1)


def _decoded(file: io.BufferedIOBase) -> Image.Image:
    """Decodes an image as RGB, or RGBA if it may be transparent. Raises as `decode_image` does."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _upright(image, file)
    except InputError:  # which is a ValueError
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"it is no picture; allowed: {_ALLOWED}, by content") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(_TOO_LARGE) from error
    except _BROKEN as error:
        raise InputError(f"the picture is broken: {error}") from error


# What Pillow's decoders raise; RuntimeError is AVIF's.
_BROKEN = (OSError, SyntaxError, ValueError, IndexError, RuntimeError, struct.error, zlib.error)
_TOO_LARGE = f"the picture has more pixels than allowed: at most {MOST_PIXELS}"


def _upright(image: Image.Image, file: io.BufferedIOBase) -> Image.Image:
    if image.width * image.height > MOST_PIXELS:
        raise InputError(_TOO_LARGE)
    key = _transparent_color(image)  # first: EXIF may stand at the end of a file
    profile = profile_of(image)
    if image.format in ("JPEG", "MPO"):
        file.seek(0)
        image = decode_whole(image, file.read())
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise InputError("the picture has 32 bits for a pixel's grey; allowed: 8 or 16")
    if image.mode.startswith("I;16"):  # Pillow would make white of all above 255
        image = _eight_bits(image, key)
    elif key is not None:
        image.info["transparency"] = key
    if not image.has_transparency_data:
        return to_srgb(image, profile)
    if image.mode in ("L", "LA"):  # of which a gray profile speaks
        colors, alpha = image.convert("LA").split()
    else:
        rgba = image.convert("RGBA")
        colors, alpha = rgba.convert("RGB"), rgba.getchannel("A")
    colors = to_srgb(colors, profile)
    colors.putalpha(alpha)
    return colors


def _transparent_color(image: Image.Image) -> int | tuple[int, ...] | None:
    """Returns the color that a PNG calls transparent, as its pixels will have it.

    Pillow gives it as it stands in the file, but pixels of 2, 4 and 16 bits as 8.
    """
    key, raw = image.info.get("transparency"), image.tile[0].args if image.tile else ""
    if key is None or image.format != "PNG":
        return None
    if raw == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key * {"L;2": 85, "L;4": 17}[raw] if raw in ("L;2", "L;4") else key


def _eight_bits(image: Image.Image, key: int | None) -> Image.Image:
    values = np.asarray(image)
    gray = Image.fromarray((values >> 8).astype(np.uint8))
    if key is not None:
        gray.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return gray


def _laid_on_white(image: Image.Image) -> np.ndarray:
    """Returns the pixels of an RGB or RGBA image as uint8 [height, width, 3]."""
    if image.mode == "RGB":
        return np.asarray(image)
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return np.asarray(canvas.convert("RGB"))


class Found(NamedTuple):
    """The images of a folder.

    Attributes:
      files: their files, by name.
      left_out: what else there is, counted, in words; empty if there is nothing.
    """

    files: list[Path]
    left_out: str


def find_images(folder: Path) -> Found:
    """Finds the image files in a folder and below: those whose names end in one of SUFFIXES.

    Links to files and to folders are followed; what is reached twice through folders counts once.
    Hidden files and folders are none (`.thumbs/`, macOS's `._a.png` and `__MACOSX/`), nor is what
    is no regular file.
    """
    files, left_out = [], Counter[str]()
    for file, hidden in _walk(folder):
        if hidden:
            left_out["hidden"] += 1
        elif file.suffix.lower() not in SUFFIXES:
            left_out[file.suffix.lower() or "without a suffix"] += 1
        elif file.exists() and not file.is_file():  # reading a pipe might never end
            left_out["that is no regular file"] += 1
        else:
            files.append(file)
    counted = ", ".join(f"{count} {what}" for what, count in left_out.most_common())
    return Found(sorted(files), f"left out {left_out.total()}: {counted}" if left_out else "")


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yields (file, whether it is hidden) for all files in a folder and below."""
    hidden, seen = {str(folder): False}, set[tuple[int, int]]()
    for root, folders, names in os.walk(folder, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:  # by a link: perhaps to itself
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in folders:
            within = hidden[root] or name.startswith(".") or name == "__MACOSX"
            hidden[os.path.join(root, name)] = within  # noqa: PTH118, as os.walk spells it
        for name in names:
            yield Path(root, name), hidden[root] or name.startswith(".")


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
