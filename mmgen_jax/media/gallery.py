"""Pictures for people: grids of images with captions, sections with headings, spectrograms."""

import functools
import io
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont, features
from PIL.PngImagePlugin import PngInfo

from mmgen_jax.errors import InputError
from mmgen_jax.media.images import MOST_PIXELS
from mmgen_jax.storage import write_whole

Picture = UInt8[np.ndarray, "_height _width 3"]

INK, MUTED, LINE, WASH, ACCENT = "#111827", "#6b7280", "#d1d5db", "#f3f4f6", "#4f46e5"
MARGIN = 20
GAP = 14
SPACE = 6
PICTURE_SIZE = 128  # images are enlarged to this many pixels at most
THUMBNAIL_HEIGHT = 40
BAR_WIDTH = 3 * PICTURE_SIZE
LEAST_WIDTH = 64  # of a cell, so that its caption can be read
CAPTION_SIZE, TITLE_SIZE = 12, 19

LOWEST_HERTZ = 80.0  # of a spectrogram: below it there is no speech
WINDOW_SECONDS = 0.05
DECIBELS = 40.0
SILENCE = 1e-9  # power of a tone of two steps of 16-bit sound
GLOW = ("#0b0724", "#532090", "#ca4078", "#fa964c", "#fdeeb6")  # lightness 3, 26, 49, 71, 94

# Tried in this order, by file name, wherever the system keeps its fonts; the first is Pillow's own.
FONTS = (
    None,
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansTelugu-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "unifont.otf",
)


