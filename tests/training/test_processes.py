"""Several processes: they stop together, whoever is asked to, and none outlives another's death."""

import os
import time

import pytest

from mmgen_jax.training import checkpoints, lock, processes
from tests import toys
from tests.launching import assert_bad_input, python
from tests.layouts import Layout, finish, start
from tests.runs import everything, logged
from tests.toy_recipe import STEPS

PAIR = Layout(1, processes=2)
RECIPE = "--config=tests/toy_recipe.py"

# Runs the launcher, and has something happen to one process when it is fed a certain batch.
HAPPENS = """
import os, runpy, signal, sys

from mmgen_jax.data.pipeline import TrainingBatches
from mmgen_jax.errors import InputError

process, wanted, action = sys.argv[1], int(sys.argv[2]), sys.argv[3]
following, fed = TrainingBatches.__next__, []


def note(self):
    fed.append(1)
    if os.environ["JAX_PROCESS_ID"] == process and len(fed) == wanted:
        exec(action)
    return following(self)


TrainingBatches.__next__ = note
sys.argv = ["launch/train.py", *sys.argv[4:]]
runpy.run_path("launch/train.py", run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of a run of two processes that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("whole")
    first, second = finish(start(PAIR, "launch/train.py", RECIPE, f"--workdir={workdir}"))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert f"step {STEPS}/{STEPS} " in first.err
    assert second.err == "", "process 0 alone speaks"
    return workdir


def happening(process, batch, action, *flags):
    return start(PAIR, "-c", HAPPENS, str(process), str(batch), action, *flags)


@pytest.mark.parametrize("process", (pytest.param(0, marks=pytest.mark.slow), 1))
def test_a_signal_to_one_stops_all_at_the_same_step(whole, tmp_path, process):
    action = "os.kill(os.getpid(), signal.SIGTERM)"
    done = finish(happening(process, 6, action, RECIPE, f"--workdir={tmp_path}"))
    assert [d.code for d in done] == [143, 143], done
    assert "SIGTERM: saving, then stopping" in done[process].err
    assert checkpoints.latest(tmp_path) in (6, 7)  # the others hear of it a step later

    done = finish(start(PAIR, "launch/train.py", RECIPE, f"--workdir={tmp_path}"))
    assert [d.code for d in done] == [0, 0], done
    assert everything(tmp_path, STEPS) == everything(whole, STEPS)
    assert logged(tmp_path) == logged(whole)


@pytest.mark.slow
def test_a_signal_to_one_before_the_first_step_ends_all(tmp_path):
    workdir = tmp_path / "run"
    action = "os.kill(os.getpid(), signal.SIGTERM)"
    done = finish(happening(1, 1, action, RECIPE, f"--workdir={workdir}"))
    assert [d.code for d in done] == [143, 143], done
    assert done[1].err == "SIGTERM: stopped\n"
    (said,) = done[0].err.splitlines()
    assert said.startswith("error: process 1 of 2 was interrupted where there was nothing to save")
    assert checkpoints.latest(workdir) is None and not (workdir / lock.NAME).exists()


@pytest.mark.parametrize("process", (0, pytest.param(1, marks=pytest.mark.slow)))
def test_a_death_ends_the_others_and_they_say_of_what(tmp_path, process):
    """With training that takes minutes: they do not stop of themselves."""
    action = "os.kill(os.getpid(), signal.SIGKILL)"
    flags = (RECIPE, f"--workdir={tmp_path}", "--config.train.steps=1000000")
    pair = happening(process, 9, action, *flags)
    assert pair[process].wait(120) == -9
    died = time.monotonic()
    survivor = finish(pair, timeout=60)[1 - process]
    assert time.monotonic() - died < 60
    assert survivor.code == 1, survivor
    said = [line for line in survivor.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, survivor.err
    assert said[0].startswith(f"error: process {process} of 2 has died without a word (killed, ")
    assert "goes on from the newest checkpoint" in said[0]
    assert checkpoints.latest(tmp_path) in (4, 8)


def test_a_failure_of_one_ends_all_and_it_says_why(tmp_path):
    action = "raise InputError('greys.zip: record 7: it is torn')"
    first, second = finish(happening(1, 6, action, RECIPE, f"--workdir={tmp_path}"), timeout=60)
    assert_bad_input(second, "greys.zip: record 7: it is torn")
    assert first.code == 1
    assert "error: process 1 of 2 has failed; its output says why" in first.err
    assert checkpoints.latest(tmp_path) == 4


def test_what_all_find_each_says_itself(tmp_path):
    pair = start(
        PAIR, "launch/train.py", RECIPE, f"--workdir={tmp_path}", "--config.train.batch_size=9"
    )
    for done in finish(pair, timeout=60):
        assert_bad_input(done, "config.train.batch_size = 9", "multiples of 2")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"JAX_PROCESS_ID": "1"}, ("JAX_PROCESS_ID=1", "JAX_COORDINATOR_ADDRESS=HOST:PORT")),
        (
            {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_NUM_PROCESSES": "two"},
            ("could not join", "JAX_NUM_PROCESSES=two", "JAX_NUM_PROCESSES=1 trains alone"),
        ),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "2",
            },
            ("could not join", "JAX_PROCESS_ID=2"),
        ),
    ],
)
def test_a_half_set_environment_is_refused(tmp_path, environment, words):
    workdir = tmp_path / "run"
    done = python("launch/train.py", RECIPE, f"--workdir={workdir}", **environment)
    assert_bad_input(done, *words)
    assert not workdir.exists()


def test_a_process_alone_decides_alone(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    with processes.joined():
        assert processes.from_main(lambda: 7) == 7
        assert os.environ["JAX_NUM_PROCESSES"] == "1"
