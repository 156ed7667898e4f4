"""Drawings of emoji in other styles than the font's: folders of SVG files."""

import io
import re
from pathlib import Path
from typing import NamedTuple

import resvg_py
from PIL import Image

from mmgen_jax.data.builders.catalogue import VARIATION_SELECTOR
from mmgen_jax.data.builders.glyphs import on_white
from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_text

_CODE = r"(?:10|[0-9A-Fa-f]?)[0-9A-Fa-f]{2,4}"  # of a character, at most 10FFFF
_NAME = re.compile(rf"{_CODE}(-{_CODE})*")


class Style(NamedTuple):
    """A collection of drawings.

    Attributes:
      feature: what the drawings are in a record.
      flag: the flag that says where they are.
      package: npm's, which holds them.
      inside: the folder in the package.
      mode: Pillow's: "L" for grey, "RGB" for colours.
      doc: what they show.
    """

    feature: str
    flag: str
    package: str
    inside: str
    mode: str
    doc: str


STYLES = (
    Style(
        feature="sketch",
        flag="openmoji",
        package="openmoji",
        inside="black/svg",
        mode="L",
        doc="OpenMoji's black line art of the emoji, or nothing",
    ),
    Style(
        feature="reference",
        flag="twemoji",
        package="@discordapp/twemoji",
        inside="dist/svg",
        mode="RGB",
        doc="Twemoji's drawing of the emoji, a second style, or nothing",
    ),
)


class Drawings:
    """The drawings of one style, drawn when they are asked for.

    A file is named by the emoji's code points, such as `1F468-200D-1F373.svg`. Neither the case of
    the letters nor U+FE0F makes a difference: each package has its own habits there.
    """

    def __init__(self, style: Style, folder: Path):
        """Finds the files.

        Args:
          style: which collection.
          folder: the unpacked package, or the folder of the files itself.

        Raises:
          InputError: if there are none.
        """
        self.style = style
        inside = folder / style.inside
        files = (inside if inside.is_dir() else folder).glob("*.svg")
        self._files = {_key(path.stem): path for path in files if _NAME.fullmatch(path.stem)}
        if not self._files:
            raise InputError(
                f"--{style.flag}={folder} has no files such as {style.inside}/1F34E.svg; give the"
                f" unpacked npm package {style.package} (`npm pack {style.package}`, and tar)"
            )

    def picture(self, key: str, size: int) -> Image.Image | None:
        """Draws an emoji on an opaque white square of `size` pixels, in the style's mode.

        Args:
          key: the emoji without U+FE0F.
          size: height and width.

        Returns:
          The picture; None if there is no drawing of this emoji.

        Raises:
          InputError: if its file is broken.
        """
        path = self._files.get(key)
        if path is None:
            return None
        try:
            # No font of this machine may change a drawing.
            png = resvg_py.svg_to_bytes(
                svg_string=read_text(path), width=size, height=size, skip_system_fonts=True
            )
        except (OSError, ValueError) as error:
            raise InputError(f"cannot draw {path}: {error}") from error
        with Image.open(io.BytesIO(png), formats=["PNG"]) as drawing:
            return on_white(drawing).convert(self.style.mode)


def _key(stem: str) -> str:
    characters = (chr(int(code, 16)) for code in stem.split("-"))
    return "".join(characters).replace(VARIATION_SELECTOR, "")
