"""Glyphs of a colour bitmap font, found without a text shaper."""

import io
from pathlib import Path
from typing import Any

from fontTools.ttLib import TTFont
from PIL import Image

from mmgen_jax.data.builders.catalogue import VARIATION_SELECTOR
from mmgen_jax.errors import InputError
from mmgen_jax.storage import check_file

_LIGATURES = 4  # OpenType GSUB lookup type


class Glyphs:
    """The pictures of a CBDT/CBLC font such as Noto Color Emoji, at its largest strike.

    A sequence of characters is looked up as one glyph (cmap) or one whole ligature (GSUB `ccmp`),
    never as its parts: what the font cannot draw as one picture is an error, not a fallback.
    """

    def __init__(self, path: Path):
        """Opens the font.

        Raises:
          InputError: if it is no font, or holds no colour bitmaps.
        """
        self._path = path
        try:
            check_file(path)
            font = TTFont(io.BytesIO(path.read_bytes()), lazy=True)
            strikes = zip(font["CBLC"].strikes, font["CBDT"].strikeData, strict=True)
            self._bitmaps = max(strikes, key=lambda strike: strike[0].bitmapSizeTable.ppemY)[1]
            self._characters = dict(font.getBestCmap())
            self._ligatures = _ligatures(font["GSUB"].table)
            self.notice = _notice(font)
        except Exception as error:  # whatever a broken font makes fontTools raise
            raise InputError(f"{path} is no font with CBDT bitmaps and GSUB ligatures") from error

    def glyph_name(self, characters: str) -> str:
        """The name of the one glyph that draws `characters`.

        Raises:
          InputError: if the font has no such glyph.
        """
        parts = tuple(
            self._characters.get(ord(character), ".notdef")
            for character in characters
            if character != VARIATION_SELECTOR
        )
        name = parts[0] if len(parts) == 1 else self._ligatures.get(parts, ".notdef")
        if name == ".notdef" or name not in self._bitmaps:
            codes = " ".join(f"U+{ord(character):04X}" for character in characters)
            raise InputError(f"{self._path} has no picture of {characters} ({codes})")
        return name

    def png(self, characters: str) -> bytes:
        """The glyph as it stands in the font: a PNG file with transparency.

        Raises:
          InputError: if the font has none, or it is broken.
        """
        name = self.glyph_name(characters)
        try:
            return self._bitmaps[name].imageData
        except Exception as error:  # as above: a bitmap is read when it is asked for
            raise InputError(f"{self._path}: the picture of {characters} is broken") from error

    def picture(self, characters: str, size: int) -> Image.Image:
        """Draws the glyph in the middle of an opaque white square of `size` pixels, RGB."""
        try:
            with Image.open(io.BytesIO(self.png(characters)), formats=["PNG"]) as glyph:
                square = on_white(glyph)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{self._path}: the picture of {characters} is no whole PNG"
            ) from error
        # Opaque before it is resized: colours under full transparency must not bleed into edges.
        return square.resize((size, size), Image.Resampling.LANCZOS)


def on_white(picture: Image.Image) -> Image.Image:
    """Lays a picture, which may be transparent, in the middle of the least white square, RGB."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), "white")
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2), mask=picture)
    return canvas


def _ligatures(gsub: Any) -> dict[tuple[str, ...], str]:
    """The ligatures that feature `ccmp` applies at once, the first lookup's first."""
    records = gsub.FeatureList.FeatureRecord
    lookups = {i for r in records if r.FeatureTag == "ccmp" for i in r.Feature.LookupListIndex}
    found: dict[tuple[str, ...], str] = {}
    for index in sorted(lookups):
        for subtable in gsub.LookupList.Lookup[index].SubTable:
            subtable = getattr(subtable, "ExtSubTable", subtable)
            if subtable.LookupType == _LIGATURES:
                for first, ligatures in subtable.ligatures.items():
                    for ligature in ligatures:
                        found.setdefault((first, *ligature.Component), ligature.LigGlyph)
    return found


def _notice(font: TTFont) -> str:
    """What the font says of itself: family, version, copyright, licence and its address."""
    names = (font["name"].getDebugName(number) for number in (1, 5, 0, 13, 14))
    return "\n".join(filter(None, names))
