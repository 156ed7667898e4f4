"""The lock of a run's folder; other processes import nothing but it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmgen_jax import storage
from mmgen_jax.errors import Failure, InputError
from mmgen_jax.training import lock
from mmgen_jax.training.lock import Lock
from tests.launching import ROOT

# Takes a lock, says so, and holds it until it is killed; or says why it cannot.
HOLD = """
import sys
from pathlib import Path
from mmgen_jax.errors import InputError
from mmgen_jax.training.lock import Lock

try:
    Lock(Path(sys.argv[1])).acquire()
except InputError as error:
    sys.exit(f"error: {error}")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts a process that takes the lock of a folder, and waits until it has it."""
    started = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n", process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def elsewhere(folder, **changed):
    """As a holder on another machine has left the file."""
    mine = lock.Holder("far", "far 1", 7, 1, "2026-01-02 03:04:05 UTC", "feed", time.time())
    holder = mine._replace(**changed)
    storage.write_json(folder / lock.NAME, holder._asdict())
    return holder


def test_a_second_start_is_refused_and_a_killed_holder_keeps_nothing(tmp_path, hold):
    first = hold(tmp_path)
    with pytest.raises(InputError) as refused:
        Lock(tmp_path).acquire()
    said = str(refused.value)
    assert f"--workdir={tmp_path} is in use by process {first.pid} on " in said
    assert ", since 20" in said and "choose another --workdir" in said and "\n" not in said
    holder = lock.read(tmp_path)
    assert holder.process == first.pid, "a refused start changes nothing"

    first.send_signal(signal.SIGKILL)
    first.wait()
    assert lock.read(tmp_path) == holder
    began = time.monotonic()
    with lock.held(tmp_path):
        assert time.monotonic() - began < 1
        assert lock.read(tmp_path).process == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_a_folder_in_use_is_not_in_use(tmp_path, hold):
    """Its lock.json names a process that lives, and holds another folder."""
    hold(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert lock.read(tmp_path / "copy") == lock.read(tmp_path / "run")
    with lock.held(tmp_path / "copy"):
        assert lock.read(tmp_path / "copy").process == os.getpid()


def test_it_is_refused_within_one_process_too(tmp_path):
    with lock.held(tmp_path), pytest.raises(InputError, match=f"in use by process {os.getpid()} "):
        Lock(tmp_path).acquire()
    with lock.held(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """The file alone says whether a process of this machine lives."""

    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.held(tmp_path), pytest.raises(InputError, match="in use by process"):
        Lock(tmp_path).acquire()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    mine = lock._me()
    for process, started in ((ended.pid, 1), (os.getpid(), mine.started - 1)):
        elsewhere(tmp_path, machine=mine.machine, process=process, started=started)
        with lock.held(tmp_path):
            assert lock.read(tmp_path).process == os.getpid()


def test_a_holder_on_another_machine_that_lives(tmp_path):
    holder = elsewhere(tmp_path)
    alive = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time\n"
            "path = sys.argv[1]\n"
            "while True:\n"
            "    holder = json.load(open(path)); holder['beat'] += 1\n"
            "    open(path + '2', 'w').write(json.dumps(holder)); import os\n"
            "    os.replace(path + '2', path); time.sleep(0.1)",
            str(tmp_path / lock.NAME),
        ]
    )
    try:
        with pytest.raises(InputError, match="in use by process 7 on far, since 2026-01-02 03:04"):
            Lock(tmp_path, beat=0.2, patience=30.0).acquire()
    finally:
        alive.kill()
        alive.wait()
    assert lock.read(tmp_path).nonce == holder.nonce


def test_a_holder_on_another_machine_that_died(tmp_path, capfd):
    elsewhere(tmp_path)
    taken = Lock(tmp_path, beat=0.2, patience=0.5)
    taken.acquire()
    assert lock.read(tmp_path).process == os.getpid()
    assert "was in use by process 7 on far" in capfd.readouterr().err
    taken.release()

    elsewhere(tmp_path, beat=time.time() - 7200)  # long ago: nobody waits
    began = time.monotonic()
    with lock.held(tmp_path):
        assert time.monotonic() - began < 1
    assert capfd.readouterr().err == ""


def test_it_shows_that_it_lives(tmp_path):
    taken = Lock(tmp_path, beat=0.02)
    taken.acquire()
    before, deadline = lock.read(tmp_path).beat, time.monotonic() + 30
    while lock.read(tmp_path).beat == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    taken.check()
    taken.release()
    assert list(tmp_path.iterdir()) == []


def test_what_another_has_taken_is_noticed_and_left_alone(tmp_path):
    taken = Lock(tmp_path, beat=0.02)
    taken.acquire()
    with taken._writing:
        theirs = elsewhere(tmp_path)
    with pytest.raises(Failure, match="was taken over by process 7 on far"):
        taken.check()
    time.sleep(0.1)  # several beats, none of which may write
    taken.release()
    assert lock.read(tmp_path) == theirs


@pytest.mark.parametrize("text", ("", "{", "[]", "{}", '{"host": 1}', "[" * 100_000))
def test_a_file_that_names_nobody_locks_nothing(tmp_path, text):
    (tmp_path / lock.NAME).write_text(text, encoding="utf-8")
    with lock.held(tmp_path):
        assert lock.read(tmp_path).process == os.getpid()


def test_folders_that_only_the_lock_has_made_go_with_it(tmp_path):
    with lock.held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / lock.NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with lock.held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").write_text("", encoding="utf-8")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"cannot write checkpoints to {folder}.*--workdir"):
            Lock(folder).acquire()


# Has a child share the lock, as what is forked does, and dies first.
FORK = """
import os, signal, sys, time
from pathlib import Path
from mmgen_jax.training.lock import Lock

Lock(Path(sys.argv[1])).acquire()
if os.fork() == 0:
    time.sleep(0.5)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_holder_had_forked_keeps_nothing(tmp_path):
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], cwd=ROOT, check=False)
    with lock.held(tmp_path):
        assert lock.read(tmp_path).process == os.getpid()
