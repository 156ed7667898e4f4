"""A packed folder says what the folder said."""

import numpy as np
import pytest

from mmgen_jax.data import SOURCES, BadRecords, OneOf
from mmgen_jax.data.builders.folder import build
from mmgen_jax.errors import InputError
from mmgen_jax.media.images import resize
from tests import folders, prepared


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    pictures = [folders.paint(folder / f"{k}.png", size=(20, 12)) for k in range(3)]
    sound = folders.hum(folder / "a.wav")
    folders.write(
        folder,
        {"file_name": "0.png", "text": ["one", "two"], "label": "cat", "audio_file_name": "a.wav"},
        {"file_name": "1.png", "text": "three", "label": "dog", "image_file_name": "0.png"},
        {"file_name": "2.png"},
    )
    (folder / "labels.txt").write_text("bird\ncat\ndog\n", encoding="utf-8")
    return folder, pictures, sound


def in_order(path, **keys):
    records = {}
    for split in ("train", "test"):
        source = SOURCES["tfds"].open(prepared.options("tfds", path=str(path), **keys), split)
        assert source.info.label_names == ("bird", "cat", "dog")
        assert set(source.info.modalities) == {"text", "label", "audio", "image"}
        records |= {r.image.tobytes(): r for r in (source[i] for i in range(len(source)))}
    return records


@pytest.mark.parametrize("size", [None, 8])
def test_all_is_there(raw, tmp_path, size):
    folder, pictures, sound = raw
    summary = build(tmp_path / "packed", raw=str(folder), image_size=size)
    assert summary["records"] == 3 and summary["skipped"] == []
    drawn = [p if size is None else resize(p, (size, size)) for p in pictures]
    records = in_order(tmp_path / "packed")
    first, second, third = (records[picture.tobytes()].values for picture in drawn)
    assert first["text"] == OneOf(("one", "two")) and first["label"] == "cat"
    np.testing.assert_allclose(first["audio"], sound, atol=1e-4)
    assert (second["text"], second["label"]) == ("three", "dog")
    np.testing.assert_array_equal(second["image"], drawn[0])
    assert "audio" not in second and "image" not in first
    assert not dict(third)


def test_bad_records_are_named_or_left_out(raw, tmp_path):
    folder, *_ = raw
    (folder / "1.png").write_text("torn", encoding="utf-8")
    with pytest.raises(BadRecords, match="1 of 3 records") as error:
        build(tmp_path / "packed", raw=str(folder))
    assert len(error.value.details) == 1 and not (tmp_path / "packed").exists()
    summary = build(tmp_path / "packed", raw=str(folder), on_bad_record="skip")
    assert summary["records"] == 2
    assert len(summary["skipped"]) == 1 and "line 2 (1.png)" in summary["skipped"][0]


def test_bad_records_of_all_splits_are_named(tmp_path):
    for split in ("train", "test"):
        folders.paint(tmp_path / split / "good.png")
        folders.write(tmp_path / split, {"file_name": "good.png"}, {"file_name": f"{split}.png"})
    with pytest.raises(BadRecords, match="2 of 4 records") as error:
        build(tmp_path / "packed", raw=str(tmp_path))
    assert [name in str(error.value.details) for name in ("train.png", "test.png")] == [True, True]


def test_labels_that_are_all_missing_are_none(tmp_path):
    for name in ("0.png", "1.png"):
        folders.paint(tmp_path / "raw" / name)
    lines = [{"file_name": name, "text": name, "label": None} for name in ("0.png", "1.png")]
    folders.write(tmp_path / "raw", *lines)
    assert build(tmp_path / "packed", raw=str(tmp_path / "raw"))["modalities"] == ["text"]


def test_a_folder_with_nothing_to_give_a_model_is_refused_with_the_keys(tmp_path):
    lines = [{"file_name": name, "caption": "lost before"} for name in ("0.png", "1.png")]
    for line in lines:
        folders.paint(tmp_path / "raw" / line["file_name"])
    folders.write(tmp_path / "raw", *lines)
    with pytest.raises(InputError, match="any of the keys text, label, .*; rename what"):
        build(tmp_path / "packed", raw=str(tmp_path / "raw"))
    assert not (tmp_path / "packed").exists()


def test_bad_arguments(tmp_path):
    with pytest.raises(InputError, match="--raw is missing"):
        build(tmp_path / "packed")
    with pytest.raises(InputError, match="--image_size=0: allowed: 1 to 4096"):
        build(tmp_path / "packed", raw=str(tmp_path), image_size=0)
