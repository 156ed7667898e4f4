"""Images with a color profile are read as sRGB."""

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.media.color_profiles import Space, unusable
from mmgen_jax.media.images import decode_image
from tests.media import profiles as made

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def decoded(image, kind="PNG", profile=None, **options):
    return decode_image(made.saved(image, kind, profile, **options))


def pixel(image, kind="PNG", profile=None, **options):
    return decoded(image, kind, profile, **options)[0, 0].tolist()


def expected(color, primaries, gamma):
    """Returns sRGB of a color of another RGB space, by the definition of both."""
    share = np.array(color) / 255
    curved = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    light = share**gamma if gamma else curved
    srgb = np.array([(0.4361, 0.3851, 0.1431), (0.2225, 0.7169, 0.0606), (0.0139, 0.0971, 0.7141)])
    linear = np.clip(np.linalg.inv(srgb) @ np.array(primaries).T @ light, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


@pytest.mark.parametrize("color", [(60, 200, 60), (200, 60, 60), (90, 100, 180), (255, 255, 255)])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(made.DISPLAY_P3, None), (made.ADOBE_RGB, 2.19921875)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_colors_become_srgb(color, primaries, gamma, kind):
    profile, lossless = made.rgb(primaries, gamma), {"lossless": True} if kind == "WEBP" else {}
    found = pixel(Image.new("RGB", (4, 4), color), kind, profile, **lossless)
    np.testing.assert_allclose(found, expected(color, primaries, gamma), atol=2)


def test_the_pixel_of_the_issue():
    assert pixel(Image.new("RGB", (4, 4), (60, 200, 60)), profile=made.rgb(made.DISPLAY_P3)) == [
        *(0, 203, 11)
    ]


def test_srgb_and_no_profile_leave_every_pixel_as_it_is():
    image = Image.fromarray(NOISE)
    for profile in (None, made.srgb()):
        np.testing.assert_array_equal(decoded(image, profile=profile), NOISE)
    gray = image.convert("L")
    same = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
    for profile in (None, made.srgb()):  # cameras leave sRGB in gray images, too
        np.testing.assert_array_equal(decoded(gray, profile=profile), same)


def test_transparency_is_kept_beside_a_profile():
    profile = made.rgb(made.DISPLAY_P3)
    assert pixel(Image.new("RGBA", (4, 4), (60, 200, 60, 255)), profile=profile) == [0, 203, 11]
    assert pixel(Image.new("RGBA", (4, 4), (60, 200, 60, 0)), profile=profile) == [255, 255, 255]
    palette = Image.new("RGB", (4, 4), (60, 200, 60)).quantize(2)
    assert pixel(palette, profile=profile) == [0, 203, 11]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_camera_says_adobe_rgb_in_exif_alone(kind):
    image, quality = Image.new("RGB", (16, 16), (60, 200, 60)), {"quality": 100}
    plain = pixel(image, kind, **quality)
    for space, index, adobe in (
        *((65535, "R03", True), (1, "R98", False), (65535, "R98", False), (1, "R03", False)),
        *((65535, None, False), (65535, 3, False)),
    ):
        exif = Image.Exif()
        exif[0x010F] = "maker"
        exif.get_ifd(0x8769)[0xA001] = space
        if index is not None:
            exif.get_ifd(0x8769)[0xA005] = {1: index}
        found = pixel(image, kind, exif=exif, **quality)
        if adobe:
            expect = expected(plain, made.ADOBE_RGB, 2.19921875)
            np.testing.assert_allclose(found, expect, atol=2)
            assert found != plain
        else:
            assert found == plain


def test_gray_profiles_are_applied():
    found = pixel(Image.new("L", (4, 4), 128), profile=made.gray(1.0))
    assert found == [188, 188, 188]  # half the light
    assert pixel(Image.new("LA", (4, 4), (128, 255)), profile=made.gray(1.0)) == found
    deep = made.png(16, 0, [0x8080, 0], profile=made.gray(1.0))
    assert decode_image(deep)[0, 0].tolist() == found


def test_inks_are_mixed_as_their_profile_says():
    cases = [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255))]
    for ink, color in [*cases, ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))]:
        for kind in ("TIFF", "JPEG"):
            found = pixel(Image.new("CMYK", (8, 8), ink), kind, made.cmyk())
            np.testing.assert_allclose(found, color, atol=4)
    half = pixel(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), "TIFF", made.cmyk())
    np.testing.assert_allclose(half, 119, atol=2)  # L* is 50, where the profile says so
    assert pixel(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), "TIFF") == [127, 127, 127]


def test_lab_is_read():
    gray = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (128, 128, 128)])
    assert pixel(gray, "TIFF") == [119, 119, 119]


@pytest.mark.parametrize(
    "profile",
    [
        *(b"no profile at all", b"", made.srgb()[:200], made.cmyk(), made.gray(1.0)),
        bytes(np.frombuffer(made.srgb(), np.uint8) ^ 255),
        made.srgb().replace(b"curv", b"crvu").replace(b"para", b"arap"),
        made.srgb().replace(b"acsp", b"psca"),
        bytes(9 * 2**20),
    ],
)
def test_a_profile_that_cannot_be_used_is_said_once_and_left_out(profile, capfd):
    unusable.cache_clear()
    image = Image.fromarray(NOISE)
    for _ in range(2):
        np.testing.assert_array_equal(decoded(image, "TIFF", profile), NOISE)
    said = capfd.readouterr().err
    assert said.count("\n") == (1 if profile else 0)
    assert not profile or ("color profile" in said and "taken as sRGB" in said)


def test_every_flipped_bit_of_a_profile_gives_an_image(capfd):
    profile, image = made.rgb(made.DISPLAY_P3), Image.new("RGB", (2, 2), (60, 200, 60))
    for place in range(0, len(profile), 31):
        torn = bytearray(profile)
        torn[place] ^= 1 << place % 8
        assert decoded(image, profile=bytes(torn)).shape == (2, 2, 3)


def test_spaces_are_told_by_their_profile():
    assert [Space.of(p) for p in (made.srgb(), made.gray(2.2), made.cmyk())] == [
        *(Space.RGB, Space.GRAY, Space.CMYK)
    ]
