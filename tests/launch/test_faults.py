"""What disks and numbers do to a run: it says so in one line, and loses nothing that was whole."""

import os
import random
import shutil
import subprocess
import sys

import pytest

from mmgen_jax.training import checkpoints
from tests import toys
from tests.launching import ROOT, Done, assert_bad_input, launch, python
from tests.runs import everything, logged
from tests.toy_recipe import STEPS

RECIPE = "--config=tests/toy_recipe.py"

# Runs the launcher with pictures that are not numbers in a certain batch.
POISONED = """
import runpy, sys

import numpy as np

from mmgen_jax.data.pipeline import TrainingBatches

wanted, following, fed = int(sys.argv[1]), TrainingBatches.__next__, []


def poison(self):
    batch = following(self)
    fed.append(1)
    if len(fed) == wanted:
        batch["image"] = np.full_like(batch["image"], np.nan)
    return batch


TrainingBatches.__next__ = poison
sys.argv = ["launch/train.py", *sys.argv[2:]]
runpy.run_path("launch/train.py", run_name="__main__")
"""

# Runs the launcher where no file may be larger than 64 KiB.
LIMITED = """
import resource, runpy, sys

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# A disk of its own, in a name space of its own; $1 its size, $2 where, $3 what then.
SMALL_DISK = ["unshare", "--map-root-user", "--mount", "bash", "-ceu"]
MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2"; cd "$3"; shift 3; '


def can_mount():
    if not shutil.which("unshare"):
        return False
    script = [*SMALL_DISK, "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(script, capture_output=True, check=False).returncode == 0


needs_disk = pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here")


def on_disk(size, where, script):
    """Runs a shell script in the repository's root, with a small disk at `where`."""
    command = [*SMALL_DISK, MOUNT + script, "bash", size, where, ROOT]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of a run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole")
    done = launch("launch/train.py", RECIPE, f"--workdir={workdir}")
    assert done.code == 0, done.err
    return workdir


def assert_one_line(done, *words):
    """One line says what failed, and the exit code is 1."""
    assert done.code == 1, done
    said = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "Traceback" not in done.err, done.err
    for word in words:
        assert word in said[0], said


def assert_the_same(workdir, whole):
    assert everything(workdir, STEPS) == everything(whole, STEPS)
    assert logged(workdir) == logged(whole)


@needs_disk
def test_a_full_disk_fails_the_save_and_nothing_else(whole, tmp_path):
    """The disk holds a checkpoint and a half. When it has grown, the run goes on."""
    size = sum(path.stat().st_size for path in (whole / "checkpoints" / "4").rglob("*"))
    disk = tmp_path / "disk"
    disk.mkdir()
    train = f"{sys.executable} launch/train.py {RECIPE} --workdir={disk}"
    done = on_disk(
        f"{int(1.5 * size)}",
        disk,
        f"{train} && exit 7; echo $?; ls {disk}/checkpoints;"
        f"mount -o remount,size=1g {disk}; {train} 2>/dev/null; cp -r {disk}/. {tmp_path / 'run'}",
    )
    assert done.out.split() == ["1", "4"], done
    assert_one_line(
        Done(1, "", done.err),
        "could not save checkpoint",
        "No space left",
        "older ones are untouched",
    )
    assert_the_same(tmp_path / "run", whole)


@needs_disk
def test_a_disk_that_is_full_from_the_start(tmp_path):
    train = f"{sys.executable} launch/train.py {RECIPE} --workdir={tmp_path}/run"
    fill = f"head -c 1m /dev/zero > {tmp_path}/zeros || true"
    assert_one_line(on_disk("64k", tmp_path, f"{fill}; {train}"), "No space left", str(tmp_path))


