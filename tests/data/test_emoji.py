"""The emoji data set: built from Debian's files, read as a data source."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmgen_jax.data.builders.catalogue import read_catalogue
from mmgen_jax.data.builders.emoji import CLDR, EMOJI_TEST, FONT, build
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.data.emoji import EMOJI
from mmgen_jax.data.tfds_reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError

PACKAGES = {
    FONT: "fonts-noto-color-emoji",
    CLDR: "unicode-cldr-core",
    EMOJI_TEST: "unicode-data",
}
MISSING = [package for path, package in PACKAGES.items() if not Path(path).exists()]
needs_packages = pytest.mark.skipif(
    bool(MISSING), reason=f"needs Debian packages {', '.join(MISSING)}"
)


def options(path):
    return SimpleNamespace(path=str(path))


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
    build(path, limit=40)
    return path


@needs_packages
def test_the_whole_set_is_there(whole):
    path, summary = whole
    built = [
        emoji["emoji"].decode() for split in ("train", "test") for emoji in features(path, split)
    ]
    assert sorted(built) == sorted(emoji.characters for emoji in read_catalogue(Path(EMOJI_TEST)))
    assert summary["records"] == len(built) >= 3600
    assert 0.05 < summary["splits"]["test"] / len(built) < 0.15
    assert 3600 <= summary["unique_pictures"] < len(built)
    assert json.loads((path / "summary.json").read_text()) == summary
    assert "OFL-1.1" in (path / "LICENSE").read_text()
    assert "Unicode-DFS-2016" in (path / "LICENSE").read_text()


@needs_packages
def test_nothing_of_the_test_split_is_in_the_training_split(whole):
    path, _ = whole
    train, test = (features(path, split) for split in ("train", "test"))
    for key in ("image", "base", "emoji", "text"):
        assert not {example[key] for example in train} & {example[key] for example in test}


@needs_packages
def test_captions_are_in_the_languages_asked_for(whole):
    path, _ = whole
    by_emoji = {example["emoji"].decode(): example for example in features(path, "train")}
    apple = by_emoji.get("🍎") or {e["emoji"].decode(): e for e in features(path, "test")}["🍎"]
    assert apple["text"] == b"red apple"
    assert apple["captions"] == {"language": [b"en", b"de"], "text": [b"red apple", b"roter Apfel"]}
    german = [b"de" in example["captions"]["language"] for example in by_emoji.values()]
    assert np.mean(german) > 0.98


@needs_packages
def test_a_record_is_the_picture_with_its_name_and_group(whole):
    path, _ = whole
    catalogue = {emoji.characters: emoji for emoji in read_catalogue(Path(EMOJI_TEST))}
    source, glyphs = EMOJI.open(options(path), "test"), Glyphs(Path(FONT))
    assert source.info.modalities == ("text", "label")
    assert source.info.splits == ("train", "test")
    assert len(source.info.label_names) == 9
    for record, example in zip(source, features(path, "test"), strict=True):
        emoji = example["emoji"].decode()
        assert record.image.dtype == np.uint8
        np.testing.assert_array_equal(record.image, np.asarray(glyphs.picture(emoji, 32)))
        assert record.values == {
            "text": example["text"].decode(),
            "label": catalogue[emoji].group,
        }


@needs_packages
def test_a_limit_takes_nothing_to_another_split_and_repeats(whole, part, tmp_path):
    build(tmp_path / "again", limit=40)
    for split in ("train", "test"):
        chosen = [example["emoji"] for example in features(part, split)]
        assert set(chosen) < {example["emoji"] for example in features(whole[0], split)}
        for one, other in zip(
            features(part, split), features(tmp_path / "again", split), strict=True
        ):
            assert one == other


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
def test_a_record_that_decodes_to_nonsense_is_named(part, monkeypatch):
    source = EMOJI.open(options(part), "train")
    good = source._records[3]
    for key, value in (("image", b"\x89PNG, not"), ("text", b"  ")):
        monkeypatch.setattr(TfdsRecords, "__getitem__", lambda *_, k=key, v=value: {**good, k: v})
        with pytest.raises(InputError, match=r"train\.array_record-00000, record 3: "):
            source[3]


def test_a_missing_data_set_is_refused_with_the_command_that_makes_it(tmp_path):
    command = f"python launch/build_dataset.py --dataset=emoji --out={tmp_path}"
    for call in (EMOJI.describe, lambda o: EMOJI.open(o, "train")):
        with pytest.raises(InputError, match=command):
            call(options(tmp_path))


def test_the_default_path_is_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no data set in data/emoji"):
        EMOJI.describe(SimpleNamespace(path=""))


def test_broken_metadata_is_refused(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
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
        build(tmp_path / "emoji", limit=30)
    assert list(tmp_path.iterdir()) == []


@needs_packages
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs Debian package espeak-ng")
def test_speech_is_sound_at_16_khz(tmp_path):
    build(tmp_path / "emoji", limit=6, speech=True)
    assert EMOJI.describe(options(tmp_path / "emoji")).modalities == ("text", "label", "audio")
    for record in EMOJI.open(options(tmp_path / "emoji"), "train"):
        audio = record.values["audio"]
        assert audio.dtype == np.float32
        assert 0.1 < np.abs(audio).max() <= 1
        assert 0.3 * 16000 < len(audio) < 8 * 16000


def test_neither_jax_nor_tensorflow_is_imported():
    code = (
        "import sys, mmgen_jax.data.emoji, mmgen_jax.data.builders.emoji\n"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
