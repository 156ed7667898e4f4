"""Checkpoints of a run: all that training goes on from, saved together and checked before use.

A step is saved as `WORKDIR/checkpoints/STEP/{state,data,config,log,run}` by orbax, in the
background, and gets its manifest of checksums (`manifest.py`) only when orbax has committed it and
the arrays that were saved are found in it (`arrays.py`). A step is *whole* if the manifest is
there, every checksum is right, all arrays are there, and it stands under its own number
(`whole.py`); nothing else is ever restored. Orbax alone reads some flipped bits back silently, and
casts to the dtype that is asked for.

With several processes, all of which see the same directory, each writes its share of the arrays;
process 0 decides, checks and deletes.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree

from mmgen_jax import storage
from mmgen_jax.errors import Failure, InputError
from mmgen_jax.training import arrays, manifest, processes
from mmgen_jax.training.arrays import JSON_FILE
from mmgen_jax.training.whole import RUN, directory_of, fault, latest, move_aside, step_of, steps
from mmgen_jax.training.whole import whole_steps as whole_steps

# Parts of a checkpoint that are JSON, each in a directory with one file.
JSON_PARTS = ("data", "config", "log")


class Restored(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      state: the pytree of arrays, with the structure, dtypes and shardings that were asked for.
      data: the position in the data, as it was saved (JSON).
      config: the config of the run, as it was saved (JSON).
      log: what the log has not written yet, as it was saved (JSON).
    """

    state: PyTree
    data: dict[str, Any]
    config: dict[str, Any]
    log: dict[str, Any]


def restore(workdir: str | Path, step: int, like: PyTree, *, checked: bool = False) -> Restored:
    """Reads the checkpoint of `step`, bit for bit.

    Args:
      workdir: the run's directory.
      step: a whole step, as from `latest`.
      like: the state's structure, with a jax.ShapeDtypeStruct (or an array) per leaf. Leaves are
        restored with its sharding, on whatever layout of devices they were saved.
      checked: `latest` has just compared its checksums, so that it need not be read twice.

    Raises:
      InputError: if the step is not there or not whole, or if its arrays are not those of `like`.
    """
    path = _found(workdir, step) if checked else _checked(workdir, step)
    _refuse_other_arrays(path, like)
    parts = ocp.args.Composite(
        state=ocp.args.StandardRestore(like),
        **{part: ocp.args.JsonRestore() for part in JSON_PARTS},
    )
    with ocp.Checkpointer(arrays.handler(JSON_PARTS)) as checkpointer:
        try:
            restored = checkpointer.restore(arrays.literal(path), args=parts)
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise  # of this machine, and not of the checkpoint
        # What a damaged file makes orbax raise has no common class.
        except Exception as error:
            raise _broken(path, f"orbax cannot restore it ({arrays.one_line(error)})") from error
    _refuse_other_step(restored.state, path)
    return Restored(restored.state, **{part: restored[part] for part in JSON_PARTS})


def read_json(
    workdir: str | Path, step: int, part: Literal["data", "config", "log", "run"]
) -> dict[str, Any]:
    """Reads one JSON part of the checkpoint of `step`, and no arrays.

    An older checkpoint has no part `run`: it is empty.

    Raises:
      InputError: if the step is not there or that part is not whole.
    """
    path = _found(workdir, step)
    if part == RUN and not (path / RUN).exists():
        return {}
    found = manifest.fault(path, f"{part}/")
    if found is not None:
        raise _broken(path, found)
    return _content(path, part)


