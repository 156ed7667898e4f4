"""The fuzzer: it sees each sort of fault, cases repeat, and a small part of it finds none."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import ROOT
from tools.fuzzing import broken, cases, lines, values

KINDS = ("lines", "stepped", "flags", "damage", "hostile", "broken")
# By the number of the case, what the report must say of it.
SEEN = (
    *("KeyError", "not one line", "hang", "memory", "the process died: -9"),
    *("files where they do not belong",) * 3,
    *("started a program: true", "exit code 2 without a line", "exit code 3"),
)


def fuzz(*flags, **counts):
    """A run of these counts, and of no other cases."""
    asked = [f"--{kind}={counts.get(kind, 0)}" for kind in KINDS]
    return subprocess.run(
        [sys.executable, "-m", "tools.fuzz", *asked, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_sees_every_sort_of_fault():
    done = fuzz(broken=len(broken.FAULTS) + len(broken.SOUND))
    assert done.returncode == 1, done.stderr
    for number, words in enumerate(SEEN):
        assert words in done.stdout, (number, done.stdout)
    counted = done.stdout.split("broken ")[-1].split()
    assert counted[:4] == [str(n) for n in (13, 1, 1, 11)], done.stdout


def test_a_small_part_finds_no_fault():
    done = fuzz("--patience=8", lines=100, hostile=10)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_part_of_what_compiles_finds_no_fault():
    done = fuzz("--patience=8", "--seed=1", stepped=12, flags=12, damage=12)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_follows_from_its_seed(tmp_path, monkeypatch):
    found = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"{len(found)}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        found.append(lines.make(random.Random(seed), tmp_path, 0).title)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("script", values.launchers())
def test_the_flags_of_a_launcher_are_found(script):
    names = {flag.name for flag in values.flags_of(script)}
    assert names
    if script == "sample.py":
        assert {"workdir", "out", "text", "truncation", "count"} <= names
    if script == "train.py":
        accepted = {"accept_config_change", "accept_data_change", "start_afresh"}
        assert names == {"config", "workdir", "data_path", *accepted}


def test_what_lies_beside_an_output_is_no_stray(tmp_path):
    case = cases.Case("", lambda: None, ("out.json",))
    work = tmp_path / "work"
    names = ("out.json", "out.png", "other.png", "pictures/.mmgen_index.json")
    after = {str(work / name): (1, 1) for name in names}
    assert cases.strays({}, after, case, tmp_path) == [str(Path("/", "work", "other.png"))]
