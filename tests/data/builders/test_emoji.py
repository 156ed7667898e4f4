"""The emoji data set: built from Debian's files, read as a data source."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax.config import default
from mmgen_jax.data import DataOptions, OneOf
from mmgen_jax.data.builders.catalogue import read_catalogue
from mmgen_jax.data.builders.drawings import STYLES, Drawings
from mmgen_jax.data.builders.emoji import CLDR, EMOJI_TEST, FONT, build
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.data.builders.speech import VOICES, choose_voices, speak
from mmgen_jax.data.tfds.features import Mapped
from mmgen_jax.data.tfds.reader import TfdsRecords, read_info
from mmgen_jax.data.tfds.source import EMOJI
from mmgen_jax.errors import InputError
from tests.hearing import sound_distance

PACKAGES = {
    FONT: "fonts-noto-color-emoji",
    CLDR: "unicode-cldr-core",
    EMOJI_TEST: "unicode-data",
}
MISSING = [package for path, package in PACKAGES.items() if not Path(path).exists()]
needs_packages = pytest.mark.skipif(
    bool(MISSING), reason=f"needs Debian packages {', '.join(MISSING)}"
)


needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs Debian package espeak-ng"
)


def options(path, languages=("en",), **features):
    config = default()
    config.data.path, config.data.languages = str(path), languages
    config.data.features.update(features)
    return DataOptions.of(config)


def features(path, split):
    records = TfdsRecords(read_info(str(path), ""), split)
    return [records[i] for i in range(len(records))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All emoji (seconds), small, in two languages: (path, summary)."""
    path = tmp_path_factory.mktemp("data") / "emoji"
    return path, build(path, image_size=32, languages=["en", "de"])


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "emoji"
    build(path, limit=40, languages=["en"])
    return path


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Twelve emoji with everything, in two languages; the first of them has no drawing."""
    folder = tmp_path_factory.mktemp("data")
    build(folder / "plain", limit=12, languages=["en"])
    first = features(folder / "plain", "train")[0]["emoji"].decode()
    drawings = folder / "drawings"
    drawings.mkdir()
    for emoji in read_catalogue(Path(EMOJI_TEST)):
        if emoji.characters != first:
            codes = "-".join(f"{ord(character):x}" for character in emoji.characters)
            (drawings / f"{codes}.svg").write_text(_drawing(len(codes)), encoding="utf-8")
    folders = {style.flag: str(drawings) for style in STYLES}
    kind = {"languages": ["en", "de"], "speech": True, "voices": 3, **folders}
    summary = build(folder / "emoji", limit=12, **kind)
    return folder / "emoji", summary, drawings


def _drawing(width):
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">'
        f'<rect width="{width}" height="72" fill="#c20"/></svg>'
    )


@needs_packages
def test_the_whole_set_is_there(whole):
    path, summary = whole
    built = [
        emoji["emoji"].decode() for split in ("train", "test") for emoji in features(path, split)
    ]
    assert sorted(built) == sorted(emoji.characters for emoji in read_catalogue(Path(EMOJI_TEST)))
    assert summary["version"] == "2.0.0" == str(read_info(str(path), "").version)
    assert summary["records"] == len(built) >= 3600
    assert 0.05 < summary["splits"]["test"] / len(built) < 0.15
    assert 3600 <= summary["unique_pictures"] < len(built)
    assert json.loads((path / "summary.json").read_text(encoding="utf-8")) == summary


@needs_packages
def test_nothing_of_the_test_split_is_in_the_training_split(whole):
    path, _ = whole
    train, test = (features(path, split) for split in ("train", "test"))
    for key in ("image", "base", "emoji", "text"):
        assert not {example[key] for example in train} & {example[key] for example in test}


@needs_packages
def test_captions_and_keywords_are_in_the_languages_asked_for(whole):
    path, summary = whole
    assert (summary["languages"], summary["number_of_languages"]) == (["en", "de"], 2)
    everything = [example for split in ("train", "test") for example in features(path, split)]
    apple = {example["emoji"].decode(): example for example in everything}["🍎"]
    assert apple["text"] == b"red apple"
    assert list(apple["captions"]["language"]) == list(apple["keywords"]["language"]) == [0, 1]
    assert list(apple["captions"]["text"]) == [b"red apple", b"roter Apfel"]
    assert list(apple["keywords"]["text"]) == [
        b"apple, fruit, red",
        b"Apfel, Frucht, Obst, rot, roter Apfel",
    ]
    for key in ("captions", "keywords"):
        assert summary[key] == sum(len(example[key]["text"]) for example in everything)
        assert summary[key] > 1.98 * summary["records"]


@needs_packages
def test_what_is_read_of_captions_and_keywords_follows_from_the_languages(whole):
    path, _ = whole
    apple = next(
        (split, index)
        for split in ("train", "test")
        for index, example in enumerate(features(path, split))
        if example["emoji"].decode() == "🍎"
    )

    def text(*languages, **features):
        split, index = apple
        return EMOJI.open(options(path, languages, **features), split)[index].values["text"]

    assert text("de") == "roter Apfel"
    assert text() == text("en", "de") == OneOf(["red apple", "roter Apfel"])
    both = text("en", text="captions/text+keywords/text")
    assert both == OneOf(["red apple", "apple, fruit, red"])
    with pytest.raises(InputError, match="no texts in 'fr'; allowed: en, de"):
        text("fr")


@needs_packages
def test_a_record_is_the_picture_with_its_name_and_group(whole):
    path, _ = whole
    catalogue = {emoji.characters: emoji for emoji in read_catalogue(Path(EMOJI_TEST))}
    source, glyphs = EMOJI.open(options(path), "test"), Glyphs(Path(FONT))
    assert sorted(source.info.modalities) == ["label", "text"]
    assert source.info.splits == ("train", "test")
    assert len(source.info.label_names) == 9
    for record, example in zip(source, features(path, "test"), strict=True):
        emoji = example["emoji"].decode()
        assert record.image.dtype == np.uint8
        np.testing.assert_array_equal(record.image, np.asarray(glyphs.picture(emoji, 32)))
        assert dict(record.values) == {
            "text": example["text"].decode(),
            "label": catalogue[emoji].group,
        }


@needs_packages
@needs_espeak
def test_each_name_is_said_by_some_of_the_voices(rich):
    path, summary, _ = rich
    for split in ("train", "test"):
        source = EMOJI.open(options(path), split)
        for record, example in zip(source, features(path, split), strict=True):
            chosen = choose_voices(example["emoji"].decode(), 3)
            said = {voice for voice, sound in example["audio"].items() if sound.size}
            assert said == set(chosen)
            assert example["audio"].keys() == VOICES.keys()
            stored, name = example["audio"][chosen[0]], example["text"].decode()
            again = speak(name, chosen[0])
            assert len(again) == len(stored)
            others = [speak(name, voice) for voice in VOICES if voice != chosen[0]]
            others += [speak(other, chosen[0]) for other in ("cat", "flag: Papua New Guinea")]
            nearest = min(sound_distance(stored, other) for other in others)
            assert sound_distance(stored, again) < nearest / 4
            sounds = record.values["audio"]
            assert isinstance(sounds, OneOf) and len(sounds) == 3
            for sound in sounds:
                assert sound.dtype == np.float32
                assert 0.1 < np.abs(sound).max() <= 1
                assert 0.3 * 16000 < len(sound) < 8 * 16000
    assert (summary["voices"], summary["sounds"]) == (3, 36)


@needs_packages
@needs_espeak
def test_one_voice_may_be_asked_for(rich):
    path, _, _ = rich
    source = EMOJI.open(options(path, audio="audio/us"), "train")
    for record, example in zip(source, features(path, "train"), strict=True):
        sound = example["audio"]["us"]
        assert ("audio" in record.values) == bool(sound.size)
        if sound.size:
            np.testing.assert_array_equal(record.values["audio"], sound.astype(np.float32) / 32768)


@needs_packages
@needs_espeak
def test_drawings_are_pictures_or_absent(rich):
    path, summary, folder = rich
    sketches, references = (Drawings(style, folder) for style in STYLES)
    seen = 0
    for split in ("train", "test"):
        source = EMOJI.open(options(path), split)
        other = EMOJI.open(options(path, image="reference"), split)
        for index, example in enumerate(features(path, split)):
            key = example["emoji"].decode().replace("\ufe0f", "")
            sketch, reference = (drawn.picture(key, 64) for drawn in (sketches, references))
            present = sketch is not None
            assert ("image" in source[index].values) == present == ("image" in other[index].values)
            if present:
                grey = np.repeat(np.asarray(sketch)[..., None], 3, axis=2)
                np.testing.assert_array_equal(source[index].values["image"], grey)
                colour = other[index].values["image"]
                np.testing.assert_array_equal(colour, np.asarray(reference))
                assert (colour != grey).any()
            seen += present
    assert seen == summary["sketches"] == summary["references"] == 11


@needs_packages
@needs_espeak
def test_the_card_and_the_licences_tell_what_is_in_it(rich, part):
    path, summary, _ = rich
    card, license_text = (
        (path / name).read_text(encoding="utf-8") for name in ("README.md", "LICENSE")
    )
    for line in (
        "| records | 12 |",
        f"| split train | {summary['splits']['train']} |",
        "| number of languages | 2 |",
        "| sketches | 11 |",
        "| sounds | 36 |",
        "en, de",
    ):
        assert line in card.splitlines()
    names = read_info(str(path), "").features
    assert len(names) == 11
    assert all(f"| `{name}` | " in card for name in names)
    sources = ("OFL-1.1", "Unicode-DFS-2016", "CC-BY-SA-4.0", "CC-BY-4.0", "espeak-ng")
    assert all(source in license_text for source in sources)
    plain = (part / "README.md").read_text(encoding="utf-8") + (part / "LICENSE").read_text(
        encoding="utf-8"
    )
    assert all(source in plain for source in sources[:2])
    assert not any(word in plain for word in (*sources[2:], "`sketch`", "`reference`", "`audio`"))


@needs_packages
def test_without_flags_there_is_neither_sound_nor_drawing(part):
    info = read_info(str(part), "")
    assert not {"audio", "sketch", "reference"} & set(info.features)
    assert sorted(EMOJI.describe(options(part)).modalities) == ["label", "text"]
    with pytest.raises(InputError, match="no feature 'sketch'"):
        EMOJI.describe(options(part, image="sketch"))
    summary = json.loads((part / "summary.json").read_text(encoding="utf-8"))
    for key in ("voices", "sounds", "sketches", "references"):
        assert summary[key] == 0


def test_a_dict_of_one_kind_is_all_of_its_features():
    text, number = tfds.features.Text(), tfds.features.Scalar(np.int64)
    known = tfds.features.FeaturesDict(
        {"one": {"a": text, "b": text}, "two": {"a": text, "b": number}}
    )
    example = {"one": {"a": b"this", "b": b"that"}, "two": {"a": b"this", "b": 1}}
    assert Mapped(known, "one", ()).read(example) == OneOf(["this", "that"])
    assert Mapped(known, "two/a+one", ()).read(example) == OneOf(["this", "this", "that"])
    with pytest.raises(InputError, match="feature 'two' is of type FeaturesDict"):
        Mapped(known, "two", ())


@needs_packages
def test_a_limit_takes_nothing_to_another_split_and_repeats(whole, part, tmp_path):
    build(tmp_path / "again", limit=40, languages=["en"])
    for split in ("train", "test"):
        chosen = [example["emoji"] for example in features(part, split)]
        assert set(chosen) < {example["emoji"] for example in features(whole[0], split)}
        for one, other in zip(
            features(part, split), features(tmp_path / "again", split), strict=True
        ):
            np.testing.assert_equal(one, other)


@needs_packages
def test_parts_of_a_split_and_pickling(part):
    train = EMOJI.open(options(part), "train")
    rest = EMOJI.open(options(part), "train[10:]")
    assert len(rest) == len(train) - 10
    assert rest[0].values == train[10].values
    assert rest[-1].values == train[len(train) - 1].values
    copy = pickle.loads(pickle.dumps(rest))
    np.testing.assert_array_equal(copy[3].image, train[13].image)
    with pytest.raises(IndexError):
        rest[len(rest)]


@needs_packages
@pytest.mark.parametrize("split", ["val", "train[", "train[5:5]"])
def test_a_split_that_is_not_there_is_refused(part, split):
    with pytest.raises(InputError, match="allowed: train, test, or a part"):
        EMOJI.open(options(part), split)


@needs_packages
def test_a_damaged_record_is_named_and_the_others_are_read(part, tmp_path):
    path = shutil.copytree(part, tmp_path / "emoji")
    (file,) = path.glob("*train*")
    content = bytearray(file.read_bytes())
    middle = len(content.rstrip(b"\0")) // 2
    content[middle : middle + 50] = bytes(byte ^ 0xFF for byte in content[middle : middle + 50])
    file.write_bytes(content)
    source, whole = EMOJI.open(options(path), "train[5:]"), EMOJI.open(options(part), "train[5:]")
    damaged = []
    for index in range(len(source)):
        try:
            np.testing.assert_array_equal(source[index].image, whole[index].image)
        except InputError as error:
            damaged.append((f"{file}, record {index + 5}: ", str(error)))
    assert all(message.startswith(place) for place, message in damaged)
    assert 1 <= len(damaged) <= 2  # two, if the damage is where one ends and the next begins


@needs_packages
@pytest.mark.parametrize(
    ("key", "broken"),
    [
        ("image", b"\x89PNG, not"),
        ("captions", {"language": np.array([0]), "text": np.array([b"\xff"], object)}),
    ],
)
def test_a_record_that_decodes_to_nonsense_is_named(part, monkeypatch, key, broken):
    source = EMOJI.open(options(part), "train")
    bad = {**source._records[3], key: broken}
    monkeypatch.setattr(TfdsRecords, "__getitem__", lambda *_: bad)
    record = source[3]
    with pytest.raises(InputError, match=r"train\.array_record-00000, record 3: "):
        record.image if key == "image" else record.values["text"]


def test_a_missing_data_set_is_refused_with_the_command_that_makes_it(tmp_path):
    command = f"python launch/build_dataset.py --dataset=emoji --out={tmp_path}"
    for call in (EMOJI.describe, lambda o: EMOJI.open(o, "train")):
        with pytest.raises(InputError, match=command):
            call(options(tmp_path))


def test_the_default_path_is_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no data set in data/emoji"):
        EMOJI.describe(options(""))


def test_broken_metadata_is_refused(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot read the data set"):
        EMOJI.describe(options(tmp_path))


@pytest.mark.parametrize(
    ("flag", "package"),
    [
        ("font", "fonts-noto-color-emoji"),
        ("cldr", "unicode-cldr-core"),
        ("emoji_test", "unicode-data"),
    ],
)
@needs_packages
def test_a_missing_input_is_named_with_its_package_and_flag(tmp_path, flag, package):
    with pytest.raises(InputError, match=f"--{flag}=nowhere .*{package}"):
        build(tmp_path / "emoji", **{flag: "nowhere"})
    assert list(tmp_path.iterdir()) == []


@needs_packages
def test_a_build_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    drawn = iter(range(30))
    picture = Glyphs.picture

    def fail(self, characters, size):
        if next(drawn) == 20:
            raise InputError("torn")
        return picture(self, characters, size)

    monkeypatch.setattr(Glyphs, "picture", fail)
    with pytest.raises(InputError, match="torn"):
        build(tmp_path / "emoji", limit=30, languages=["en"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 4}, "--image_size=4: allowed: 8 to 512"),
        ({"limit": 0}, "--limit=0: allowed: 1 or more"),
        ({"languages": []}, "--languages is empty"),
        ({"speech": True, "voices": 0}, "--voices=0: allowed: 1 to 8"),
        ({"speech": True, "voices": 9}, "--voices=9: allowed: 1 to 8"),
        ({"voices": 2}, "--voices=2 does nothing without --speech"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        build(tmp_path / "emoji", **wrong)
    assert list(tmp_path.iterdir()) == []


@needs_packages
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"languages": ["en", "xx"]}, "no names in 'xx'; allowed: af, "),
        ({"openmoji": "nowhere"}, "--openmoji=nowhere is not there; install npm's openmoji"),
        ({"twemoji": "."}, "--twemoji=.* has no files such as dist/svg/1F34E.svg"),
    ],
)
def test_inputs_that_are_not_there_are_refused(tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        build(tmp_path / "emoji", **{"languages": ["en"], **wrong})
    assert list(tmp_path.iterdir()) == []


def test_neither_jax_nor_tensorflow_is_imported():
    code = (
        "import sys, mmgen_jax.data.tfds.source, mmgen_jax.data.builders.emoji\n"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"font": "/dev/zero"}, "--font=/dev/zero is no file"),
        ({"font": __file__, "cldr": __file__}, "is no font"),
    ],
)
def test_a_device_is_no_font(tmp_path, flags, message):
    """Reading it would not end."""
    with pytest.raises(InputError, match=message):
        build(tmp_path / "emoji", **flags)