def most_pictures(shape: tuple[int, int]) -> int:
    """How many pictures of this height and width a `grid` may hold.

    A sheet of more than `MOST_PIXELS` is one that `images` would refuse to read, as most programs
    would. A cell is taken to need 100 pixels of height for its caption and thumbnails.
    """
    scale = max(1, PICTURE_SIZE // max(shape))
    height, width = scale * shape[0] + 100, max(scale * shape[1] + 2, LEAST_WIDTH) + GAP
    return max(1, MOST_PIXELS // (height * width))


def check_count(flag: str, count: int, shape: tuple[int, int]) -> None:
    """Raises InputError, naming the flag, for more pictures than a sheet may hold."""
    most = most_pictures(shape)
    if count > most:
        raise InputError(
            f"{flag} asks for {count} pictures on one sheet; allowed of {shape[0]} x {shape[1]}"
            f" pixels each: at most {most}"
        )


def grid(
    images: UInt8[np.ndarray, "n height width 3"],
    captions: Sequence[str | None],
    columns: int = 8,
    scale: int | None = None,
    title: str | None = None,
    thumbnails: Sequence[Sequence[Picture]] | None = None,
) -> Picture:
    """Lays images out in rows, each with its caption, on white.

    Args:
      images: at least one.
      captions: one per image. Long lines are wrapped; a line "name: value" has its name (one
        word) in grey. What no font here can draw is written as its Unicode escape.
      columns: images in a row.
      scale: whole factor by which the images are enlarged, each pixel to a square; None chooses
        the largest that keeps them within 128 pixels, so that a 32 pixel image is easy to see.
      title: a heading above the grid.
      thumbnails: for each image small pictures to show under it, such as a reference image that
        it was made from, or the `spectrogram` of a sound.
    """
    scale = scale or max(1, PICTURE_SIZE // max(images.shape[1:3]))
    width = max(scale * images.shape[2] + 2, LEAST_WIDTH)
    cells = [
        _cell(image.repeat(scale, 0).repeat(scale, 1), caption, small, width)
        for image, caption, small in zip(
            images, captions, thumbnails or [()] * len(images), strict=True
        )
    ]
    rows = [
        _beside(cells[start : start + columns], min(columns, len(cells)))
        for start in range(0, len(cells), columns)
    ]
    sheet = np.pad(
        np.concatenate(rows),
        # Every cell brings its own gap, at its right and below.
        ((MARGIN, MARGIN - GAP), (MARGIN, MARGIN - GAP), (0, 0)),
        constant_values=255,
    )
    return sheet if title is None else stack([(title, sheet)])


def stack(sections: Sequence[tuple[str, Picture]]) -> Picture:
    """Stacks grids from top to bottom, each under its heading, on white; widths may differ."""
    width = max(picture.shape[1] for _, picture in sections)
    parts = []
    for title, picture in sections:
        missing = width - picture.shape[1]
        right = np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255)
        parts += [_heading(title, width), right]
    return np.concatenate(parts)


def bars(counts: Mapping[str, int]) -> Picture:
    """Draws counts as horizontal bars, each with its name before it and its number behind."""
    name_width = max(
        LEAST_WIDTH, *(round(_length(_drawable(n, CAPTION_SIZE), CAPTION_SIZE)) + 2 for n in counts)
    )
    name_width, most = min(name_width, 3 * PICTURE_SIZE), max(*counts.values(), 1)
    rows = []
    for name, count in counts.items():
        text, number = (
            _text([part], width, CAPTION_SIZE)
            for part, width in ((name, name_width), (f"{count}", LEAST_WIDTH))
        )
        bar = np.full((text.shape[0], BAR_WIDTH, 3), 255, np.uint8)
        length = round(count / most * BAR_WIDTH)
        bar[SPACE : SPACE + CAPTION_SIZE, :length] = _rgb(ACCENT)
        number = np.pad(
            number,
            ((0, max(0, text.shape[0] - number.shape[0])), (SPACE, 0), (0, 0)),
            constant_values=255,
        )
        rows.append(np.concatenate([text, bar, number[: text.shape[0]]], axis=1))
    return np.pad(
        np.concatenate(rows), ((SPACE, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255
    )


def spectrogram(
    samples: Float[np.ndarray, " samples"],
    width: int = PICTURE_SIZE,
    height: int = THUMBNAIL_HEIGHT,
    sample_rate: int = 16_000,
) -> Picture:
    """Draws a sound in [-1, 1]: time to the right, pitch upwards, power as light.

    Rows share out the octaves from 80 Hz to half the sample rate evenly, so that an octave, which
    is what one hears, is as high everywhere. Colours span 40 dB below the sound's loudest place;
    silence is dark.

    Raises:
      InputError: if there is no sample.
    """
    from scipy import signal  # a second of the start of every command, most of which need none

    if not len(samples):
        raise InputError("a sound without samples has no spectrogram")
    hop = -(-len(samples) // width)
    # Long enough to tell low pitches apart, and for the frames of a long sound to overlap.
    window = max(round(WINDOW_SECONDS * sample_rate), 2 * hop)
    transform = signal.ShortTimeFFT(
        signal.windows.hann(window, sym=False),
        hop,
        sample_rate,
        mfft=1 << (2 * window - 1).bit_length(),
        scale_to="magnitude",
    )
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    power = transform.spectrogram(padded, p0=0, padding="even")
    # A row shows the strongest of its frequencies, or a pure tone would fade where rows are wide.
    edges = np.geomspace(LOWEST_HERTZ, sample_rate / 2, height + 1)[:-1]
    rows = np.maximum.reduceat(power, (edges / transform.delta_f).astype(int))[::-1]
    middles = (np.arange(width) + 0.5) * len(samples) / width
    light = rows[:, (middles / hop).astype(int)]
    loudest = max(light.max(), SILENCE)
    return _glow(1 + 10 * np.log10(np.maximum(light / loudest, 1e-30)) / DECIBELS)


def save_png(path: str | os.PathLike[str], picture: Picture, software: str = "") -> None:
    """Writes a PNG file, whole or not at all; makes its folder.

    Args:
      path: of the file.
      picture: what is written.
      software: what made it, kept as the file's text `Software` (see `outputs`).

    Raises:
      InputError: if the file cannot be written there.
    """
    path = Path(path)
    facts = PngInfo()
    if software:
        facts.add_text("Software", software)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", optimize=True, pnginfo=facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [file.getvalue()])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _cell(
    image: Picture, caption: str | None, thumbnails: Sequence[Picture], width: int
) -> Picture:
    """An image over its thumbnails over its caption, `width` pixels wide."""
    pictures = [(image, 0, 0)]
    left, bottom = 0, image.shape[0] + 2
    top = bottom + SPACE
    for picture in (_thumbnail(picture, width - 2) for picture in thumbnails):
        if left and left + picture.shape[1] + 2 > width:
            left, top = 0, bottom + SPACE
        pictures.append((picture, left, top))
        left += picture.shape[1] + SPACE
        bottom = max(bottom, top + picture.shape[0] + 2)
    text = _text((caption or "").splitlines(), width, CAPTION_SIZE)
    sheet = Image.new("RGB", (width, bottom + text.shape[0]), "white")
    for picture, left, top in pictures:
        _paste_framed(sheet, picture, left, top)
    sheet.paste(Image.fromarray(text), (0, bottom))
    return np.asarray(sheet)


def _beside(cells: Sequence[Picture], columns: int) -> Picture:
    """One row of cells of equal width, aligned at the top, with room for `columns` of them."""
    height, width = max(cell.shape[0] for cell in cells), cells[0].shape[1]
    row = np.full((height + GAP, columns * (width + GAP), 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        left = number * (width + GAP)
        row[: cell.shape[0], left : left + width] = cell
    return row


def _thumbnail(picture: Picture, width: int) -> Picture:
    """Resizes a picture to a thumbnail's height, or to `width` if it were wider than that."""
    ratio = min(THUMBNAIL_HEIGHT / picture.shape[0], width / picture.shape[1])
    size = max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[0] * ratio))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _paste_framed(sheet: Image.Image, picture: Picture, left: int, top: int) -> None:
    """A hairline around it tells a white picture from the page."""
    right, bottom = left + picture.shape[1] + 1, top + picture.shape[0] + 1
    ImageDraw.Draw(sheet).rectangle((left, top, right, bottom), outline=LINE)
    sheet.paste(Image.fromarray(picture), (left + 1, top + 1))


def _heading(title: str, width: int) -> Picture:
    text = _text([title], width - 2 * MARGIN, TITLE_SIZE)
    sheet = np.pad(text, ((MARGIN, 0), (MARGIN, MARGIN), (0, 0)), constant_values=255)
    sheet[-1, MARGIN:-MARGIN] = _rgb(LINE)
    return sheet


def _text(paragraphs: Sequence[str], width: int, size: int) -> Picture:
    """Wrapped text on white, of the height that it needs; no text, no height."""
    lines = [line for paragraph in paragraphs for line in _wrap(paragraph, width, size)]
    pitch = round(1.35 * size)
    sheet = Image.new("RGB", (width, len(lines) * pitch + (SPACE + 2 if lines else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        left, baseline = 0.0, SPACE + number * pitch + round(0.85 * size)
        for text, colour in ((line.name, MUTED), (line.value, INK)):
            for font, run in _runs(text, size):
                draw.text((left, baseline), run, fill=colour, font=font, anchor="ls")
                left += font.getlength(run)
    return np.asarray(sheet)


class _Line(NamedTuple):
    name: str
    value: str


def _wrap(paragraph: str, width: int, size: int) -> list[_Line]:
    text = _drawable(paragraph, size)
    name = re.match(r"(\w+: )?", text)[0]
    lines, room = [""], width - _length(name, size)
    for word in text[len(name) :].split():
        for piece in _cut(word, width, size):
            longer = f"{lines[-1]} {piece}".lstrip()
            if _length(longer, size) <= room:
                lines[-1] = longer
            else:
                lines.append(piece)
                room = width
    return [_Line(name, lines[0]), *(_Line("", line) for line in lines[1:])]


def _cut(word: str, width: int, size: int) -> list[str]:
    """Cuts a word that is longer than a line, as in scripts without spaces, into lines."""
    pieces = [""]
    for char in word:
        if pieces[-1] and _length(pieces[-1] + char, size) > width:
            pieces.append("")
        pieces[-1] += char
    return pieces


def _length(text: str, size: int) -> float:
    return sum((font.getlength(run) for font, run in _runs(text, size)), 0.0)


def _drawable(text: str, size: int) -> str:
    """Writes what no font can draw as its escape: a reader sees that something is missing."""
    return "".join(
        char if _first_font(char, size) else char.encode("unicode_escape").decode() for char in text
    )


def _runs(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """Splits drawable text by font; a run is as long as its font allows, for shaping's sake."""
    runs: list[tuple[ImageFont.FreeTypeFont, str]] = []
    for char in text:
        if runs and _has_glyph(runs[-1][0], char):
            runs[-1] = (runs[-1][0], runs[-1][1] + char)
        else:
            runs.append((_first_font(char, size), char))
    return runs


@functools.cache
def _first_font(char: str, size: int) -> ImageFont.FreeTypeFont | None:
    fonts = (_font(name, size) for name in FONTS)
    return next((font for font in fonts if font and _has_glyph(font, char)), None)


@functools.cache
def _font(name: str | None, size: int) -> ImageFont.FreeTypeFont | None:
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.cache
def _has_glyph(font: ImageFont.FreeTypeFont, char: str) -> bool:
    """Whether the font draws the character as anything but its box for missing glyphs."""
    category = unicodedata.category(char)
    invisible = category == "Cf" or "\ufe00" <= char <= "\ufe0f"  # joiners, variation selectors
    if char.isspace() or (invisible and _SHAPES):
        return True
    shaped = category[0] == "M" or unicodedata.bidirectional(char) in ("R", "AL", "AN")
    if category[0] == "C" or (shaped and not _SHAPES):
        return False
    glyph, missing = font.getmask(char), font.getmask("\U0010ffff")
    return glyph.size != missing.size or bytes(glyph) != bytes(missing)


# Joining letters, placing marks and writing from the right need these two libraries.
_SHAPES = features.check("raqm") and features.check("fribidi")


def _glow(light: Float[np.ndarray, "height width"]) -> Picture:
    """Colours for [0, 1], from dark to bright in even steps of lightness."""
    anchors = np.stack([_rgb(colour) for colour in GLOW])
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(light, places, channel) for channel in anchors.T]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def _rgb(colour: str) -> Float[np.ndarray, "3"]:
    return np.array(ImageColor.getrgb(colour), float)