def _content(path: Path, part: str) -> dict[str, Any]:
    try:
        content = storage.read_json(path / part / JSON_FILE)
    except (OSError, ValueError) as error:
        raise _broken(path, f"{part}/{JSON_FILE} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _broken(path, f"{part}/{JSON_FILE} holds no JSON object")
    return content


class Checkpoints:
    """Saves the checkpoints of the one run that trains in `workdir`; a context manager.

    Args:
      workdir: the run's directory; checkpoints are in `workdir`/checkpoints.
      keep_last: so many of the newest checkpoints are kept, at least 1.
      keep_every: every checkpoint whose step is a multiple of this is kept too; 0 for none.
      keep_best: so many of the best checkpoints are kept too.
      cost: what is least for the best one, from its part `log`; None: it cannot be said.
      announce: is called with the step, by process 0, as soon as a checkpoint is whole.
      check: raises Failure, before anything is saved, where the run may write no more.

    Raises:
      InputError: if the directory cannot be written.
    """

    def __init__(
        self,
        workdir: str | Path,
        keep_last: int = 3,
        keep_every: int = 0,
        keep_best: int = 0,
        cost: Callable[[dict[str, Any]], float | None] = lambda log: None,
        announce: Callable[[int], None] = lambda step: None,
        check: Callable[[], None] = lambda: None,
    ):
        if keep_last < 1 or min(keep_every, keep_best) < 0:
            raise InputError(
                f"keep_last={keep_last}, keep_every={keep_every}, keep_best={keep_best}: allowed "
                "are keep_last >= 1, keep_every >= 0 and keep_best >= 0"
            )
        self._directory = directory_of(workdir)
        self._keep_last, self._keep_every, self._keep_best = keep_last, keep_every, keep_best
        self._cost, self._announce, self._check = cost, announce, check
        _make_writable(self._directory)
        # Not orbax's CheckpointManager: it counts broken steps as kept, caches the list of steps,
        # and silently declines to save a step below the newest one.
        self._checkpointer = ocp.AsyncCheckpointer(arrays.handler((*JSON_PARTS, RUN)))
        self._background = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: tuple[int, Future[None]] | None = None

    def save(
        self,
        step: int,
        state: PyTree,
        data: dict[str, Any],
        config: dict[str, Any],
        log: dict[str, Any] | None = None,
        assets: dict[str, str] | None = None,
    ) -> None:
        """Saves in the background; `state` may be donated as soon as this returns.

        A step that is there and whole is left as it is; a broken one is moved aside, to
        `STEP.broken-N`. Waits for the save before it.

        Args:
          step: the number of the step after which the state was taken.
          state: a pytree of arrays, none of them empty (orbax saves no array of size 0).
          data: the position in the data, JSON-able.
          config: the config of the run, JSON-able.
          log: what the log has not written yet, JSON-able.
          assets: digests of what belongs to the run beside the checkpoint, by name.

        Raises:
          Failure: if this save, or the one before it, failed (a full disk). Checkpoints that
            were whole still are.
        """
        self._check()
        self.wait()
        path = self._directory / str(step)
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave(config),
            log=ocp.args.JsonSave(log or {}),
            run=ocp.args.JsonSave({"step": step, "assets": assets or {}}),
        )
        try:
            if processes.from_main(lambda: _is_there(path)):
                return
            saved = arrays.described(state)
            self._checkpointer.save(arrays.literal(path), args=parts)
        except Exception as error:
            raise _failure(path, error) from error
        self._saving = step, self._background.submit(self._finish, step, saved)

    def wait(self) -> None:
        """Returns when what was saved last is whole on the disk.

        Raises:
          Failure: if that save failed. Checkpoints that were whole still are.
        """
        if self._saving is None:
            return
        step, finished = self._saving
        error = finished.exception()
        self._saving = None
        if error is not None:
            _delete_unfinished(self._directory)  # of a full disk, it may have the last of the room
            raise _failure(self._directory / str(step), error) from error

    def close(self) -> None:
        """Waits, and ends the background threads.

        Raises:
          Failure: as `wait`.
        """
        try:
            self.wait()
        finally:
            self._background.shutdown()
            self._checkpointer.close()

    def latest(self) -> int | None:
        """Returns the newest whole step; see the function `latest`."""
        return latest(self._directory.parent)

    def restore(self, step: int, like: PyTree) -> Restored:
        """Reads the checkpoint of `step`, which `latest` has named; see the function `restore`."""
        return restore(self._directory.parent, step, like, checked=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _finish(self, step: int, saved: dict[str, str]) -> None:
        self._checkpointer.wait_until_finished()
        if processes.is_main():
            path = self._directory / str(step)
            missing = arrays.fault(path, saved)
            if missing is not None:
                raise OSError(f"it has been written, but {missing}")
            manifest.write(path)
            self._announce(step)
            self._delete_old(step)

    def _delete_old(self, newest: int) -> None:
        # Steps above `newest` were found broken when the run resumed below them, and steps without
        # a manifest never became whole: evidence, and not counted.
        complete = [
            step
            for step in steps(self._directory)
            if step <= newest and (self._directory / str(step) / manifest.NAME).exists()
        ]
        best = self._best(complete)
        for step in complete[: -self._keep_last]:
            kept = step in best or (self._keep_every and step % self._keep_every == 0)
            if not kept:
                _delete(self._directory / str(step))

    def _best(self, steps: list[int]) -> list[int]:
        if not self._keep_best:
            return []
        costs = {}
        for step in steps:
            path = self._directory / str(step)
            if manifest.fault(path, "log/") is None:  # of a damaged one it cannot be said
                cost = self._cost(_content(path, "log"))
                if cost is not None:
                    costs[step] = cost
        return sorted(costs, key=lambda step: (costs[step], -step))[: self._keep_best]


def _found(workdir: str | Path, step: int) -> Path:
    directory = directory_of(workdir)
    path = directory / str(step)
    if not path.is_dir():
        there = ", ".join(map(str, steps(directory))) or "none"
        raise InputError(f"no checkpoint of step {step} in {directory}; there are: {there}")
    return path


def _checked(workdir: str | Path, step: int) -> Path:
    path = _found(workdir, step)
    found = fault(path)
    if found is not None:
        raise _broken(path, found)
    return path


def _broken(path: Path, what: str) -> InputError:
    return InputError(f"the checkpoint of step {path.name} in {path.parent} is broken: {what}")


def _is_there(path: Path) -> bool:
    """Whether a whole step is there already; a broken one is moved aside."""
    if not os.path.lexists(path):
        return False
    if fault(path) is None:
        return True
    move_aside(path)
    return False


def _refuse_other_arrays(path: Path, like: PyTree) -> None:
    # Orbax casts to another dtype silently, and reports another structure in many lines.
    try:
        there = arrays.on_disk(path)
    # What a damaged file makes orbax raise has no common class.
    except Exception as error:
        raise _broken(path, f"its arrays cannot be read ({arrays.one_line(error)})") from error
    wanted = arrays.described(like)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            raise InputError(
                f"checkpoint {path} does not fit this model: {name} is "
                f"{there.get(name, 'not there')} in the checkpoint and "
                f"{wanted.get(name, 'not there')} in the model"
            )


def _refuse_other_step(state: PyTree, path: Path) -> None:
    """Of a checkpoint without the part `run`, the state itself may say its step."""
    step = getattr(state, "step", None)
    if step is not None and int(step) != step_of(path.name):
        raise _broken(path, f"it is of step {int(step)}, whatever its folder is called")


def _make_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write checkpoints to {directory}: {error.strerror}; "
            "--workdir must be a directory that can be written"
        ) from error
    _delete_unfinished(directory)


def _delete_unfinished(directory: Path) -> None:
    """Of saves that were killed, or failed, before they were committed."""
    if processes.is_main():
        for unfinished in directory.glob("*.orbax-checkpoint-tmp"):
            if unfinished.is_symlink():  # orbax makes none, and would stumble over it
                unfinished.unlink(missing_ok=True)
            else:
                _delete(unfinished)


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        logging.warning("could not delete %s: %s", path, error)


def _failure(path: Path, error: BaseException) -> Failure:
    reason = " ".join(str(error).split())
    return Failure(f"could not save checkpoint {path}; older ones are untouched: {reason}")
