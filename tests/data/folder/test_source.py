"""A folder of files as a data set: records, classes, splits, and options that cannot work."""

import codecs
import functools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data.folder import source as folder_module
from mmgen_jax.data.folder.source import FOLDER
from mmgen_jax.data.pipeline import fixed_batch
from mmgen_jax.errors import InputError
from mmgen_jax.media.images import normalise
from mmgen_jax.modalities.examples import prepare_example
from tests.folders import group, hum, names_in, open_folder, options, paint, write
from tests.tiny import tiny_config


def test_a_line_becomes_a_record(tmp_path):
    target, sketch = (
        paint(tmp_path / "train" / "a.png"),
        paint(tmp_path / "train" / "more" / "s.bmp"),
    )
    tone = hum(tmp_path / "train" / "a.flac", rate=44_100, channels=2)
    line = {
        "file_name": "a.png",
        "text": "ein roter Apfel 🍎",
        "label": "fruit",
        "audio_file_name": "a.flac",
        "image_file_name": "more/s.bmp",
        "photographer": "of no modality",
    }
    write(tmp_path / "train", line)
    source = open_folder(tmp_path, "train")
    assert source.info == FOLDER.describe(options(tmp_path))
    assert source.info == (("audio", "image", "label", "text"), ("train",), {"label": ("fruit",)})
    (record,) = source
    np.testing.assert_array_equal(record.image, target)
    np.testing.assert_array_equal(record.values["image"], sketch)
    assert (record.values["text"], record.values["label"]) == (line["text"], "fruit")
    sound = record.values["audio"]
    assert sound.dtype == np.float32 and abs(len(sound) - len(tone)) <= 1
    assert np.abs(sound[100:3900] - tone[100:3900]).max() < 0.02
    assert source.where(0) == f"{tmp_path}/train/metadata.jsonl, line 1 (a.png)"
    with pytest.raises(IndexError):
        source[1]


def test_any_keys_can_be_the_features_and_the_target(folder):
    tone = hum(folder / "hum.wav", rate=8_000)
    line = {"photo": "a.png", "caption": "a hum", "noise": "hum.wav", "kind": 3, "sketch": "b.png"}
    write(folder, line)
    features = {"text": "caption", "audio": "noise", "label": "kind", "image": "sketch"}
    (record,) = open_folder(folder, target="photo", features=features)
    np.testing.assert_array_equal(record.image, np.asarray(Image.open(folder / "a.png")))
    np.testing.assert_array_equal(record.values["image"], np.asarray(Image.open(folder / "b.png")))
    assert np.abs(record.values["audio"] - tone)[100:-100].max() < 0.02
    assert record.values["text"] == "a hum"


def test_subfolders_are_splits(tmp_path):
    for split in ("train", "validation", "b", ".hidden", "d", "a", "c"):
        paint(tmp_path / split / "x.png")
        write(tmp_path / split, {"file_name": "x.png", "label": f"of {split}"})
    splits = ("a", "b", "c", "d", "train", "validation")
    names = tuple(f"of {split}" for split in splits)
    assert FOLDER.describe(options(tmp_path)) == (("label",), splits, {"label": names})
    assert [r.values["label"] for r in open_folder(tmp_path, "validation")] == ["of validation"]


