"""Galleries: what is drawn where, captions in any script, pictures of sounds, whole files."""

import os

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.data.shapes import Scene, tone
from mmgen_jax.errors import InputError
from mmgen_jax.media import gallery
from mmgen_jax.media.gallery import GAP, MARGIN, grid, save_png, spectrogram, stack


def _images(count, size=32):
    return np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)


def _caption_height(caption):
    return grid(_images(1), [caption]).shape[0] - grid(_images(1), [None]).shape[0]


def test_images_are_enlarged_pixel_by_pixel_each_in_its_place():
    images = _images(5)
    sheet = grid(images, [None] * 5, columns=3)
    assert sheet.dtype == np.uint8
    cell = 4 * 32 + 2  # with its frame
    assert sheet.shape == (2 * MARGIN + 2 * cell + GAP, 2 * MARGIN + 3 * cell + 2 * GAP, 3)
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        top, left = (MARGIN + 1 + (cell + GAP) * place for place in (row, column))
        shown = sheet[top : top + 128, left : left + 128]
        np.testing.assert_array_equal(shown[::4, ::4], image)
        np.testing.assert_array_equal(shown[3::4, 3::4], image)


@pytest.mark.parametrize(
    ("size", "scale", "shown"), [(28, None, 112), (256, None, 256), (8, 3, 24)]
)
def test_scale(size, scale, shown):
    sheet = grid(_images(1, size), [None], scale=scale)
    assert sheet.shape[0] == 2 * MARGIN + 2 + shown


def test_captions_are_written_below_and_wrapped():
    one = _caption_height("a")
    assert 0 < one < _caption_height("a\nb") < _caption_height("a\nb\nc")
    assert _caption_height("a red circle") == one < _caption_height("a red circle " * 3)
    below = grid(_images(1), ["a red circle"])[MARGIN + 130 :]
    assert below.min() < 100


@pytest.mark.parametrize("text", ["text: a big red circle at the left", "x" * 70, "円" * 30, "x"])
def test_wrapped_lines_fit_and_lose_nothing(text):
    drawable = gallery._drawable(text, 12)
    lines = gallery._wrap(text, 100, 12)
    joined = "".join(line.name + line.value for line in lines)
    assert joined.replace(" ", "") == drawable.replace(" ", "")
    for line in lines:
        assert gallery._length(line.name + line.value, 12) <= 100


@pytest.mark.parametrize("char", ["\U0010fffd", "\x07", "\u0378"])
def test_what_no_font_draws_is_written_as_its_escape(char):
    escape = char.encode("unicode_escape").decode()
    image = _images(1)
    np.testing.assert_array_equal(grid(image, [f"a{char}b"]), grid(image, [f"a{escape}b"]))
    assert not np.array_equal(grid(image, [f"a{char}b"]), grid(image, ["ab"]))


def test_scripts_are_right_to_left_only_where_they_can_be_shaped(monkeypatch):
    for cache in (gallery._has_glyph, gallery._first_font):
        cache.cache_clear()
    monkeypatch.setattr(gallery, "_SHAPES", False)
    assert gallery._drawable("\u05d0e\u0301", 12) == "\\u05d0e\\u0301"
    for cache in (gallery._has_glyph, gallery._first_font):
        cache.cache_clear()


def test_thumbnails_stand_under_their_image_in_their_proportions():
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    plain = grid(_images(2), [None, None])
    sheet = grid(_images(2), [None, None], thumbnails=[[], [red, red]])
    # Two of 80 x 40 do not fit beside one another in 130 pixels.
    assert sheet.shape[0] - plain.shape[0] == 2 * (gallery.SPACE + 42)
    is_red = (sheet[MARGIN + 130 :] == [255, 0, 0]).all(-1)
    assert is_red.sum() == 2 * 80 * 40
    assert not is_red[:, : MARGIN + 130 + GAP].any()


def test_every_image_needs_a_caption_or_none():
    with pytest.raises(ValueError, match="shorter"):
        grid(_images(2), ["one"])


