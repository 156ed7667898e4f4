"""The font's pictures: the right ones, drawn right."""

import io
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from mmgen_jax.data.builders.catalogue import read_catalogue
from mmgen_jax.data.builders.emoji import EMOJI_TEST, FONT
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.errors import InputError

pytestmark = [
    pytest.mark.skipif(
        not Path(FONT).exists(), reason="needs Debian package fonts-noto-color-emoji"
    ),
    pytest.mark.skipif(not Path(EMOJI_TEST).exists(), reason="needs Debian package unicode-data"),
]


@pytest.fixture(scope="module")
def glyphs():
    return Glyphs(Path(FONT))


def test_every_glyph_is_the_text_shapers(glyphs):
    """HarfBuzz is the oracle: it makes each emoji one glyph, and that glyph is ours."""
    hb = pytest.importorskip("uharfbuzz")
    font = hb.Font(hb.Face(hb.Blob.from_file_path(FONT)))
    numbers = TTFont(io.BytesIO(Path(FONT).read_bytes()), lazy=True).getReverseGlyphMap()
    emojis = read_catalogue(Path(EMOJI_TEST))
    for emoji in emojis:
        buffer = hb.Buffer()
        buffer.add_str(emoji.characters)
        buffer.guess_segment_properties()
        hb.shape(font, buffer)
        shaped = [glyph.codepoint for glyph in buffer.glyph_infos]
        assert shaped == [numbers[glyphs.glyph_name(emoji.characters)]], emoji.name
        assert shaped != [0], emoji.name  # 0 is .notdef


def test_what_is_no_single_picture_is_refused(glyphs):
    for characters in ("😀😀", "🇦🇦", "👩‍🐁", "中"):
        with pytest.raises(InputError, match="has no picture of"):
            glyphs.glyph_name(characters)


def test_the_picture_is_the_bitmap_on_white(glyphs):
    bitmap = Image.open(io.BytesIO(glyphs.png("🍎"))).convert("RGBA")
    side = bitmap.width
    picture = np.asarray(glyphs.picture("🍎", side), float)
    pixels = np.asarray(bitmap, float)
    alpha = pixels[..., 3:] / 255
    top = (side - bitmap.height) // 2
    expected = np.full((side, side, 3), 255.0)
    expected[top : top + bitmap.height] = pixels[..., :3] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(picture, expected, atol=1)


def test_the_picture_is_resized(glyphs):
    small = glyphs.picture("🍎", 32)
    assert (small.size, small.mode) == ((32, 32), "RGB")
    assert small.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = small.getpixel((16, 18))
    assert red > 150 > max(green, blue)


def test_what_is_no_bitmap_font_is_refused(tmp_path):
    path = tmp_path / "font.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(InputError, match=r"font\.ttf is no font"):
        Glyphs(path)


def test_a_damaged_font_is_refused_or_read(tmp_path):
    """Bytes of its tables, one after the other: fontTools raises whatever comes."""
    whole, path = Path(FONT).read_bytes(), tmp_path / "font.ttf"
    tables = TTFont(io.BytesIO(whole), lazy=True).reader.tables
    refused = []
    for tag, shift in (("CBLC", 8), ("CBDT", 0), ("GSUB", 5), ("cmap", 0), ("cmap", 4)):
        place = tables[tag].offset + shift
        torn = bytearray(whole)
        torn[place] ^= 255
        path.write_bytes(torn)
        try:
            Glyphs(path).picture("🍎", 8)
        except InputError as error:
            refused.append(str(error))
    assert refused and not any("\n" in line for line in refused)


def test_a_bitmap_that_is_no_png_is_refused(glyphs, monkeypatch):
    monkeypatch.setattr(glyphs, "png", lambda characters: b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(InputError, match="the picture of 🍎 is no whole PNG"):
        glyphs.picture("🍎", 8)
