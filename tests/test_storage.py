"""Tests of files: UTF-8 whatever the locale, whole or not there."""

import os

import numpy as np
import pytest

from mmgen_jax import storage
from mmgen_jax.data.builders import catalogue, cldr
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import read_sound
from mmgen_jax.media.gallery import save_png
from mmgen_jax.media.images import read_image
from mmgen_jax.pretrained import weight_files
from tests import folders
from tests.launching import python

# A process whose locale knows ASCII alone trains on names beyond it, as far as files go.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CHILD = """
import locale, sys
from pathlib import Path
from mmgen_jax import config as configs
from mmgen_jax.training import run
from mmgen_jax.data import DataOptions

assert locale.getencoding() == "ANSI_X3.4-1968", locale.getencoding()
folder, workdir = map(Path, sys.argv[1:])
config = configs.default()
config.data.name, config.data.path, config.data.split = "folder", str(folder), "all"
config.modalities.names = ("label", "text")
config.data.languages = ("fran\\xe7ais",)
source = DataOptions.of(config).open("all")
assets = run.prepare(workdir, config, source)
assert assets["label"] == run.read_assets(workdir, config)["label"]
assert configs.load(workdir / "config.json").data.languages == ("fran\\xe7ais",)
print(ascii(source.info.label_names))
"""


def test_the_locale_changes_nothing(tmp_path):
    folders.paint(tmp_path / "data" / "a.png")
    line = {"file_name": "a.png", "label": "Café", "text": {"français": "un café 日本"}}
    folders.write(tmp_path / "data", line)
    (tmp_path / "data" / "labels.txt").write_text("Café\nÑandú\n", encoding="utf-8")
    done = python("-c", CHILD, tmp_path / "data", tmp_path / "run", **ASCII)
    assert (done.code, done.out) == (0, "('Caf\\xe9', '\\xd1and\\xfa')\n"), done.err


def test_what_a_terminal_cannot_show_does_not_end_a_command(tmp_path):
    flags = ["--config=configs/flow.py", "--config.data.name=Café", f"--workdir={tmp_path}"]
    done = python("launch/train.py", *flags, **ASCII)
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done


@pytest.mark.parametrize("content", [{"a": [1, None, "é"]}, "日本", [1.5, True]])
def test_json_comes_back(tmp_path, content):
    storage.write_json(tmp_path / "x.json", content)
    assert storage.read_json(tmp_path / "x.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_json_that_is_too_deep_is_a_value_error(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="deep"):
        storage.read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]', '{"\\u0061": 1, "a": 2}']
)
def test_a_key_that_stands_twice_is_named(tmp_path, text):
    """Python's own reader would keep the last value without a word."""
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(storage.RepeatedKey, match="^the key 'a' stands twice$"):
        storage.read_json(tmp_path / "x.json")


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_whole(path, chunks())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    storage.write_whole(path, [b"n", b"ew"])
    assert path.read_bytes() == b"new"


def foreseen(name):
    """Names that a file was once first written under, or that one might guess."""
    return (f"{name}.tmp", f".{name}.partial", f".{name}.{os.getpid()}.partial", f".{name}.tmp")


def test_whoever_filled_the_folder_has_nothing_outside_of_it_overwritten(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"a user's")
    writers = {
        "config.json": lambda path: storage.write_json(path, {}),
        "grid.png": lambda path: save_png(path, np.zeros((2, 2, 3), np.uint8)),
        "linked": lambda path: storage.write_whole(path, [b"new"]),
    }
    links = [folder / name for writer in writers for name in foreseen(writer)]
    for link in (*links, folder / "linked"):
        link.symlink_to(outside)
    for name, write in writers.items():
        write(folder / name)
        assert (folder / name).is_file() and not (folder / name).is_symlink()
    assert outside.read_bytes() == b"a user's"
    assert all(link.is_symlink() for link in links)


def test_a_pipe_beside_a_file_keeps_nobody_from_writing_it(tmp_path):
    for name in foreseen("lock.json"):
        os.mkfifo(tmp_path / name)
    # Somebody who reads, or a writer that opens the pipe would wait for ever.
    readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in tmp_path.iterdir()]
    storage.write_json(tmp_path / "lock.json", [1])
    assert storage.read_json(tmp_path / "lock.json") == [1]
    for reader in readers:
        assert os.read(reader, 1) == b""
        os.close(reader)
    assert len(list(tmp_path.iterdir())) == 5


def test_files_of_a_user_that_are_called_like_unfinished_ones_stay(tmp_path):
    for name in foreseen("out.json"):
        (tmp_path / name).write_bytes(b"a user's")
    storage.write_json(tmp_path / "out.json", {})
    assert all((tmp_path / name).read_bytes() == b"a user's" for name in foreseen("out.json"))


def test_two_commands_that_write_one_file_at_once_do_not_mix(tmp_path):
    path = tmp_path / "out"

    def chunks():
        yield b"first"
        storage.write_whole(path, [b"second"])
        assert path.read_bytes() == b"second"
        yield b" of two"

    storage.write_whole(path, chunks())
    assert path.read_bytes() == b"first of two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["n" * 240, "é" * 120, "\udcff" * 240, "n" * 255])
def test_a_file_with_a_long_name_is_written(tmp_path, name):
    storage.write_whole(tmp_path / name, [b"new"])
    assert (tmp_path / name).read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_who_may_read_a_file_is_as_for_any_other_that_is_made(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    storage.write_whole(tmp_path / "whole", [])
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("a folder", lambda path: path.mkdir()),
        ("a pipe", os.mkfifo),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
    ],
)
def test_what_is_no_file_is_refused_before_it_is_read(tmp_path, kind, made):
    path = tmp_path / "input"
    made(path)
    for read in (
        storage.check_file,
        storage.read_text,
        storage.read_json,
        lambda path: read_image(str(path)),
        lambda path: read_sound(str(path)),
        weight_files.keys,
        Glyphs,
        catalogue.read_catalogue,
        cldr._parse,
    ):
        with pytest.raises((OSError, InputError), match=f"it is {kind}|no font"):
            read(path)
    path.rmdir() if kind == "a folder" else path.unlink()
    with pytest.raises(FileNotFoundError):
        storage.check_file(path)
    (tmp_path / "file").write_text("here", encoding="utf-8")
    path.symlink_to(tmp_path / "file")
    assert storage.read_text(path) == "here"
