"""Pictures on the host: read, resized, and moved between uint8 and [-1, 1]."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.errors import InputError
from mmgen_jax.media.images import (
    decode_image,
    find_images,
    normalise,
    quantise,
    read_image,
    read_mask,
    resize,
)
from tests.media.profiles import png, saved


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_normalise_and_quantise_are_inverse_on_every_value():
    values = np.arange(256, dtype=np.uint8)
    floats = normalise(values)
    assert floats.dtype == np.float32 and (floats[0], floats[-1]) == (-1, 1)
    np.testing.assert_array_equal(quantise(floats), values)


def test_quantise_rounds_to_the_nearest_and_clips():
    assert quantise(np.array([-7.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]
    step = 2 / 255
    assert quantise(np.array([-1 + 0.4 * step, -1 + 0.6 * step])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        *(((64, 64), (16, 16)), ((80, 64), (16, 16)), ((64, 90), (16, 16))),
        *(((64, 128), (16, 32)), ((80, 128), (16, 32)), ((64, 150), (16, 32))),
    ],
)
def test_shrinking_by_a_whole_factor_averages_the_centre(shape, size):
    image, (height, width) = noise(*shape, 3), (4 * size[0], 4 * size[1])
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    centre = image[top : top + height, left : left + width]
    parts = centre.astype(np.float64).reshape(size[0], 4, size[1], 4, 3)
    # Pillow rounds twice, after either axis.
    assert np.abs(resize(image, size) - parts.mean(axis=(1, 3))).max() <= 1
    np.testing.assert_array_equal(resize(image, (height, width)), centre)


def test_a_picture_of_the_right_size_is_left_as_it_is():
    image = noise(32, 32, 3)
    np.testing.assert_array_equal(resize(image, (32, 32)), image)
    np.testing.assert_array_equal(resize(noise(32, 40, 3), (32, 32)), noise(32, 40, 3)[:, 4:36])


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (50, 33)])
def test_other_sizes_are_resampled_smoothly(shape):
    resized = resize(np.full((*shape, 3), 77, np.uint8), (32, 32))
    assert resized.shape == (32, 32, 3) and resized.dtype == np.uint8
    assert (resized == 77).all()


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_read_image_reads_what_was_saved(tmp_path, suffix):
    path, image = tmp_path / f"x.{suffix}", noise(9, 14, 3)
    Image.fromarray(image).save(path, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(str(path)), image)


def test_transparency_is_laid_on_white(tmp_path):
    image = np.zeros((2, 2, 4), np.uint8)
    image[0, :] = (10, 20, 30, 255)
    image[1, 0] = (0, 0, 0, 128)
    Image.fromarray(image).save(tmp_path / "x.png")
    pixels = read_image(str(tmp_path / "x.png"))
    assert pixels.shape == (2, 2, 3)
    assert (pixels[0] == [10, 20, 30]).all() and (pixels[1, 1] == 255).all()
    assert np.abs(pixels[1, 0].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("x.tiff" if mode == "CMYK" else "x.png")
    Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).convert(mode).save(path)
    assert (read_image(str(path)) == 255).all()


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    image, path = Image.fromarray(noise(4, 6, 3)), tmp_path / "x.png"
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise to view
    image.save(path, exif=exif)
    np.testing.assert_array_equal(read_image(str(path)), np.rot90(noise(4, 6, 3), -1))


def test_files_that_are_no_picture_are_refused_in_one_line(tmp_path):
    whole, cut, text = tmp_path / "x.png", tmp_path / "cut.png", tmp_path / "x.txt"
    Image.fromarray(noise(32, 32, 3)).save(whole)
    cut.write_bytes(whole.read_bytes()[:500])
    text.write_text("no picture", encoding="utf-8")
    for path in (cut, text, tmp_path / "missing.png", tmp_path):
        with pytest.raises(InputError) as error:
            read_image(str(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_a_decoder_does_not_know_is_broken():
    """Some raise RuntimeError, such as AVIF's for flipped bits."""
    whole = saved(Image.fromarray(noise(32, 32, 3)), "AVIF").read()
    refused = []
    for place in range(0, len(whole), 9):
        torn = bytearray(whole)
        torn[place] ^= 255
        try:
            assert decode_image(io.BytesIO(torn)).dtype == np.uint8
        except InputError as error:
            refused.append(str(error))
    assert any(line.startswith("the picture is broken: ") for line in refused)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(noise(32, 32, 3)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"x\.png"):
        read_image(str(tmp_path / "x.png"))


