"""Galleries: what is drawn where, captions in any script, plots of sounds, whole files."""

import numpy as np
import pytest
from PIL import Image

from mmgen_jax import gallery
from mmgen_jax.errors import InputError
from mmgen_jax.gallery import GAP, MARGIN, grid, save_png, stack, waveform


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


def test_a_waveform_covers_the_range_of_the_sound():
    samples = np.concatenate([np.zeros(500), np.tile([1.0, -1.0], 250)]).astype(np.float32)
    plot = waveform(samples, width=100, height=40)
    assert plot.shape == (40, 100, 3)
    drawn = (plot != gallery._rgb(gallery.WASH)).any(-1)
    assert drawn[:, :49].sum(0).tolist() == [2] * 49
    assert drawn[19:21, :49].all()
    assert (drawn[:, 51:].sum(0) >= 36).all()


def test_a_short_sound_has_a_waveform_and_an_empty_one_does_not():
    assert waveform(np.array([0.5, -0.5], np.float32)).shape == (40, 128, 3)
    with pytest.raises(InputError, match="no waveform"):
        waveform(np.zeros(0, np.float32))


def test_saves_in_a_new_folder_and_leaves_nothing_else(tmp_path):
    picture = _images(1)[0]
    path = tmp_path / "samples" / "step.png"
    for _ in range(2):
        save_png(path, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    def fill_disk(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "grid.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fill_disk)
    with pytest.raises(InputError, match=r"cannot write .*grid.png: No space left"):
        save_png(path, _images(1)[0])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "samples").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        save_png(tmp_path / "samples" / "grid.png", _images(1)[0])
