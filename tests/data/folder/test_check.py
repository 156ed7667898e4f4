"""The check of a folder's files: once, and again only when something has changed."""

import errno
import functools
import os
from pathlib import Path

import numpy as np
import pytest

from mmgen_jax.data import BadRecord
from mmgen_jax.data.folder.check import INDEX
from mmgen_jax.data.pipeline import training_batches
from mmgen_jax.modalities.examples import prepare_example
from tests.folders import half, open_folder, open_rest, write

LINES = (
    {"file_name": "a.png", "label": "a", "audio_file_name": "a.wav"},
    {"file_name": "b.png", "label": "c"},
    {"file_name": "c.png", "label": "b"},
)


def swap(path):
    """Makes a file useless, and leaves its size and its time as they were."""
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "nothing": lambda path: None,
    "a picture": lambda path: os.utime(path / "a.png", ns=(0, 0)),
    "a sound": lambda path: os.utime(path / "a.wav", ns=(0, 0)),
    "the metadata": lambda path: write(path, *LINES, {"file_name": "d.png"}),
    "the classes": lambda path: (path / "labels.txt").write_text("b\na\n", encoding="utf-8"),
    "the index is torn": lambda path: (path / INDEX).write_text("{", encoding="utf-8"),
    "the index is of something else": lambda path: (path / INDEX).write_text(
        '["state"]', encoding="utf-8"
    ),
    "the index is no text": lambda path: (path / INDEX).write_bytes(b"\xff"),
    "the index is gone": lambda path: (path / INDEX).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_are_not_read_again_until_something_changes(folder, change):
    write(folder, *LINES)
    (folder / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    before = [str(bad) for bad in open_rest(folder).bad]
    assert len(before) == 1
    swap(folder / "c.png")
    CHANGES[change](folder)
    after = [str(bad) for bad in open_rest(folder).bad]
    if change == "nothing":
        assert after == before
    else:
        assert len(after) == 2 and "c.png': it is no picture" in after[1]
        assert [str(bad) for bad in open_rest(folder).bad] == after


def test_an_error_of_the_disk_is_no_lasting_verdict(folder, monkeypatch):
    write(folder, {"file_name": "a.png"}, {"file_name": "c.png"})
    read = Path.read_bytes

    def fail(path):
        if path.name == "c.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    with monkeypatch.context() as patch_size:
        patch_size.setattr(Path, "read_bytes", fail)
        assert "c.png': Input/output error" in str(open_rest(folder).bad[0])
    assert not open_folder(folder).bad


@pytest.mark.parametrize("name", ["z.png", "a.png/z.png", 300 * "z"])
def test_a_file_that_cannot_be_is_a_lasting_verdict(folder, name):
    write(folder, {"file_name": "a.png"}, {"file_name": name})
    assert len(open_rest(folder).bad) == 1
    swap(folder / "a.png")
    assert len(open_rest(folder)) == 1, "nothing is read again"


def test_files_that_come_and_go_are_noticed(folder):
    write(folder, *LINES)
    assert not open_folder(folder).bad
    (folder / "c.png").rename(folder / "away.png")
    (bad,) = open_rest(folder).bad
    assert "c.png': No such file" in str(bad)
    (folder / "away.png").rename(folder / "c.png")
    assert not open_folder(folder).bad


def test_what_is_read_decides_which_records_are_bad(folder):
    texts = {"text": {"en": "apple", "de": ""}, "title": "apple"}
    write(folder, {"file_name": "a.png", **texts}, {"file_name": "b.png"})
    for _ in range(2):
        assert len(open_rest(folder).bad) == 1
        assert not open_folder(folder, languages=("en",)).bad
        assert not open_folder(folder, features={"text": "title"}).bad


def test_a_folder_that_cannot_be_written_is_read_all_the_same(folder):
    write(folder, *LINES)
    (folder / INDEX).mkdir()  # nothing can be put in its place, not even by root
    folder.chmod(0o555)
    for _ in range(2):
        assert len(open_folder(folder)) == 3
    folder.chmod(0o755)


PREPARE = functools.partial(prepare_example, modalities={}, image_shape=(8, 8))
DAMAGES = {
    "deleted": (Path.unlink, "file_name 'b.png': No such file or directory"),
    "emptied": (lambda path: path.write_bytes(b""), "file_name 'b.png': the file is empty"),
    "cut": (half, "file_name 'b.png': the picture is broken: "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_goes_bad_after_the_check_is_named_when_it_is_read(folder, damage):
    write(folder, *LINES)
    break_it, reason = DAMAGES[damage]
    raising, skipping = (
        training_batches(open_folder(folder), PREPARE, 3, 0, shuffle=False, on_bad_record=action)
        for action in ("raise", "skip")
    )
    break_it(folder / "b.png")
    for _ in range(2):
        with pytest.raises(BadRecord) as bad:
            next(raising)
        assert bad.value.where == f"{folder}/metadata.jsonl, line 2 (b.png)"
        assert bad.value.reason.startswith(reason)
    for _ in range(2):
        batch = next(skipping)
    np.testing.assert_array_equal(batch["image"][1], batch["image"][2])
    assert {where: str(bad) for where, bad in skipping.skipped.items()} == {
        bad.value.where: str(bad.value)
    }


def test_a_sound_that_goes_bad_after_the_check_spares_who_does_not_listen(folder):
    write(folder, *LINES)
    record = open_folder(folder)[0]
    (folder / "a.wav").unlink()
    assert record.values["label"] == "a"
    with pytest.raises(BadRecord, match=r"line 1 \(a.png\): audio_file_name 'a.wav': No such"):
        record.values["audio"]
