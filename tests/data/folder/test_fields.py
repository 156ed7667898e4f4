"""What becomes of a line's fields: alternatives, languages, pictures of all modes, and mistakes."""

import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen_jax.data import BadRecords, OneOf
from tests.folders import bomb, half, hum, names_in, open_folder, open_rest, paint, write

TALK = {"de": "Apfel", "en": ["apple", "red apple"], "fr": None}


@pytest.mark.parametrize(
    ("fields", "languages", "values"),
    [
        ({"text": "apple"}, (), {"text": "apple"}),
        ({"text": ["apple", "red apple"]}, (), {"text": OneOf(["apple", "red apple"])}),
        ({"text": ["apple", None]}, (), {"text": "apple"}),
        ({"text": TALK}, (), {"text": OneOf(["Apfel", "apple", "red apple"])}),
        ({"text": TALK}, ("en", "de"), {"text": OneOf(["apple", "red apple", "Apfel"])}),
        ({"text": TALK}, ("de",), {"text": "Apfel"}),
        ({"text": TALK}, ("fr",), {}),
        ({"text": None}, (), {}),
        ({"text": []}, (), {}),
        ({"text": {}}, (), {}),
        ({}, (), {}),
        ({"text": None, "label": None, "audio_file_name": None}, (), {}),
        ({"label": "b"}, (), {"label": "b"}),
        ({"label": 0}, (), {"label": "a"}),
        ({"label": 1.0}, (), {"label": "b"}),
        ({"label": [0, "b"]}, (), {"label": OneOf(["a", "b"])}),
    ],
)
def test_what_a_record_has_of_several_of_none_and_in_languages(folder, fields, languages, values):
    other = {"file_name": "b.png", "text": TALK, "label": "a", "audio_file_name": "a.wav"}
    write(folder, {"file_name": "a.png", **fields}, other)
    (folder / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    source = open_folder(folder, languages=languages)
    assert source.info.modalities == ("audio", "label", "text")
    found = dict(source[0].values)
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in values.items()
    }


GOOD = {"file_name": "a.png", "text": {"en": "apple", "de": "Apfel"}, "label": "a"}


def without_text(**fields):
    return {"file_name": "b.png", **fields}


