"""A command that a signal ends: one line, exit code 143, in whatever it was; without jax."""

import signal
import subprocess
import sys

import pytest

from tests.launching import ROOT, python

# What a command does when it is sent a signal, and what is printed besides the one line.
BEGIN = """
import ctypes, gc, os, signal, sys, time
from mmgen_jax.training.interrupts import GUARD, Interrupts, Stopped


def ready():
    print("ready", flush=True)
    time.sleep(60)


class Busy:
    def __del__(self):
        ready()


with GUARD:
"""
IN_PYTHON = """
    try:
        ready()
    finally:
        print("cleaned up")
"""
IN_A_FINALIZER = """
    Busy()
    try:
        time.sleep(60)
    finally:
        print("cleaned up")
"""
# The signal comes to another thread, and nothing makes this one run Python: it is within one call
# of C from before it says "ready".
IN_C = """
    with GUARD.last_words(lambda: print("last words", flush=True)):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        ctypes.CDLL(None).system(b"echo ready; exec sleep 60 >/dev/null 2>&1")
"""
# As a compiler whose own processes the signal has ended too.
WITH_AN_ECHO = """
    try:
        ready()
    except Stopped:
        raise RuntimeError("INTERNAL: ptxas exited with non-zero error code 15")
"""
NEVER_DONE = """
    try:
        ready()
    finally:
        while True:
            time.sleep(60)
"""
AFTER_TRAINING = """
    with Interrupts(begin=False) as interrupts:
        ready()
"""


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (IN_PYTHON, "cleaned up\n"),
        (IN_A_FINALIZER, "cleaned up\n"),
        (IN_C, "last words\n"),
        (WITH_AN_ECHO, ""),
        (AFTER_TRAINING, ""),
    ],
)
def test_a_signal_ends_it_with_one_line(does, says):
    for name in ("SIGTERM", "SIGINT") if does is IN_PYTHON else ("SIGTERM",):
        with command(does) as process:
            process.send_signal(getattr(signal, name))
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (143, says, f"{name}: stopped\n")


def test_a_second_signal_ends_it_at_once():
    with command(NEVER_DONE) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "SIGINT: stopped\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")


def command(does):
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + does],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


# Runs a launcher, which is sent a signal when it imports a certain module.
AT_IMPORT = """
import os, runpy, signal, sys

name, module = sys.argv[1:3]
sys.argv = sys.argv[3:]


class Finder:
    def find_spec(self, found, *_):
        if found == module:
            os.kill(os.getpid(), getattr(signal, name))


sys.meta_path.insert(0, Finder())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("name", "module", "script"),
    [
        ("SIGINT", "ml_collections", "launch/train.py"),
        ("SIGTERM", "mmgen_jax.media.gallery", "launch/sample.py"),
    ],
)
def test_launchers_are_guarded_from_their_first_imports_on(tmp_path, name, module, script):
    flags = {
        "launch/train.py": ("--config=configs/flow.py", f"--workdir={tmp_path}"),
        "launch/sample.py": (f"--workdir={tmp_path}", f"--out={tmp_path / 'a.png'}"),
    }
    done = python("-c", AT_IMPORT, name, module, script, *flags[script])
    assert (done.code, done.out, done.err) == (143, "", f"{name}: stopped\n")
    assert list(tmp_path.iterdir()) == []
