"""Cases that are faults, one of each sort, for the fuzzer's own test (`tests/tools/test_fuzz.py`).

They are part of no run unless `--broken` asks for them.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from mmgen_jax.errors import InputError
from tools.fuzzing.cases import Case, Kind, judge_exit


def several_lines() -> None:
    """Refuses in two lines."""
    raise InputError("first\nsecond")


def grow() -> None:
    """Takes memory until it is stopped."""
    kept = []
    while True:
        kept.append(b"x" * 2**22)


def unexplained() -> None:
    """Ends as a command that says nothing."""
    judge_exit(2, "")


FAULTS: dict[str, Callable[[], object]] = {
    "traceback": lambda: {}["key"],
    "several lines": several_lines,
    "hang": lambda: time.sleep(600),
    "memory": grow,
    "death": lambda: os.kill(os.getpid(), 9),
    "stray": lambda: Path("stray").write_text("x", encoding="utf-8"),
    "home": lambda: (Path.home() / "stray").write_text("x", encoding="utf-8"),
    "changed": lambda: Path("input").write_text("changed", encoding="utf-8"),
    "program": lambda: subprocess.run(["true"], check=True),
    "unexplained": unexplained,
    "exit": lambda: judge_exit(3, "error: x"),
}
SOUND: dict[str, Callable[[], object]] = {
    "works": lambda: Path("out.png").write_text("x", encoding="utf-8"),
    "refused": lambda: judge_exit(2, "error: one line\n"),
}


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A fault, or one of the two cases that are none."""
    name, run = [*FAULTS.items(), *SOUND.items()][number]
    Path("input").write_text("x", encoding="utf-8")
    return Case(name, run, ("out.json",))


BROKEN = Kind(
    name="broken",
    modules=(),
    prepare=lambda shared: None,
    make=make,
    seconds=4,
    memory=2**28,
)