def test_without_subfolders_a_hash_of_the_name_decides_and_nothing_moves(tmp_path):
    for i in range(400):
        paint(tmp_path / f"{i}.png", colour=(i % 256, i // 256, 1), size=(1, 1))
    lines = [{"file_name": f"{i}.png"} for i in range(400)]
    write(tmp_path, *lines)
    train, test, both = (names_in(open_folder(tmp_path, s)) for s in ("train", "test", "all"))
    assert both == [line["file_name"] for line in lines]
    assert sorted(train + test) == sorted(both)
    assert 8 <= len(test) <= 32
    # Half of them, in another order and saying more.
    write(tmp_path, *(line | {"text": "more"} for line in lines[300:100:-1]))
    kept = {f"{i}.png" for i in range(101, 301)}
    assert set(names_in(open_folder(tmp_path, "train"))) == kept & set(train)
    assert set(names_in(open_folder(tmp_path, "test"))) == kept & set(test)
    # The same names elsewhere, under another key.
    write(tmp_path, *({"photo": line["file_name"]} for line in lines))
    assert names_in(open_folder(tmp_path, "test", target="photo")) == test
    # The only one there is, whatever its hash.
    write(tmp_path, {"file_name": test[0]})
    assert names_in(open_folder(tmp_path, "train")) == test[:1]


@pytest.mark.parametrize(("count", "train", "test"), [(1, 1, 0), (2, 1, 1), (4, 3, 1)])
def test_a_small_folder_has_something_to_train_on_and_to_test(folder, count, train, test):
    write(folder, *({"file_name": f"{name}.png"} for name in "abcd"[:count]))
    for split, expected in {"train": train, "test": test, "all": count}.items():
        if expected:
            assert len(open_folder(folder, split)) == expected
        else:
            words = "has one good record, .* --config.data.split=all --config.eval.split=all$"
            with pytest.raises(InputError, match=words):
                open_folder(folder, split)


def test_no_hash_leaves_a_split_without_a_record(tmp_path):
    """Of two pictures in four hundred folders both have hashes of the test split."""
    low = [name for i in range(400) if folder_module._hash(name := f"{i}.png") < 0.04][:3]
    for name in low:
        paint(tmp_path / name)
    write(tmp_path, *({"file_name": name} for name in low))
    train, test = (names_in(open_folder(tmp_path, split)) for split in ("train", "test"))
    assert len(train) == 1 and len(test) == 2 and {*train, *test} == set(low)


GOOD = {"file_name": "a.png", "text": {"en": "apple", "de": "Apfel"}, "label": "a"}


@pytest.mark.parametrize(
    ("lines", "keys", "words"),
    [
        ([GOOD], {"path": ""}, "config.data.path is empty; allowed: a folder that holds metadata"),
        ([GOOD], {"path": "nowhere"}, "^folder .*nowhere is not there"),
        ([GOOD], {"features": {"text": "caption"}}, "config.data.features.text = 'caption': no line"
         " .* has such a key; allowed: file_name, label, text"),
        ([GOOD], {"target": "photo"}, "config.data.target = 'photo': no line .* allowed: file"),
        ([{"text": "x"}], {}, "config.data.target = 'file_name': no line .* allowed: text"),
        ([GOOD], {"languages": ("fr",)}, "config.data.languages has 'fr', .*; allowed: de, en"),
        ([{"file_name": "a.png", "text": "x"}], {"languages": ("fr",)}, "'fr', .*; allowed: none"),
        ([], {}, "no line of metadata.jsonl in .* can be used: there is none"),
        ([b"a.png,apple", b"b.png"], {}, "can be used: the line is not JSON"),
        (["a.png"], {}, "can be used: the line is no JSON object"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_read(folder, lines, keys, words):
    write(folder, *lines)
    with pytest.raises(InputError, match=words) as refusal:
        FOLDER.describe(options(**{"path": folder, **keys}))
    assert "\n" not in str(refusal.value)


def test_metadata_both_for_all_and_in_subfolders_is_refused(folder):
    write(folder, {"file_name": "a.png"})
    write(folder / "train", {"file_name": "../a.png"})
    with pytest.raises(
        InputError, match=r"has a metadata.jsonl, and so has .*/train; allowed: one"
    ):
        FOLDER.describe(options(folder))


def test_a_split_that_is_not_there_is_refused(folder):
    write(folder, {"file_name": "a.png"})
    with pytest.raises(InputError, match=r"has no split 'train\[:1\]'; allowed: train, test, all"):
        open_folder(folder, "train[:1]")


def test_marks_and_line_ends_of_other_systems_do_no_harm(folder):
    lines = [json.dumps({"file_name": f"{name}.png", "text": "é"}).encode() for name in "abc"]
    content = codecs.BOM_UTF8 + lines[0] + b"\r\n\r\n  \r\n" + lines[1] + b"\r\n\n" + lines[2]
    (folder / "metadata.jsonl").write_bytes(content)
    source = open_folder(folder)
    places = [source.where(i).partition(", ")[2] for i in range(len(source))]
    assert places == ["line 1 (a.png)", "line 4 (b.png)", "line 6 (c.png)"]
    assert [record.values["text"] for record in source] == ["é"] * 3


def test_a_batch_holds_what_the_files_say(folder):
    tone = hum(folder / "hum.flac", rate=44_100, seconds=0.1)
    everything = {
        "file_name": "a.png",
        "text": ["apple", "red apple"],
        "label": "fruit",
        "audio_file_name": "hum.flac",
        "image_file_name": "b.png",
    }
    write(folder, everything, {"file_name": "c.png", "label": "toy", "text": None})
    config = tiny_config(("text", "label", "audio", "image"))
    config.data = group(folder, image_size=8)
    config.data.split = "all"
    config.modalities.image.patch_size = config.generator.flow.patch_size = (
        config.objective.recovery_patch_size
    ) = 8
    configs.validate(config)
    source = open_folder(folder)
    model = models.build(config, models.fit(config, source))
    prepare = functools.partial(prepare_example, modalities=model.modalities, image_shape=(8, 8))
    batch = fixed_batch(source, prepare, [0, 1])
    np.testing.assert_array_equal(batch["image"][1], normalise(source[1].image))
    assert {name: has.tolist() for name, has in batch["has"].items()} == {
        "text": [True, False],
        "label": [True, True],
        "audio": [True, False],
        "image": [True, False],
    }
    value = lambda name, row: jax.tree.map(lambda x: x[row], batch["values"][name])  # noqa: E731
    show = lambda name, row: model.modalities[name].show(value(name, row))  # noqa: E731
    assert show("text", 0) in everything["text"]
    assert [show("label", row) for row in (0, 1)] == ["fruit", "toy"]
    assert np.abs(show("audio", 0)[100:-100] - tone[100:-100]).max() < 0.02
    np.testing.assert_array_equal(show("image", 0), np.asarray(Image.open(folder / "b.png")))