BROKEN = [
    (b'{"file_name": "b.png"', "the line is not JSON: Expecting"),
    (b"[" * 100_000, "the line is not JSON: "),
    (b'["b.png"]', "the line is no JSON object"),
    (b'{"file_name": "b.png", "text": "B\xe4r"}', "the line is not UTF-8: invalid"),
    (b'{"file_name": "b.png", "text": "\\ud83d"}', "the line has one half of a surrogate pair"),
    (b'{"file_name": "\\udcff.png"}', "the line has one half of a surrogate pair"),
    (b'{"file_name": "b.png", "text": "x", "text": "y"}', "the key 'text' stands twice"),
    (b'{"file_name": "b.png", "text": {"en": "x", "en": "y"}}', "the key 'en' stands twice"),
    ({"text": "no picture"}, "file_name is None; allowed: the name of a file"),
    ({"file_name": ""}, "file_name is ''; allowed: the name of a file"),
    ({"file_name": ["b.png"]}, r"file_name is \['b.png'\]; allowed"),
    ({"file_name": "z.png"}, "file_name 'z.png': No such file"),
    ({"file_name": "x" * 5000}, "file_name 'x+': File name too long"),
    ({"file_name": "folder.png"}, "file_name 'folder.png' is no file but a folder, a pipe"),
    ({"file_name": "pipe.png"}, "file_name 'pipe.png' is no file but a folder, a pipe"),
    ({"file_name": "text.png"}, "file_name 'text.png': it is no picture; allowed: PNG"),
    ({"file_name": "empty.png"}, "file_name 'empty.png': the file is empty"),
    ({"file_name": "half.jpg"}, "file_name 'half.jpg': the JPEG is damaged: Premature"),
    ({"file_name": "half.png"}, "file_name 'half.png': the picture is broken"),
    ({"file_name": "bomb.png"}, "file_name 'bomb.png': the picture has more pixels than allowed"),
    ({"file_name": "squib.png"}, "file_name 'squib.png': the picture has more pixels than allowed"),
    ({"file_name": "a.wav"}, "file_name 'a.wav': it is no picture"),
    ({"file_name": "../b.png"}, r"file_name '../b.png' leads out of the folder; allowed: a path"),
    ({"file_name": "/etc/x.png"}, "file_name '/etc/x.png' leads out of the folder"),
    ({"file_name": "folder.png/../../b.png"}, "file_name 'folder.png/../../b.png' leads out of"),
    ({"file_name": "..\\b.png"}, r"file_name '..\\\\b.png' leads out of the folder"),
    ({"file_name": "b\0.png"}, r"file_name 'b\\x00.png' leads out of the folder"),
    ({"file_name": "."}, "file_name '.' leads out of the folder"),
    (without_text(text=""), "text is empty; allowed: a string of at least one character"),
    (without_text(text=" \n"), "text is empty"),
    (without_text(text=["fine", ""]), "text is empty"),
    (without_text(text=7), "text is of type int; allowed: a string"),
    (without_text(text=float("nan")), "text is of type float; allowed: a string"),
    (without_text(label=4), "label 4 is out of range; allowed: 0 to 1"),
    (without_text(label=-1), "label -1 is out of range; allowed: 0 to 1"),
    (without_text(label="c"), "label 'c' is no class; allowed: a, b"),
    (without_text(label="1"), "label '1' is no class; allowed: a, b"),
    (without_text(label=" "), "label ' ' is no class; allowed: a, b"),
    (without_text(label=1e300), "label 1e\\+300 is no class; allowed: a, b"),
    (without_text(label=True), "label True is no class; allowed: a, b"),
    (without_text(label=0.5), "label 0.5 is no class; allowed: a, b"),
    (without_text(label={"x": [["c"]]}), r"label \['c'\] is no class; allowed: a, b"),
    (without_text(audio_file_name="z.wav"), "audio_file_name 'z.wav': No such file"),
    (without_text(audio_file_name="empty.wav"), "audio_file_name 'empty.wav': the file is empty"),
    (without_text(audio_file_name="text.wav"), "audio_file_name 'text.wav': it is no sound"),
    (without_text(audio_file_name="silent.wav"), "audio_file_name 'silent.wav': the sound is emp"),
    (without_text(audio_file_name="a.png"), "audio_file_name 'a.png': it is no sound"),
    (without_text(audio_file_name=["a.wav", "../a.wav"]), "audio_file_name '../a.wav' leads out"),
    (without_text(image_file_name="half.png"), "image_file_name 'half.png': the picture is brok"),
    (GOOD | {"text": "again"}, "duplicate: 'a.png' stands in line 1 already; several captions"),
    (GOOD | {"file_name": "./a.png", "text": "again"}, "duplicate: 'a.png' stands in line 1"),
    (GOOD | {"file_name": "copy.png"}, "duplicate: it says the same as line 1, files included"),
]


