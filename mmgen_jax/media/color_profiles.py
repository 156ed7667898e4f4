"""Converts images with a color profile to sRGB, by Little CMS."""

import enum
import functools
import io
import struct
import sys
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

MOST_BYTES = 4 * 2**20  # of a profile: those of presses have 0.5 to 3 MB
# Levels of 255 by which a profile may differ from sRGB and still be taken for it: the published
# ones round the tone curve and the primaries in many ways.
SRGB_TOLERANCE = 2
_SRGB = 1  # EXIF's number of it
# Of the encoding Adobe RGB (1998): XYZ of the primaries under D50, and the gamma.
_ADOBE_PRIMARIES = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
_ADOBE_GAMMA = 2.19921875
# What a profile that is not one makes Pillow raise; ImportError where Pillow has no Little CMS.
_UNUSABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError, ImportError)


class Space(enum.Enum):
    """A color space that a profile may describe, as Pillow's mode of its images."""

    RGB = "RGB"
    GRAY = "L"
    CMYK = "CMYK"

    @classmethod
    def of(cls, profile: bytes) -> "Space":
        """Returns the space of a profile. Raises ValueError for any other."""
        found = profile[16:20].decode("latin-1").strip()
        if profile[36:40] != b"acsp" or found not in cls.__members__:
            raise ValueError("it is not an ICC profile of RGB, gray or CMYK")
        return cls[found]


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts an image to RGB whose colors are sRGB.

    Relative colorimetric, with black point compensation; colors outside sRGB are clipped. A profile
    that cannot be used (it is broken, or of another space than the image) is ignored, as viewers
    do, and said once on standard error.

    Args:
      image: of any mode, without transparency.
      profile: its ICC profile; none, or sRGB's, leaves the values of RGB as they are.

    Returns:
      an image of mode RGB.
    """
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _from_lab())
    if not profile:
        return image.convert("RGB")
    try:
        source = _matching(image, profile)
        transform = _transform(profile)
    except _UNUSABLE as error:
        unusable(profile[:128], str(error))
        return image.convert("RGB")
    return source.convert("RGB") if transform is None else _applied(source, transform)


def _matching(image: Image.Image, profile: bytes) -> Image.Image:
    """Returns the image in the mode of its profile. Raises ValueError if they do not match."""
    if len(profile) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    space = Space.of(profile)
    inks, gray = image.mode == "CMYK", image.mode in ("L", "1")
    if inks != (space is Space.CMYK) or (space is Space.GRAY and not gray):
        raise ValueError(f"it is of {space.name}, the image of {image.mode}")
    return image.convert(space.value)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes) -> Any:
    """Returns what takes a profile's colors to sRGB; None if they are sRGB's."""
    space = Space.of(profile)
    transform = ImageCms.buildTransform(
        ImageCms.getOpenProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        space.value,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if space is Space.CMYK:
        return transform
    probe = _probe().convert(space.value)
    same, found = (np.asarray(x, int) for x in (probe.convert("RGB"), _applied(probe, transform)))
    return None if abs(found - same).max() <= SRGB_TOLERANCE else transform


def _applied(image: Image.Image, transform: Any) -> Image.Image:
    return ImageCms.applyTransform(image, transform)


def profile_of(image: Image.Image) -> bytes | None:
    """Returns the color profile of an image that was opened; None where it has none.

    Cameras embed no profile for Adobe RGB: they name it in EXIF, by an interoperability index of
    R03 and a color space that is not sRGB (DCF 2.0, section 3.4).
    """
    if profile := image.info.get("icc_profile"):
        return profile
    exif = image.getexif()
    if not exif or exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) in (None, _SRGB):
        return None
    index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
    return _adobe_rgb() if isinstance(index, str) and index.startswith("R03") else None


@functools.cache
def _adobe_rgb() -> bytes:
    """Returns a profile of Adobe RGB (1998): that of sRGB with other primaries and tone curves."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    curve = struct.pack(">4sIIHH", b"curv", 0, 1, round(_ADOBE_GAMMA * 256), 0)
    for tag, start, _ in struct.iter_unpack(">4sII", bytes(profile[132 : 132 + 12 * count])):
        if tag in _ADOBE_PRIMARIES:
            numbers = (round(value * 65536) for value in _ADOBE_PRIMARIES[tag])
            struct.pack_into(">3i", profile, start + 8, *numbers)
        elif tag in (b"rTRC", b"gTRC", b"bTRC"):
            profile[start : start + len(curve)] = curve
    return bytes(profile)


@functools.cache
def _from_lab() -> Any:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


@functools.cache
def _probe() -> Image.Image:
    """Returns an image of the corners, edges and insides of the cube of colors."""
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(cube.reshape(18, -1, 3))


@functools.lru_cache(maxsize=1024)
def unusable(head: bytes, reason: str) -> None:
    """Says on standard error that a profile is left out: once for each that begins alike."""
    name = head[52:56].decode("latin-1").strip("\0 ")
    shown = f" of {name}" if name.isprintable() and name else ""
    text = f"note: a color profile{shown} cannot be used: {reason.splitlines()[0] or 'unknown'};"
    print(f"{text} the colors are taken as sRGB", file=sys.stderr, flush=True)
