"""JPEG pictures, refused where they are damaged.

libjpeg fills with grey what it cannot decode and calls that a warning, which Pillow swallows.
"""

import re

import numpy as np
import simplejpeg
from PIL import Image

from mmgen_jax.errors import InputError

# The warnings that pixels are missing or wrong. Others are passed over (an unknown version or color
# transform, scans in a strange order), and so are bytes between the markers of the head (of
# frames, tables, applications, comments). Other errors are left to Pillow, whose libjpeg may have
# features that simplejpeg's lacks.
_DAMAGE = re.compile("Corrupt JPEG data|Premature end of JPEG file")
_HARMLESS = re.compile(".*(bad ICC marker|extraneous bytes before marker 0x(c[0-2]|d[bd]|e.|fe))")
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def decode_whole(image: Image.Image, data: bytes) -> Image.Image:
    """Decodes a JPEG, bitwise as Pillow does, but raises if pixels are missing or wrong.

    libjpeg tells only its first warning, so damage behind a harmless one is not seen. Nor can bytes
    too many between the last pixel and the end mark be told from damage: they are refused too.

    Args:
      image: what Pillow has opened, not decoded yet.
      data: the file.

    Raises:
      InputError: if the file is damaged.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, _SPACES[image.mode], strict=True)
    except ValueError as error:
        warning = str(error)
        if _DAMAGE.match(warning) and not _HARMLESS.match(warning):
            raise InputError(f"the JPEG is damaged: {warning}") from error
        return image
    if image.mode == "CMYK":  # of which Pillow inverts some, as Adobe's marker says
        return image
    decoded = Image.fromarray(pixels if image.mode == "RGB" else np.squeeze(pixels, -1))
    decoded.info = image.info  # how it is turned
    return decoded