def test_sections_are_stacked_under_their_headings():
    wide, narrow = grid(_images(3), [None] * 3), grid(_images(1), [None])
    sheet = stack([("Wide", wide), ("Narrow", narrow)])
    assert sheet.shape[1] == wide.shape[1]
    np.testing.assert_array_equal(sheet[-narrow.shape[0] :, : narrow.shape[1]], narrow)
    assert (sheet[-narrow.shape[0] :, narrow.shape[1] :] == 255).all()
    heading = sheet.shape[0] - wide.shape[0] - narrow.shape[0]
    assert (sheet[: heading // 2] < 255).any()
    titled = grid(_images(3), [None] * 3, title="Wide")
    np.testing.assert_array_equal(titled, sheet[: titled.shape[0]])


def _tone(hertz, seconds=0.4, sample_rate=16_000, amplitude=0.5):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def _brightness(picture):
    """Luma, after which the eye judges what is brighter."""
    return picture @ np.array([0.299, 0.587, 0.114])


def _pitch_rows(picture):
    return _brightness(picture).argmax(axis=0)


@pytest.mark.parametrize("hertz", [100, 300, 1200, 7000])
@pytest.mark.parametrize(("width", "height"), [(128, 40), (90, 120)])
def test_a_tone_is_a_line_at_the_height_of_its_pitch(hertz, width, height):
    picture = spectrogram(_tone(hertz), width, height)
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
    octaves = np.log2([hertz / 80, 8000 / 80])
    expected = height * (1 - octaves[0] / octaves[1])
    # At its ends a sound is reflected, which bends its phase.
    inner = _pitch_rows(picture)[width // 8 : -width // 8]
    assert np.abs(inner + 0.5 - expected).max() <= 0.03 * height
    bright = _brightness(picture)[:, width // 2] > 128
    assert bright.sum() < 0.2 * height


def test_high_and_low_tones_of_shapes_are_told_apart_at_a_glance():
    rows = []
    for size in range(2):
        sound = tone(Scene(shape=0, colour=0, size=size, position=0), np.random.default_rng(size))
        rows.append(np.median(_pitch_rows(spectrogram(sound))))
    small, large = rows
    assert large - small > gallery.THUMBNAIL_HEIGHT / 5


@pytest.mark.parametrize("sample_rate", [8_000, 44_100])
def test_the_top_is_half_the_sample_rate(sample_rate):
    sound = _tone(0.48 * sample_rate, sample_rate=sample_rate)
    assert _pitch_rows(spectrogram(sound, sample_rate=sample_rate)).max() == 0


@pytest.mark.parametrize("seconds", [0.3, 20.0])
def test_time_runs_to_the_right_and_silence_is_dark(seconds):
    half = _tone(1000, seconds / 2)
    picture = _brightness(spectrogram(np.append(np.zeros_like(half), half)))
    # The window of 50 ms blurs the onset.
    blur = 12
    assert (picture[:, : 64 - blur].max(axis=0) < 30).all()
    assert (picture[:, 64 + blur :].max(axis=0) > 200).all()
    assert (_brightness(spectrogram(np.zeros_like(half))) < 30).all()


def test_a_click_in_a_long_sound_is_seen_wherever_it_is():
    for place in range(50_000, 51_500, 100):
        sound = np.zeros(160_000, np.float32)
        sound[place] = 1
        bright = _brightness(spectrogram(sound)).max(axis=0)
        assert abs(int(bright.argmax()) - place * 128 // 160_000) <= 1
        assert bright.max() > 200


def test_the_loudness_of_a_sound_does_not_matter_until_it_is_silence():
    loud, quiet = (spectrogram(_tone(500, amplitude=a)) for a in (1.0, 0.01))
    np.testing.assert_allclose(loud.astype(int), quiet.astype(int), atol=1)
    assert (_brightness(spectrogram(_tone(500, amplitude=1e-7))) < 30).all()


def test_the_glow_brightens_evenly():
    picture = gallery._glow(np.linspace(-0.5, 1.5, 201)[None])[0]
    np.testing.assert_array_equal(picture[:51], np.tile(picture[0], (51, 1)))
    np.testing.assert_array_equal(picture[150:], np.tile(picture[-1], (51, 1)))
    linear = np.where(
        (c := picture[50:151] / 255) > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(np.maximum(luminance, 0.008856)) - 16
    even = np.linspace(lightness[0], lightness[-1], 101)
    assert (np.diff(lightness) >= 0).all() and lightness[-1] - lightness[0] > 80
    np.testing.assert_allclose(lightness, even, atol=6)


def test_a_short_sound_has_a_spectrogram_and_an_empty_one_does_not():
    for length in (1, 2, 100, 799, 801):
        assert spectrogram(np.full(length, 0.5, np.float32)).shape == (40, 128, 3)
    with pytest.raises(InputError, match="no spectrogram"):
        spectrogram(np.zeros(0, np.float32))


def test_saves_in_a_new_folder_and_leaves_nothing_else(tmp_path):
    picture = _images(1)[0]
    path = tmp_path / "samples" / "step.png"
    for _ in range(2):
        save_png(path, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    def fill_disk(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "grid.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(InputError, match=r"cannot write .*grid.png: No space left"):
        save_png(path, _images(1)[0])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "samples").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write"):
        save_png(tmp_path / "samples" / "grid.png", _images(1)[0])