@needs_disk
def test_a_workdir_that_is_read_only(whole, tmp_path):
    """Neither a fresh run nor one that would go on writes there, or compiles anything."""
    script = (
        f"cp -r {whole} {tmp_path}/old; mount -o remount,ro {tmp_path};"
        f"for run in old new; do {sys.executable} launch/train.py {RECIPE}"
        f" --workdir={tmp_path}/$run && exit 7; echo $?; done"
    )
    done = on_disk("1g", tmp_path, script)
    assert done.out.split() == ["2", "2"], done
    for line in done.err.splitlines():
        assert_bad_input(
            Done(2, "", f"{line}\n"), "cannot write checkpoints", "Read-only", "--workdir"
        )


def test_a_file_that_cannot_grow_fails_the_save(whole, tmp_path):
    """As a full disk does, where none can be mounted."""
    flags = ("launch/train.py", RECIPE, f"--workdir={tmp_path}")
    done = python("-c", LIMITED, *flags, JAX_ENABLE_COMPILATION_CACHE="false")
    assert_one_line(done, "could not save checkpoint", "File too large")
    assert checkpoints.latest(tmp_path) is None
    done = launch(*flags)
    assert done.code == 0, done.err
    assert_the_same(tmp_path, whole)


def test_a_loss_that_is_not_finite(whole, tmp_path):
    done = python("-c", POISONED, "7", RECIPE, f"--workdir={tmp_path}")
    assert_one_line(done, "is nan at step 7", str(tmp_path), "the last checkpoint")
    assert checkpoints.latest(tmp_path) == 4
    done = launch("launch/train.py", RECIPE, f"--workdir={tmp_path}")  # the next time it is well
    assert done.code == 0, done.err
    assert_the_same(tmp_path, whole)


@pytest.fixture(scope="module")
def damaged(whole, tmp_path_factory):
    return shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "run")


def files_of(workdir, step):
    top = workdir / "checkpoints" / str(step)
    return sorted(path for path in top.rglob("*") if path.is_file())


def contents(workdir):
    return {path: path.read_bytes() for path in sorted(workdir.rglob("*")) if path.is_file()}


def assert_noticed(workdir, path, caplog):
    """The one before is used, the file is named, and nothing is changed."""
    before = contents(workdir)
    caplog.clear()
    assert checkpoints.latest(workdir) == 8
    (warning,) = caplog.messages
    assert f"skipped the checkpoint of step {STEPS}" in warning and "\n" not in warning
    if path.name != "MANIFEST.json":
        assert path.relative_to(workdir / "checkpoints" / str(STEPS)).as_posix() in warning
    assert contents(workdir) == before


def test_any_flipped_bit_is_noticed(damaged, caplog):
    """One in each file, and 40 more anywhere, by size."""
    chance = random.Random(0)
    files = files_of(damaged, STEPS)
    sizes = [path.stat().st_size for path in files]
    for path in files + chance.choices(files, sizes, k=40):
        whole = path.read_bytes()
        bit = chance.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert_noticed(damaged, path, caplog)
        path.write_bytes(whole)
    assert checkpoints.latest(damaged) == STEPS


def test_any_cut_or_missing_file_is_noticed(damaged, caplog):
    for path in files_of(damaged, STEPS):
        whole = path.read_bytes()
        for left in (b"", whole[:-1]):
            path.write_bytes(left)
            assert_noticed(damaged, path, caplog)
        path.unlink()
        assert_noticed(damaged, path, caplog)
        path.write_bytes(whole)
    assert checkpoints.latest(damaged) == STEPS


def test_a_run_goes_on_from_the_checkpoint_before_a_broken_one(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    path = max(files_of(workdir, STEPS), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    done = launch("launch/train.py", RECIPE, f"--workdir={workdir}")
    assert done.code == 0, done.err
    assert [line.split()[1] for line in done.err.splitlines() if line.startswith("step ")] == [
        f"{step}/{STEPS}" for step in range(9, STEPS + 1)
    ]
    assert_the_same(workdir, whole)
    aside = workdir / "checkpoints" / f"{STEPS}.broken-0"
    assert aside.is_dir(), "what was broken is kept, under another name"
