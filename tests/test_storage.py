"""Tests of files: UTF-8 whatever the locale, whole or not there."""

import pytest

from mmgen_jax import storage
from tests import folders
from tests.launching import python

# A process whose locale knows ASCII alone trains on names beyond it, as far as files go.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CHILD = """
import locale, sys
from pathlib import Path
from mmgen_jax import config as configs
from mmgen_jax.training import run
from mmgen_jax.data import SOURCES

assert locale.getencoding() == "ANSI_X3.4-1968", locale.getencoding()
folder, workdir = map(Path, sys.argv[1:])
config = configs.default()
config.data.name, config.data.path, config.data.split = "folder", str(folder), "all"
config.modalities.names = ("label", "text")
config.data.languages = ("fran\\xe7ais",)
source = SOURCES["folder"].open(config.data, "all")
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


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_whole(path, chunks())
    assert path.read_bytes() == b"old"
    storage.write_whole(path, [b"n", b"ew"])
    assert path.read_bytes() == b"new"
