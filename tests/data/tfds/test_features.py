"""From a feature of a TFDS data set to a raw value: every type, sequences, languages, damage."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax.data import OneOf
from mmgen_jax.data.tfds.features import Mapped
from mmgen_jax.data.tfds.reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError
from tests.prepared import noise, png, prepare

F = tfds.features
SOUND = F.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
FEATURES = {
    "text": F.Text(),
    "string": np.str_,
    "label": F.ClassLabel(names=["a", "b"]),
    "unnamed": F.ClassLabel(num_classes=3),
    "picture": F.Image(),
    "mask": F.Image(shape=(None, None, 1)),
    "clear": F.Image(shape=(None, None, 4)),
    "sound": SOUND,
    "floats": F.Tensor(shape=(None,), dtype=np.float32),
    "number": np.int64,
    "box": F.BBoxFeature(),
    "file/name": F.Text(),
    "texts": F.Sequence(F.Text()),
    "labels": F.Sequence(F.ClassLabel(names=["b", "c"])),
    "pictures": F.Sequence(F.Image()),
    "captions": F.Sequence({"text": np.str_, "id": np.int64}),
    "objects": F.Sequence({"label": F.ClassLabel(num_classes=3), "cut": F.Image()}),
    "group": {"text": F.Text(), "picture": F.Image()},
    "tongues": {"z": F.Text(), "b": F.Text(), "a": F.Text(), "y": F.Text()},
    "names": F.Sequence({"text": F.Text(), "language": F.ClassLabel(names=["en", "de", "fr"])}),
    "word": {"text": F.Text(), "language": F.ClassLabel(names=["en", "de"])},
}
PATHS = (
    *("box", "captions/id", "captions/text", "clear", "file/name", "floats", "group/picture"),
    *("group/text", "label", "labels", "mask", "names/language", "names/text", "number"),
    *("objects/cut", "objects/label", "picture", "pictures", "sound", "string", "text", "texts"),
    *("tongues/a", "tongues/b", "tongues/y", "tongues/z", "unnamed", "word/language", "word/text"),
)
PICTURE, OTHER, MASK, CLEAR = noise(5, 7), noise(3, 3), noise(4, 6, 1), noise(2, 2, 4)
CLEAR[..., 3] = 0
SAMPLES = np.array([0, 16384, -32768, 32767], np.int16)


def full():
    return {
        "text": "ä",
        "string": "plain",
        "label": "b",
        "unnamed": 2,
        "picture": png(PICTURE),
        "mask": png(MASK),
        "clear": png(CLEAR),
        "sound": SAMPLES,
        "floats": np.array([0.5, -1], np.float32),
        "number": 3,
        "box": F.BBox(0.0, 0.0, 1.0, 1.0),
        "file/name": "x.png",
        "texts": ["one", "two"],
        "labels": ["b", "c"],
        "pictures": [png(PICTURE), png(OTHER)],
        "captions": [{"text": "first", "id": 1}, {"text": "second", "id": 2}],
        "objects": [{"label": 2, "cut": png(OTHER)}, {"label": 0, "cut": png(PICTURE)}],
        "group": {"text": "inner", "picture": png(OTHER)},
        "tongues": {"z": "of z", "b": "of b", "a": "of a", "y": "of y"},
        "names": [
            {"text": "apple", "language": "en"},
            {"text": "Apfel", "language": "de"},
            {"text": "red apple", "language": "en"},
        ],
        "word": {"text": "Wort", "language": "de"},
    }


NONE = {
    "label": -1,
    "unnamed": -1,
    "sound": np.zeros(0, np.int16),
    "floats": np.zeros(0, np.float32),
    **{key: [] for key in ("texts", "labels", "pictures", "captions", "objects", "names")},
}
ONE = {
    "texts": ["one"],
    "captions": [{"text": "first", "id": 1}],
    "pictures": [png(OTHER)],
    "labels": [-1, "c"],
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """(features, records): one with all that there is, one with none of it, one with one each."""
    records = [full(), full() | NONE, full() | ONE]
    folder = prepare(tmp_path_factory.mktemp("sets"), "set:1.0.0", FEATURES, train=records)
    info = read_info(str(folder), "")
    return info.features, TfdsRecords(info, "train")


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, OneOf):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("spelling", "kind", "value"),
    [
        ("text", "text", "ä"),
        ("string", "text", "plain"),
        ("file/name", "text", "x.png"),
        ("label", "class label", "b"),
        ("unnamed", "class label", "2"),
        ("picture", "picture", PICTURE),
        ("mask", "picture", np.repeat(MASK, 3, axis=2)),
        ("clear", "picture", np.full((2, 2, 3), 255, np.uint8)),
        ("sound", "sound", np.array([0, 0.5, -1, 32767 / 32768], np.float32)),
        ("floats", "sound", np.array([0.5, -1], np.float32)),
        ("texts", "text", OneOf(["one", "two"])),
        ("labels", "class label", OneOf(["b", "c"])),
        ("pictures", "picture", OneOf([PICTURE, OTHER])),
        ("captions/text", "text", OneOf(["first", "second"])),
        ("objects/label", "class label", OneOf(["2", "0"])),
        ("objects/cut", "picture", OneOf([OTHER, PICTURE])),
        ("group/text", "text", "inner"),
        ("group/picture", "picture", OTHER),
        # Alphabetical, as TFDS reads features in any order, and another one in the next process.
        ("tongues", "text", OneOf(["of a", "of b", "of y", "of z"])),
        ("text+captions/text+string", "text", OneOf(["ä", "first", "second", "plain"])),
        ("label+labels", "class label", OneOf(["b", "b", "c"])),
        ("names/text", "text", OneOf(["apple", "Apfel", "red apple"])),
    ],
)
def test_every_type_becomes_a_raw_value(read, spelling, kind, value):
    features, records = read
    mapped = Mapped(features, spelling, ())
    assert mapped.kinds == {kind}
    assert mapped.count(records[0]) == (len(value) if isinstance(value, OneOf) else 1)
    assert_same(mapped.read(records[0]), value)


EMPTY = (
    *("label", "unnamed", "sound", "floats", "texts", "labels", "pictures", "captions/text"),
    *("objects/label", "objects/cut", "names/text", "label+labels"),
)


@pytest.mark.parametrize("spelling", EMPTY)
def test_what_is_empty_is_absent(read, spelling):
    features, records = read
    assert Mapped(features, spelling, ()).count(records[0]) > 0
    assert Mapped(features, spelling, ()).count(records[1]) == 0


@pytest.mark.parametrize(
    ("spelling", "value"),
    [("texts", "one"), ("captions/text", "first"), ("pictures", OTHER), ("labels", "c")],
)
def test_one_of_a_sequence_is_the_value_itself(read, spelling, value):
    features, records = read
    assert_same(Mapped(features, spelling, ()).read(records[2]), value)


@pytest.mark.parametrize(
    ("spelling", "names"),
    [
        ("label", ("a", "b")),
        ("unnamed", ("0", "1", "2")),
        ("label+labels", ("a", "b", "c")),
        ("objects/label", ("0", "1", "2")),
        ("text", ()),
    ],
)
def test_the_classes_are_those_of_all_alternatives(read, spelling, names):
    assert Mapped(read[0], spelling, ()).names == names


@pytest.mark.parametrize(
    ("spelling", "languages", "found"),
    [
        ("names/text", ("en",), ["apple", "red apple"]),
        ("names/text", ("de",), ["Apfel"]),
        ("names/text", ("fr",), []),
        ("names/text", ("de", "en"), ["apple", "Apfel", "red apple"]),
        ("names/text+text", ("de",), ["Apfel", "ä"]),
        ("word/text", ("de",), ["Wort"]),
        ("word/text", ("en",), []),
    ],
)
def test_languages_choose_among_texts(read, spelling, languages, found):
    features, records = read
    mapped = Mapped(features, spelling, languages)
    assert mapped.in_languages
    assert mapped.outer == {name.split("/")[0] for name in spelling.split("+")}
    assert mapped.count(records[0]) == len(found)
    if found:
        assert_same(mapped.read(records[0]), OneOf(found) if found[1:] else found[0])


@pytest.mark.parametrize(
    ("spelling", "languages", "message"),
    [
        ("caption", (), f"there is no feature 'caption'; allowed: {', '.join(PATHS)}$"),
        ("captions/texts", (), "there is no feature 'captions/texts'; allowed: "),
        ("text/inner", (), "there is no feature 'text/inner'; allowed: "),
        ("text+", (), "there is no feature ''; allowed: "),
        ("number", (), "'number' is of type .*int64.*; allowed: Text, ClassLabel, Image, and a s"),
        ("captions/id", (), "'captions/id' is of type .*int64.*; allowed: Text"),
        ("box", (), "'box' is of type BBoxFeature.*; allowed: Text"),
        ("captions", (), "'captions' is of type FeaturesDict.*; allowed: Text"),
        ("group", (), "'group' is of type FeaturesDict.*; allowed: Text"),
        ("names/text", ("en", "xx"), "there are no texts in 'xx'; allowed: en, de, fr"),
    ],
)
def test_a_feature_that_is_not_there_or_of_no_use_is_refused(read, spelling, languages, message):
    with pytest.raises(InputError, match=message) as refusal:
        Mapped(read[0], spelling, languages)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("spelling", "raw", "message"),
    [
        ("text", b"\xff\xfe", r"text b'\\xff\\xfe' is no UTF-8: invalid start byte"),
        ("string", b"B\xe4r", r"text b'B\\xe4r' is no UTF-8"),
        ("label", 2, "label 2 is out of range; allowed: 0 to 1"),
        ("label", -2, "label -2 is out of range; allowed: 0 to 1"),
        ("picture", png(PICTURE).read()[:50], "the picture is broken: "),
        ("picture", b"", "it is no picture; allowed: PNG"),
        ("pictures", [png(PICTURE).read(), io.BytesIO().read()], "it is no picture"),
        ("floats", [20_000.0, -5.0], "the sound's samples reach 20000; allowed: -1 to 1"),
        ("floats", [float("nan")], "samples that are no finite numbers"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_in_one_line(read, spelling, raw, message):
    features, records = read
    with pytest.raises(InputError, match=message) as refusal:
        Mapped(features, spelling, ()).read(records[0] | {spelling: raw})
    assert "\n" not in str(refusal.value)


def test_names_of_classes_are_normalized(tmp_path):
    """Two numbers may be of one class; which number has which name stays."""
    features = {"label": F.ClassLabel(names=["b ", "Cafe\u0301", "b", "Café"])}
    records = [{"label": number} for number in range(4)]
    info = read_info(str(prepare(tmp_path, "odd:1.0.0", features, train=records)), "")
    mapped = Mapped(info.features, "label", ())
    assert mapped.names == ("b", "Café")
    read = [mapped.read(example) for example in TfdsRecords(info, "train")]
    assert read == ["b", "Café", "b", "Café"]
