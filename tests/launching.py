"""Runs launchers as a person would: in this process where that will do, or in one of their own."""

import contextlib
import importlib.util
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from absl import flags

ROOT = Path(__file__).parents[1]
OF_CLI = (
    *("config", "text", "label", "audio", "image", "condition"),
    *("truncation", "temperature", "top_k", "top_p", "candidates", "metrics"),
    *("count", "seed", "given", "extractor", "weights", "resize", "references"),
    *("out", "overwrite", "data_path", "minutes", "data", "families", "workdirs", "topology"),
    *("batch_sizes", "workers"),
)


def path_of(name: str) -> Path:
    """The script of a launcher, or of a tool, from the root."""
    path = Path("launch", f"{name}.py")
    return path if (ROOT / path).exists() else Path("tools", path.name)


class Done(NamedTuple):
    """How a launcher ended."""

    code: int
    out: str
    err: str


def recipe(name: str) -> ModuleType:
    """A recipe of configs/, as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(script: str | Path, *arguments: str | Path) -> Done:
    """Runs `script`, by its path from the root, in this process; leaves no flag defined behind.

    The script must leave what signals do as it was: this process is not its own.

    Code 1 stands for an exception that reached the top, whose traceback begins `err`.
    """
    path = str(ROOT / script)
    signals = _signal_handlers()
    out, err, argv, handlers = io.StringIO(), io.StringIO(), sys.argv, list(logging.root.handlers)
    sys.argv = [path, *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            # jax is in use here already: too late to look for others.
            patch.setenv("JAX_NUM_PROCESSES", "1")
            code = _exit_code(path)
    finally:
        sys.argv, logging.root.handlers = argv, handlers
        for name in list(flags.FLAGS):
            # The type checks of tests hide which module defined what `cli` defines for a launcher.
            module = flags.FLAGS.find_module_defining_flag(name)
            of_cli = name.partition(".")[0] in OF_CLI or module == "mmgen_jax.cli.inputs"
            if module == path or of_cli:
                delattr(flags.FLAGS, name)
    assert _signal_handlers() == signals
    return Done(code, out.getvalue(), err.getvalue())


def _signal_handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _exit_code(path: str) -> int:
    try:
        with warnings.catch_warnings():
            # ml_collections loads a recipe in a way that Python deprecates.
            warnings.filterwarnings("ignore", ".*load_module", DeprecationWarning)
            runpy.run_path(path, run_name="__main__")
    except SystemExit as exit_:
        return exit_.code or 0
    except Exception as error:
        print(f"Traceback\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def python(*arguments: str | Path, **environment: str) -> Done:
    """Runs Python in a process of its own, in the repository's root."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def assert_bad_input(done: Done, *words: str) -> None:
    """One line on stderr that holds all the words, nothing on stdout, exit code 2."""
    assert done.code == 2, done
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n") and "Traceback" not in done.err, done.err
    assert not done.out
    for word in words:
        assert word in done.err, done.err