@pytest.mark.parametrize(
    ("depth", "kind", "values", "key"),
    [
        (16, 0, [0x1234, 0x1235], [0x1234]),
        (16, 2, [0x1234, 0x5678, 0x9ABC, 0x2234, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABC]),
        *((bits, 0, [1, 0], [1]) for bits in (1, 2, 4, 8)),
        (8, 2, [1, 2, 3, 1, 2, 4], [1, 2, 3]),
        (16, 4, [0x1234, 0, 0x1234, 0xFFFF], None),
        (16, 6, [0x1234, 0, 0, 0, 0x1234, 0, 0, 0xFFFF], None),
    ],
)
def test_what_a_png_calls_transparent_is_so_at_every_depth(depth, kind, values, key):
    transparent, opaque = decode_image(png(depth, kind, values, key))[0]
    assert transparent.tolist() == [255, 255, 255]
    assert opaque.max() < 255


def test_deep_images_keep_their_brightness():
    for value in (0, 0x1234, 0x8000, 0xFFFF):
        assert decode_image(png(16, 0, [value]))[0, 0].tolist() == 3 * [value >> 8]
        assert decode_image(png(16, 2, 3 * [value]))[0, 0].tolist() == 3 * [value >> 8]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.eps"])
def test_nothing_runs_a_program(tmp_path, name, monkeypatch):
    """Pillow hands PostScript to Ghostscript, which writes files and reads and lists them."""
    monkeypatch.setattr("subprocess.check_call", pytest.fail)
    (tmp_path / name).write_bytes(POSTSCRIPT + b"(%stdout) (w) file\nshowpage\n")
    with pytest.raises(InputError, match="it is no picture; allowed: PNG, JPEG, .* by content"):
        read_image(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["PCX", "TGA", "DDS", "ICO", "SGI", "PDF", "JPEG2000"])
def test_other_formats_are_refused(kind):
    with pytest.raises(InputError, match="it is no picture"):
        decode_image(saved(Image.fromarray(noise(8, 8, 3)), kind))


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM"]
)
def test_the_allowed_formats_are_read(kind):
    assert (decode_image(saved(Image.new("RGB", (8, 8), "white"), kind)) == 255).all()


def test_images_of_a_folder(tmp_path):
    image = Image.new("RGB", (8, 8))
    (tmp_path / "else").mkdir()
    image.save(tmp_path / "else" / "far.png")
    root = tmp_path / "root"
    names = ["a.png", "b.tiff", "c.gif", "d.jfif", "e.WEBP", "f.bmp", "sub/g.JPG", "h.tif", "i.ppm"]
    for name in [*names, ".hidden/x.png", ".x.png", "__MACOSX/x.png"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name, "JPEG" if name.endswith("jfif") else None)
    (root / "._a.png").write_bytes(b"AppleDouble")
    (root / "sub" / "Thumbs.db").write_bytes(b"thumbs")
    (root / "notes.txt").write_text("", encoding="utf-8")
    (root / "more.txt").write_text("", encoding="utf-8")
    (root / "folder.png").mkdir()
    (root / "linked").symlink_to(tmp_path / "else")
    (root / "link.png").symlink_to(root / "a.png")
    (root / "sub" / "up").symlink_to(root)  # a loop
    os.mkfifo(root / "pipe.png")
    found = find_images(root)
    told = sorted(str(file.relative_to(root)) for file in found.files)
    assert told == sorted([*names, "link.png", "linked/far.png"])
    assert found.left_out == ("left out 8: 4 hidden, 2 .txt, 1 that is no regular file, 1 .db")


def test_masks_are_white_and_black_and_nothing_else(tmp_path):
    mask = np.zeros((4, 6, 3), np.uint8)
    mask[:2] = 255
    path = tmp_path / "mask.png"
    for mode in ("RGB", "RGBA", "L", "1", "P"):  # opaque
        Image.fromarray(mask).convert(mode).save(path)
        assert (read_mask(str(path)) == (mask[..., 0] > 127)).all()
    erased = Image.fromarray(mask).convert("RGBA")
    erased.putpixel((0, 0), (255, 255, 255, 128))
    for image in (erased, erased.convert("LA"), erased.convert("P")):
        image.save(path, **({"transparency": 0} if image.mode == "P" else {}))
        with pytest.raises(InputError, match=r"mask\.png: the mask has transparency.*allowed: "):
            read_mask(str(path))
