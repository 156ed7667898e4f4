"""Prepared data sets of TFDS on the disk: found, opened in parts, and named where broken."""

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax import config as configs
from mmgen_jax.data import BadRecord, DataOptions
from mmgen_jax.data.tfds.reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError
from tests.prepared import group, noise, png, prepare

FEATURES = {"image": tfds.features.Image(), "number": np.int64}


def records(count):
    return [{"image": png(noise(4, 4)), "number": number} for number in range(count)]


def numbers(found):
    return [found[i]["number"] for i in range(len(found))]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """TFDS's folder; the working directory is another."""
    root = tmp_path / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """A data set of ten records for training and three for tests."""
    splits = {"train": records(10), "test": records(3)}
    return prepare(tmp_path_factory.mktemp("sets"), "things:1.0.0", FEATURES, **splits)


def test_the_newest_version_is_taken_unless_one_is_named(root):
    for count, version in enumerate(["3.0.9", "3.0.10", "2.11.0"], start=1):
        prepare(root, f"things/small:{version}", FEATURES, train=records(count))
    folder = root / "things" / "small"
    shutil.copytree(folder / "3.0.9", folder / "9.0.0.incomplete")
    for path, count in {
        "things/small": 2,
        "things/small:3.0.9": 1,
        "things/small:2.11.0": 3,
        str(folder): 2,
        str(folder / "2.11.0"): 3,
        "tensorflow_datasets/things/small": 2,
    }.items():
        assert len(TfdsRecords(read_info(path, ""), "train")) == count


@pytest.mark.parametrize("place", ["TFDS_DATA_DIR", "HOME"])
def test_a_name_is_looked_for_where_tfds_prepares_data_sets(root, tmp_path, monkeypatch, place):
    prepare(root, "things:1.0.0", FEATURES, train=records(1))
    if place == "HOME":
        monkeypatch.delenv("TFDS_DATA_DIR")
        monkeypatch.setenv("HOME", str(tmp_path))
        read_info("~/tensorflow_datasets/things", "")
    assert read_info("things", "").splits["train"].num_examples == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("things", r"no data set in things, nor things in {root} \(there: things/a:1.0.0, "),
        ("things/a:9.9.9", r"nor things/a:9.9.9 in {root} \(there: .*, things/b:2.0.0\); make it"),
        ("other", "no data set in other, nor other in {root}; make it: REMEDY"),
        ("/nowhere/things", "no data set in /nowhere/things; make it: REMEDY"),
        ("", "no data set in ; make it: REMEDY"),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_there(root, path, words):
    for name in ("things/a:1.0.0", "things/b:2.0.0"):
        prepare(root, name, FEATURES, train=records(1))
    with pytest.raises(InputError, match=words.format(root=root)):
        read_info(path, "REMEDY")


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(10)),
        ("test", range(3)),
        ("train[:40%]", range(4)),
        ("train[80%:]", range(8, 10)),
        ("train[2:5]", range(2, 5)),
        ("train[-3:]", range(7, 10)),
        ("train[:20%]+train[8:]", [0, 1, 8, 9]),
    ],
)
def test_a_part_of_a_split(ten, split, expected):
    found = TfdsRecords(read_info(str(ten), ""), split)
    assert numbers(found) == list(expected)
    file = f"{ten}/things-{split.partition('[')[0]}.array_record-00000"
    assert [found.where(i) for i in range(len(found))] == [f"{file}, record {i}" for i in expected]
    for index in (len(found), -len(found) - 1):
        with pytest.raises(IndexError):
            found[index]


def test_only_what_is_asked_for_is_read(ten):
    info = read_info(str(ten), "")
    assert TfdsRecords(info, "train", {"number"})[3] == {"number": 3}
    assert TfdsRecords(info, "train", {"image"})[3].keys() == {"image"}
    assert TfdsRecords(info, "train")[3].keys() == {"image", "number"}


BAD_SPLITS = (
    *("validation", "validation[:10%]", "", "train[", "train[:x]", "train[:10%", "train[::2]"),
    *("train[4:4]", "train[5:3]", "train[:1%]", "train[20:]", "train[:200%]", "train[50%]"),
)


@pytest.mark.parametrize("split", BAD_SPLITS)
def test_a_split_that_is_not_there_or_is_empty_is_refused(ten, split):
    config = configs.default()
    config.data = group("tfds", path=str(ten))
    config.data.split, config.modalities.names = split, ("number",)
    with pytest.raises(InputError, match=r"no split .*, or an empty one, .* allowed: train, test"):
        DataOptions.of(config).open(split)


