"""Drawings of emoji in other styles than the font's: folders of SVG files."""

import io
import re
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

import resvg_py
from PIL import Image

from mmgen_jax.data.builders.catalogue import VARIATION_SELECTOR
from mmgen_jax.data.builders.glyphs import on_white
from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_text

_CODE = r"(?:10|[0-9A-Fa-f]?)[0-9A-Fa-f]{2,4}"  # of a character, at most 10FFFF
_NAME = re.compile(rf"{_CODE}(-{_CODE})*")
_MOST_DEPTH = 200  # of elements in each other; resvg's own limit comes after its stack has ended
# What makes resvg open other files: it reads a picture from any path.
_OUTWARD = ("image", "feImage")
_REFERENCES = ("href", "src")


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
            svg = read_text(path)
            _check(svg)
            # No font of this machine may change a drawing.
            png = resvg_py.svg_to_bytes(
                svg_string=svg, width=size, height=size, skip_system_fonts=True
            )
        except (OSError, ValueError, expat.ExpatError) as error:
            raise InputError(f"cannot draw {path}: {error}") from error
        with Image.open(io.BytesIO(png), formats=["PNG"]) as drawing:
            return on_white(drawing).convert(self.style.mode)


def _check(svg: str) -> None:
    """Raises ValueError for a drawing of other things than its own shapes, or too deep to draw."""
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"its elements are more than {_MOST_DEPTH} deep")
        if name.rpartition(":")[2] in _OUTWARD:
            raise ValueError(f"it refers to something else by <{name}>; allowed: its own shapes")
        for key, value in attributes.items():
            if key.rpartition(":")[2] in _REFERENCES and not value.startswith("#"):
                raise ValueError(f"it refers to something else by {key}={value[:40]!r}")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def entity(name: str, *_: object) -> None:
        raise ValueError(f"it has an entity, {name}; allowed: none")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.EntityDeclHandler = entity
    parser.Parse(svg.encode(), True)


def _key(stem: str) -> str:
    characters = (chr(int(code, 16)) for code in stem.split("-"))
    return "".join(characters).replace(VARIATION_SELECTOR, "")