@pytest.fixture(scope="module")
def debris(tmp_path_factory):
    """A folder with every kind of file that cannot be used."""
    path = tmp_path_factory.mktemp("debris")
    for name in ("a.png", "b.png", "half.jpg", "half.png"):
        paint(path / name, size=(64, 64))
    half(path / "half.jpg")
    half(path / "half.png")
    shutil.copy(path / "a.png", path / "copy.png")
    (path / "folder.png").mkdir()
    os.mkfifo(path / "pipe.png")
    (path / "bomb.png").write_bytes(bomb(50_000, 50_000))
    (path / "squib.png").write_bytes(bomb(12_000, 9_000))  # Pillow itself would only warn
    hum(path / "a.wav")
    soundfile.write(path / "silent.wav", np.zeros(0), 16_000)
    for suffix in ("png", "wav"):
        (path / f"text.{suffix}").write_text("just words", encoding="utf-8")
        (path / f"empty.{suffix}").write_bytes(b"")
    (path / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    (path.parent / "b.png").write_bytes((path / "b.png").read_bytes())
    return path


@pytest.mark.parametrize(("line", "reason"), BROKEN)
def test_a_line_that_cannot_be_used_is_named_with_the_reason(debris, line, reason):
    write(debris, GOOD, line)
    source = open_rest(debris)
    (bad,) = source.bad
    assert re.match(reason, bad.reason), bad.reason
    assert bad.where.startswith(f"{debris}/metadata.jsonl, line 2")
    assert "\n" not in str(bad)
    assert names_in(source) == ["a.png"]


def test_all_bad_lines_are_named_at_once(debris):
    write(debris, GOOD, {"file_name": "z.png"}, GOOD | {"label": 9})
    with pytest.raises(BadRecords, match=f"^2 of 3 records of {debris} are bad; .*=skip$") as bad:
        open_folder(debris)
    assert bad.value.details == (
        f"{debris}/metadata.jsonl, line 2 (z.png): file_name 'z.png': No such file or directory",
        f"{debris}/metadata.jsonl, line 3 (a.png): label 9 is out of range; allowed: 0 to 1",
    )


def test_a_link_is_followed_wherever_it_leads_and_dots_after_it_are_not(tmp_path):
    """The Hub's downloads are folders of links; but a line must not climb out through one."""
    inner, outer = tmp_path / "set", tmp_path / "blobs" / "deep"
    pixels = paint(outer / "x.png")
    paint(outer.parent / "secret.png")
    write(inner, {"file_name": "a.png"}, {"file_name": "link/../secret.png"})
    (inner / "a.png").symlink_to("../blobs/deep/x.png")
    (inner / "link").symlink_to(outer)
    source = open_rest(inner)
    np.testing.assert_array_equal(source[0].image, pixels)
    assert [bad.reason for bad in source.bad] == [
        "file_name 'link/../secret.png': No such file or directory"
    ]


def palette(colours, **keys):
    image = Image.new("P", (8, 8))
    image.putpalette([value for colour in colours for value in colour])
    image.paste(1, (0, 0, 4, 8))
    return image, keys


def turned():
    image = Image.new("RGB", (8, 8), (0, 200, 0))
    image.paste((200, 0, 0), (0, 0, 8, 4))
    image.getexif()[0x0112] = 6  # its top is what stands to the right
    return image, {"exif": image.getexif()}


def halves(mode, left, right):
    image = Image.new(mode, (8, 8), right)
    image.paste(left, (0, 0, 4, 8))
    return image, {}


WHITE, RED, GREEN = (255, 255, 255), (200, 0, 0), (0, 200, 0)


@pytest.mark.parametrize(
    ("name", "picture", "left", "right"),
    [
        ("x.png", palette([RED, GREEN]), GREEN, RED),
        ("x.png", palette([RED, GREEN], transparency=0), GREEN, WHITE),
        ("x.png", palette([RED, GREEN], transparency=b"\0\xff"), GREEN, WHITE),
        ("x.gif", palette([RED, GREEN], transparency=0), GREEN, WHITE),
        ("x.png", halves("LA", (9, 255), (9, 0)), (9, 9, 9), WHITE),
        ("x.png", halves("RGBA", (*RED, 255), (*RED, 0)), RED, WHITE),
        ("x.webp", halves("RGBA", (*RED, 255), (*RED, 0)), RED, WHITE),
        ("x.png", halves("RGBA", (0, 0, 0, 255), (0, 0, 0, 51)), (0, 0, 0), (204, 204, 204)),
        ("x.png", halves("1", 0, 1), (0, 0, 0), WHITE),
        ("x.jpg", halves("CMYK", (0, 255, 255, 55), (255, 0, 255, 55)), RED, GREEN),
        ("x.jpg", halves("L", 9, 99), (9, 9, 9), (99, 99, 99)),
        ("x.png", turned(), GREEN, RED),
        ("x.jpg", turned(), GREEN, RED),
    ],
)
def test_pictures_of_every_mode_become_rgb(tmp_path, name, picture, left, right):
    image, keys = picture
    lossless = {"quality": 100, "subsampling": 0} if name == "x.jpg" else {"lossless": True}
    image.save(tmp_path / name, **lossless, **keys)
    write(tmp_path, {"file_name": name})
    (record,) = open_folder(tmp_path)
    assert record.image.shape == (8, 8, 3) and record.image.dtype == np.uint8
    for column, colour in {0: left, 3: left, 4: right, 7: right}.items():
        assert np.abs(record.image[:, column].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture_counts(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    write(tmp_path, {"file_name": f"x.{suffix}"})
    (record,) = open_folder(tmp_path)
    assert np.abs(record.image.astype(int) - RED).max() <= 3