def test_records_without_random_access_are_refused_with_the_remedy(ten, tmp_path):
    folder = shutil.copytree(ten, tmp_path / "1.0.0")
    described = folder / "dataset_info.json"
    described.write_text(
        described.read_text(encoding="utf-8").replace("array_record", "tfrecord"), encoding="utf-8"
    )
    with pytest.raises(InputError, match="no random access; prepare it with --file_format=array_"):
        TfdsRecords(read_info(str(folder), ""), "train")


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff"])
def test_broken_metadata_are_refused_in_one_line(ten, tmp_path, name, content):
    folder = shutil.copytree(ten, tmp_path / "1.0.0")
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read the data set in {folder}: ") as refusal:
        read_info(str(folder), "")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 99_999])
def test_a_missing_or_broken_file_is_named_with_the_record(ten, tmp_path, content):
    folder = shutil.copytree(ten, tmp_path / "1.0.0")
    file = folder / "things-train.array_record-00000"
    file.unlink() if content is None else file.write_bytes(content)
    found = TfdsRecords(read_info(str(folder), ""), "train")
    with pytest.raises(BadRecord) as bad:
        found[3]
    assert bad.value.where == f"{file}, record 3"
    assert "\n" not in str(bad.value)


def test_a_file_that_ends_between_two_blocks_is_named(tmp_path):
    big = [{"image": png(noise(150, 150)), "number": k} for k in range(4)]
    folder = prepare(tmp_path, "things:1.0.0", FEATURES, train=big)
    file = folder / "things-train.array_record-00000"
    file.write_bytes(file.read_bytes()[:65_536])
    found = TfdsRecords(read_info(str(folder), ""), "train")
    with pytest.raises(BadRecord, match="cut off"):
        found[3]


def test_a_home_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="'~nobody-at-all/x': there is no such home directory"):
        read_info("~nobody-at-all/x", "")


def test_records_of_several_files_are_named_by_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr("mmgen_jax.data.builders.writer.RECORDS_PER_SHARD", 4)
    folder = prepare(tmp_path, "things:1.0.0", FEATURES, train=records(10))
    found = TfdsRecords(read_info(str(folder), ""), "train[3:]")
    assert numbers(found) == list(range(3, 10))
    assert [found.where(i) for i in range(7)] == [
        f"{folder}/things-train.array_record-{i // 4:05d}, record {i % 4}" for i in range(3, 10)
    ]


def edited(ten, folder, name, change):
    """A copy of a data set with one of its JSON files changed."""
    shutil.copytree(ten, folder)
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def legacy(name):
    """A feature as TFDS 4.0 wrote it, within JSON within JSON."""
    inner = {"type": name, "content": {}}
    return {
        "pythonClassName": f"{SEQUENCE}.Sequence",
        "jsonFeature": {"json": json.dumps({"feature": inner, "length": None})},
    }


SEQUENCE = "tensorflow_datasets.core.features.sequence_feature"
NAMED = {
    "outermost": lambda features, name: features.update(pythonClassName=name),
    "other spelling": lambda features, name: (
        features.pop("pythonClassName"),
        features.update(python_class_name=name),
    ),
    "nested": lambda features, name: features["featuresDict"]["features"]["image"].update(
        pythonClassName=name
    ),
    "JSON in JSON": lambda features, name: features["featuresDict"]["features"].update(
        new=legacy(name)
    ),
    "legacy": lambda features, name: (
        features.clear(),
        features.update(type=name, content={}),
    ),
}


@pytest.mark.parametrize("name", ["hostile_module.X", "this.X", "tensorflow_datasets.testing.X"])
@pytest.mark.parametrize("where", NAMED)
def test_metadata_import_no_module(ten, tmp_path, monkeypatch, where, name):
    (tmp_path / "hostile_module.py").write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = edited(ten, tmp_path / "set", "features.json", lambda found: NAMED[where](found, name))
    known = set(sys.modules)
    with pytest.raises(InputError, match=f"names the class '{name}'; allowed: .*tfds.features"):
        read_info(path, "")
    assert not {"this", "hostile_module", "tensorflow_datasets.testing"} & (
        set(sys.modules) - known
    )


def test_the_module_that_made_a_data_set_is_not_imported(ten, tmp_path):
    path = edited(ten, tmp_path / "set", "dataset_info.json", lambda x: x.update(moduleName="this"))
    assert len(TfdsRecords(read_info(path, ""), "train")) == 10
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info.update(name="../other/things"),
        lambda info: info["splits"][0].update(name="../train"),
        lambda info: info["splits"][0].update(filepathTemplate="../{DATASET}-{SPLIT}"),
        lambda info: info["splits"][0].update(filepathTemplate="/etc/{SPLIT}"),
        lambda info: info["splits"][0].update(filepathTemplate="gs://bucket/{SPLIT}"),
    ],
)
def test_metadata_name_no_file_outside_the_folder(ten, tmp_path, change):
    path = edited(ten, tmp_path / "set", "dataset_info.json", change)
    with pytest.raises(InputError, match=r"dataset_info.json: .* leads out of the folder"):
        read_info(path, "")
