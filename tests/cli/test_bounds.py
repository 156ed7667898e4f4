"""Flags with bounds: what is beyond them is refused in one line, before any work."""

import os
import pathlib

import pytest

from mmgen_jax.cli.bounds import whole_numbers
from mmgen_jax.errors import InputError
from tests.launching import ROOT, assert_bad_input, launch, path_of

CONFIG = "--config=configs/flow.py:size=tiny"
OUT = "--out=X.json"
CONFIG_FOLDER = ROOT / "configs"

# Launcher -> flags, and words of the line.
REFUSED = [
    ("evaluate", ("--workdir=x", OUT, "--count=1000000000"), ("count", "100000")),
    ("evaluate", ("--workdir=x", OUT, "--count=1e20"), ("count", "1e20")),
    ("evaluate", ("--workdir=x", OUT, "--seed=5000000000"), ("seed", "4294967295")),
    ("evaluate", ("--workdir=x", OUT, "--metrics="), ("metrics", "at least one name")),
    ("evaluate", ("--workdir=x", OUT, "--metrics=fid,"), ("metrics", "at least one name")),
    ("evaluate", ("--workdir=x", OUT, "--given="), ("given", "at least one name")),
    ("compare", ("--workdirs=", OUT), ("workdirs", "at least one name")),
    ("compile", (CONFIG, OUT, "--topology="), ("topology", "at least one name")),
    ("compile", (CONFIG, OUT, "--topology=v5e:4x4", "--slices=1000000000"), ("slices", "1000")),
    ("inspect_data", (CONFIG, "--out=X.png", "--count=1000000000"), ("count", "100000")),
    ("inspect_data", (CONFIG, "--out=X.png", "--count=100000"), ("--count", "at most")),
    ("train_word2vec", (CONFIG, "--out=X.txt", "--dimensions=1000000000"), ("dimensions", "4096")),
    ("train_judge", (CONFIG, "--steps=1000000000"), ("steps", "10000000")),
    ("quality", ("--minutes=nan", "--out=X.md"), ("minutes", "finite")),
    ("quality", ("--minutes=inf", "--out=X.md"), ("minutes", "inf")),
    ("quality", ("--data=", "--out=X.md"), ("data", "at least one name")),
    ("quality", ("--families=", "--out=X.md"), ("families", "at least one name")),
    ("benchmark_cache", ("--side=1000000",), ("side", "64")),
    ("benchmark_cache", ("--side=64", "--batch_size=1024"), ("--batch_size", "codes at once")),
    ("benchmark_data", (CONFIG, "--workers=²"), ("--workers", "'²'", "1 to 256")),
    ("benchmark_data", (CONFIG, "--workers=1,1000000"), ("--workers", "1 to 256")),
    ("benchmark_data", (CONFIG, "--workers="), ("workers", "at least one name")),
    ("quickstart", ("--workdir=x", "--count=1000000000"), ("count", "100000")),
    ("train", ("--config=pipe", "--workdir=x"), ("recipe", "pipe", "not a file")),
    ("train", ("--config", "pipe:size=tiny", "--workdir=x"), ("recipe", "pipe", "not a file")),
    ("train", ("--config=/dev/zero", "--workdir=x"), ("recipe", "/dev/zero", "a device")),
]


@pytest.mark.parametrize(("name", "given", "words"), REFUSED)
def test_what_is_beyond_bounds_is_one_line(tmp_path, monkeypatch, name, given, words):
    monkeypatch.chdir(tmp_path)
    pathlib.Path(tmp_path / "configs").symlink_to(CONFIG_FOLDER)
    os.mkfifo(tmp_path / "pipe")
    assert_bad_input(launch(path_of(name), *given), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs", "pipe"]


@pytest.mark.parametrize("text", ["²", "٣", "0", "-1", "1e3", "", "9" * 30, "11"])
def test_whole_numbers_are_written_with_ten_digits(text):
    with pytest.raises(InputError, match="allowed: whole numbers from 1 to 10"):
        whole_numbers("workers", ["1", text], most=10)
    assert whole_numbers("workers", ["1", "010"], most=10) == [1, 10]
