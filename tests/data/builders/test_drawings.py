"""Drawings in folders of SVG files."""

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.data.builders.drawings import STYLES, Drawings
from mmgen_jax.errors import InputError

SKETCH, REFERENCE = STYLES
RED_LEFT = '<rect width="18" height="36" fill="red"/>'


def write_svg(path, body=RED_LEFT, box="0 0 36 36"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>', encoding="utf-8"
    )


def test_a_drawing_lies_on_white_in_colour_or_grey(tmp_path):
    write_svg(tmp_path / "1f34e.svg")
    picture = np.asarray(Drawings(REFERENCE, tmp_path).picture("🍎", 24))
    assert picture.shape == (24, 24, 3)
    assert (picture[:, :12] == (255, 0, 0)).all()
    assert (picture[:, 12:] == 255).all()
    sketch = np.asarray(Drawings(SKETCH, tmp_path).picture("🍎", 24))
    assert sketch.shape == (24, 24)
    assert (sketch[:, :12] == 76).all()  # red's share of the brightness (BT.601)
    assert (sketch[:, 12:] == 255).all()


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [("0 0 18 36", slice(0, 24), slice(6, 18)), ("0 0 18 9", slice(6, 18), slice(0, 24))],
)
def test_a_drawing_that_is_not_square_is_in_the_middle(tmp_path, box, rows, columns):
    write_svg(tmp_path / "1f34e.svg", box=box)
    picture = np.asarray(Drawings(REFERENCE, tmp_path).picture("🍎", 24))
    expected = np.full((24, 24, 3), 255)
    expected[rows, columns] = (255, 0, 0)
    np.testing.assert_array_equal(picture, expected)


def test_files_are_found_however_their_names_are_spelled(tmp_path):
    names = ("1F34E", "2764-fe0f", "263A", "1f9d1-200D-2764-FE0F-200d-1F9D1", "a9")
    for name in names:
        write_svg(tmp_path / f"{name}.svg")
    drawings = Drawings(SKETCH, tmp_path)
    for key in ("🍎", "❤", "☺", "🧑‍❤‍🧑", "©"):
        assert drawings.picture(key, 8) is not None
    assert drawings.picture("🍌", 8) is None


def test_what_is_no_emoji_is_left_out(tmp_path):
    for name in ("1F34E", "icon", "ffffff", "1F34E-", "beefed"):
        write_svg(tmp_path / f"{name}.svg")
    drawings = Drawings(SKETCH, tmp_path)
    (tmp_path / "1F34E.svg").unlink()
    with pytest.raises(InputError, match=r"1F34E\.svg"):
        drawings.picture("🍎", 8)


@pytest.mark.parametrize("style", STYLES)
def test_the_package_may_be_given_whole(tmp_path, style):
    write_svg(tmp_path / style.inside / "1F34E.svg")
    write_svg(tmp_path / "color" / "svg" / "1F34C.svg")
    drawings = Drawings(style, tmp_path)
    assert drawings.picture("🍎", 8) is not None
    assert drawings.picture("🍌", 8) is None


@pytest.mark.parametrize("style", STYLES)
def test_a_folder_without_drawings_is_refused_with_the_package(tmp_path, style):
    write_svg(tmp_path / "color" / "1F34E.svg")
    with pytest.raises(InputError, match=f"--{style.flag}=.* has no files such .*{style.package}"):
        Drawings(style, tmp_path)


@pytest.mark.parametrize("content", [b"", b"<svg>", b"\xff\xfe", b"no drawing"])
def test_a_broken_drawing_is_named(tmp_path, content):
    (tmp_path / "1F34E.svg").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot draw .*1F34E\.svg"):
        Drawings(SKETCH, tmp_path).picture("🍎", 8)


SECRET = 'width="36" height="36"/>'


@pytest.mark.parametrize(
    "body",
    [
        '<image href="{}" ' + SECRET,
        '<s:image xmlns:s="http://www.w3.org/2000/svg" href="{}" ' + SECRET,
        '<filter id="f"><feImage href="{}"/></filter><rect filter="url(#f)" ' + SECRET,
        '<use href = "{}#a"/>',
        "<use xlink:href='data:image/png;base64,AA=='/>",
    ],
)
def test_a_drawing_that_opens_other_files_is_refused(tmp_path, body):
    """Its author does not say which file of this machine becomes a picture."""
    Image.new("RGB", (36, 36), "red").save(tmp_path / "secret.png")
    write_svg(tmp_path / "1f34e.svg", body.format(tmp_path / "secret.png"))
    with pytest.raises(InputError, match=r"1f34e\.svg: it refers to something else by"):
        Drawings(REFERENCE, tmp_path).picture("🍎", 24)
    write_svg(tmp_path / "1f34e.svg", '<g id="a">' + RED_LEFT + '</g><use href="#a"/>')
    assert Drawings(REFERENCE, tmp_path).picture("🍎", 24) is not None


def test_entities_and_deep_drawings_are_refused(tmp_path):
    """Of 10,000 elements in each other resvg's stack ends, and with it the process."""
    path = tmp_path / "1f34e.svg"
    write_svg(path, "<g>" * 10_000 + "</g>" * 10_000)
    with pytest.raises(InputError, match=r"cannot draw .*1f34e\.svg: its elements are more than"):
        Drawings(REFERENCE, tmp_path).picture("🍎", 24)
    svg = path.read_text(encoding="utf-8").replace("<g>", "").replace("</g>", "")
    path.write_text(f'<!DOCTYPE svg [<!ENTITY a "b">]>{svg}', encoding="utf-8")
    with pytest.raises(InputError, match="it has an entity, a"):
        Drawings(REFERENCE, tmp_path).picture("🍎", 24)
