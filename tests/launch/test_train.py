"""The training launcher: exit codes, and runs that are stopped in every way."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmgen_jax.training import checkpoints
from tests import toys
from tests.launching import ROOT, assert_bad_input, launch, python
from tests.runs import everything, logged
from tests.toy_recipe import STEPS

RECIPE = "--config=tests/toy_recipe.py"

FLOW = """
from tests.tiny import tiny_config


def get_config():
    config = tiny_config(("label",))
    config.train.steps, config.train.log_every = 12, 1
    config.checkpoint.every, config.checkpoint.keep_last = 4, 9
    return config
"""

# Runs the launcher, and sends itself a signal when it has taken a certain step.
SIGNALLED = """
import os, runpy, signal, sys

from mmgen_jax.training.logbook import Logbook

name, wanted = sys.argv[1], int(sys.argv[2])
advance = Logbook.advance


def advance_and_signal(self, step):
    advance(self, step)
    if step == wanted:
        os.kill(os.getpid(), getattr(signal, name))


Logbook.advance = advance_and_signal
sys.argv = ["launch/train.py", *sys.argv[3:]]
runpy.run_path("launch/train.py", run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def train_whole(recipe, workdir):
    done = launch("launch/train.py", recipe, f"--workdir={workdir}")
    assert (done.code, done.out) == (0, ""), done.err
    assert f"step {STEPS}/{STEPS} " in done.err
    return workdir


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of a run that nothing interrupted."""
    return train_whole(RECIPE, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """(the flag that names a recipe of a flow, the directory of its run)."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.py"
    path.write_text(FLOW, encoding="utf-8")
    return f"--config={path}", train_whole(f"--config={path}", tmp_path_factory.mktemp("flow"))


def test_a_run_stopped_in_every_way_ends_as_if_nothing_had_been(whole, tmp_path):
    """Of toys; within one process, `test_loop` sees what a signal does to a step."""
    assert_stopped_in_every_way(RECIPE, whole, tmp_path)


@pytest.mark.slow
def test_a_flow_stopped_in_every_way_ends_as_if_nothing_had_been(flow, tmp_path):
    assert_stopped_in_every_way(*flow, tmp_path)


def assert_stopped_in_every_way(recipe, whole, tmp_path):
    flags = (recipe, f"--workdir={tmp_path}")
    for name, step in (("SIGTERM", 3), ("SIGINT", 6)):
        done = python("-c", SIGNALLED, name, str(step), *flags)
        assert done.code == 143, done.err
        assert f"{name}: saving, then stopping" in done.err and "Traceback" not in done.err
        assert checkpoints.latest(tmp_path) == step
    assert python("-c", SIGNALLED, "SIGKILL", "10", *flags).code == -9
    assert checkpoints.latest(tmp_path) in (6, 8)  # that of step 8 may not have been whole yet

    done = launch("launch/train.py", *flags)
    assert done.code == 0, done.err
    assert everything(tmp_path, STEPS) == everything(whole, STEPS)
    assert logged(tmp_path) == logged(whole)
    assert [line["step"] for line in logged(whole)] == list(range(1, STEPS + 1))


def test_a_changed_config_is_refused_unless_accepted(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    flags = (RECIPE, f"--workdir={workdir}", f"--config.train.steps={STEPS + 1}")
    done = launch("launch/train.py", *flags)
    assert_bad_input(done, f"train.steps: {STEPS} -> {STEPS + 1}", "--accept_config_change")
    done = launch("launch/train.py", *flags, "--accept_config_change")
    assert done.code == 0, done.err
    assert checkpoints.latest(workdir) == STEPS + 1


def test_a_workdir_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = launch("launch/train.py", RECIPE, f"--workdir={tmp_path / 'file'}")
    assert_bad_input(done, str(tmp_path / "file"), "--workdir")


def test_a_batch_that_does_not_divide_over_the_devices(tmp_path):
    flags = (RECIPE, f"--workdir={tmp_path / 'run'}", "--config.sharding.data=2")
    done = launch("launch/train.py", *flags)
    assert_bad_input(done, "config.sharding.data = 2", "at most 1 devices")
    assert not (tmp_path / "run").exists()


LONG = 300


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_been(flow, tmp_path):
    """25 kills without warning and 10 SIGTERMs, of a run that saves every third step."""
    flags = (flow[0], f"--config.train.steps={LONG}", "--config.checkpoint.every=3")
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    done = launch("launch/train.py", *flags, f"--workdir={whole}")
    assert done.code == 0, done.err

    moments = random.Random(0)
    blows = [signal.SIGKILL] * 25 + [signal.SIGTERM] * 10
    moments.shuffle(blows)
    for blow in blows:
        code = run_until(blow, moments, *flags, f"--workdir={workdir}")
        assert code == (143 if blow is signal.SIGTERM else -signal.SIGKILL)
        assert checkpoints.latest(workdir) is None or checkpoints.latest(workdir) < LONG
    done = launch("launch/train.py", *flags, f"--workdir={workdir}")
    assert done.code == 0, done.err
    assert everything(workdir, LONG) == everything(whole, LONG)
    assert logged(workdir) == logged(whole)
    names = [{path.name for path in (run / "checkpoints").iterdir()} for run in (whole, workdir)]
    assert names[0] == names[1]


def run_until(blow, moments, *flags):
    """Starts training, strikes it some steps and moments later; its exit code."""
    command = [sys.executable, "launch/train.py", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as child:
        for _ in range(moments.randint(1, 6)):
            for line in child.stderr:
                if line.startswith(b"step"):
                    break
        time.sleep(moments.uniform(0, 0.03))
        child.send_signal(blow)
        child.communicate()
    return child.returncode
