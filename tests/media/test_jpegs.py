"""JPEGs: damaged ones are refused, all others are decoded as Pillow decodes them."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.errors import InputError
from mmgen_jax.media.images import decode_image, read_image, read_mask


def picture(height=512, width=512):
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3))
    blocks = blocks.repeat(32, axis=0).repeat(32, axis=1)[:height, :width]
    noisy = np.clip(blocks + draw.normal(0, 30, blocks.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def jpeg(image=None, kind="JPEG", **options):
    file = io.BytesIO()
    (image or picture()).save(file, kind, quality=90, **options)
    return file.getvalue()


def by_pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def decoded(data):
    return decode_image(io.BytesIO(data))


def cut_and_closed(whole):
    return whole[: len(whole) // 2] + b"\xff\xd9"


def zeros_to_the_end(whole):
    third = len(whole) // 3
    return whole[:third] + bytes(len(whole) - third)


def zeros_within(whole):
    half = len(whole) // 2
    return whole[:half] + bytes(4096) + whole[half + 4096 :]


def noise_within(whole):
    third = len(whole) // 3
    noise = np.random.default_rng(0).bytes(512).replace(b"\xff", b"\0")  # no marks
    return whole[:third] + noise + whole[third + 512 :]


@pytest.mark.parametrize("damage", [cut_and_closed, zeros_to_the_end, zeros_within, noise_within])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_is_refused_as_picture_and_as_mask(damage, mode, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(damage(jpeg(picture().convert(mode))))
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"the JPEG is damaged: (Corrupt|Premature)") as error:
            read(str(path))
        assert "\n" not in str(error.value)


def test_noise_with_marks_in_it_is_refused_whatever_the_marks_mean():
    whole, draw = jpeg(), np.random.default_rng(0)
    third = len(whole) // 3
    for _ in range(50):
        noisy = whole[:third] + draw.bytes(512) + whole[third + 512 :]
        with pytest.raises(InputError, match=r"^the (JPEG is damaged|picture is broken): .+"):
            decoded(noisy)


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 1), (17, 250)])
def test_jpegs_have_bitwise_the_pixels_that_pillow_gives_them(size):
    for subsampling, progressive, restart in itertools.product(
        ("4:4:4", "4:2:2", "4:2:0", "4:1:1"), (False, True), (0, 1, 3)
    ):
        options = {"progressive": progressive, "restart_marker_blocks": restart}
        for data in (
            jpeg(picture(*size), subsampling=subsampling, **options),
            jpeg(picture(*size).convert("L"), **options),
        ):
            np.testing.assert_array_equal(decoded(data), by_pillow(data))


def test_legal_jpegs_of_other_kinds_are_read_as_by_pillow():
    whole, inks = jpeg(picture(64, 48)), picture(64, 48).convert("CMYK")
    frame = whole.index(b"\xff\xc0")
    legal = {
        "bytes after the end": whole + b"appended" * 100,
        "two pictures": jpeg(
            picture(64, 48), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))]
        ),
        "inks": jpeg(inks),
        "colors kept": jpeg(picture(64, 48), keep_rgb=True),
        "an unknown version": whole.replace(b"JFIF\0\1\1", b"JFIF\0\3\1"),
        "bytes within the head": whole[:frame] + b"ab" + whole[frame:],
    }
    for name, data in legal.items():
        np.testing.assert_array_equal(decoded(data), by_pillow(data), name)


def test_a_jpeg_is_turned_as_its_exif_data_say():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    data = jpeg(picture(64, 48), exif=exif)
    np.testing.assert_array_equal(decoded(data), np.rot90(by_pillow(data), -1))
