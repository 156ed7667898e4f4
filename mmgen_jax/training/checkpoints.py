"""Checkpoints of a run: all that training goes on from, saved together and checked before use.

A step is saved as `WORKDIR/checkpoints/STEP/{state,data,config,log}` by orbax, in the background,
and gets its manifest of checksums (`manifest.py`) only when orbax has committed it. A step is
*whole* if the manifest is there and every checksum is right; nothing else is ever restored. Orbax
alone reads some flipped bits back silently, and casts to the dtype that is asked for.

With several processes, all of which see the same directory, each writes its share of the arrays;
process 0 decides, checks and deletes.
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree

from mmgen_jax import storage
from mmgen_jax.errors import Failure, InputError
from mmgen_jax.training import manifest, processes

# Parts of a checkpoint that are JSON, each in a directory with this one file.
JSON_PARTS = ("data", "config", "log")
JSON_FILE = "content.json"


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


def whole_steps(workdir: str | Path) -> list[int]:
    """The steps of all checkpoints in `workdir` that are whole, the oldest first."""
    directory = _directory(workdir)
    return [step for step in _steps(directory) if manifest.fault(directory / str(step)) is None]


def latest(workdir: str | Path) -> int | None:
    """Returns the newest step in `workdir` that is whole, None if there is none.

    Reads every byte of it. Each newer step that is broken is left as it is and named in one
    warning, with the file and what is wrong with it.
    """
    directory = _directory(workdir)
    for step in reversed(_steps(directory)):
        fault = manifest.fault(directory / str(step))
        if fault is None:
            return step
        logging.warning("skipped the checkpoint of step %d in %s: %s", step, directory, fault)
    return None


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
    with ocp.Checkpointer(_handler()) as checkpointer:
        _refuse_other_arrays(checkpointer.metadata(path).item_metadata.state.tree, like, path)
        json_parts = {part: ocp.args.JsonRestore() for part in JSON_PARTS}
        parts = ocp.args.Composite(state=ocp.args.StandardRestore(like), **json_parts)
        restored = checkpointer.restore(path, args=parts)
    return Restored(restored.state, **{part: restored[part] for part in JSON_PARTS})


def read_json(
    workdir: str | Path, step: int, part: Literal["data", "config", "log"]
) -> dict[str, Any]:
    """Reads one JSON part of the checkpoint of `step`, and no arrays.

    Raises:
      InputError: if the step is not there or that part is not whole.
    """
    path = _checked(workdir, step, under=f"{part}/")
    return storage.read_json(path / part / JSON_FILE)


class Checkpoints:
    """Saves the checkpoints of the one run that trains in `workdir`; a context manager.

    Args:
      workdir: the run's directory; checkpoints are in `workdir`/checkpoints.
      keep_last: so many of the newest checkpoints are kept, at least 1.
      keep_every: every checkpoint whose step is a multiple of this is kept too; 0 for none.
      keep_best: so many of the best checkpoints are kept too.
      cost: what is least for the best one, from its part `log`; None: it cannot be said.

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
    ):
        if keep_last < 1 or min(keep_every, keep_best) < 0:
            raise InputError(
                f"keep_last={keep_last}, keep_every={keep_every}, keep_best={keep_best}: allowed "
                "are keep_last >= 1, keep_every >= 0 and keep_best >= 0"
            )
        self._directory = _directory(workdir)
        self._keep_last, self._keep_every, self._keep_best = keep_last, keep_every, keep_best
        self._cost = cost
        _make_writable(self._directory)
        # Not orbax's CheckpointManager: it counts broken steps as kept, caches the list of steps,
        # and silently declines to save a step below the newest one.
        self._checkpointer = ocp.AsyncCheckpointer(_handler())
        self._background = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: tuple[int, Future[None]] | None = None

    def save(
        self,
        step: int,
        state: PyTree,
        data: dict[str, Any],
        config: dict[str, Any],
        log: dict[str, Any] | None = None,
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

        Raises:
          Failure: if this save, or the one before it, failed (a full disk). Checkpoints that
            were whole still are.
        """
        self.wait()
        path = self._directory / str(step)
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave(config),
            log=ocp.args.JsonSave(log or {}),
        )
        try:
            if processes.from_main(lambda: _is_there(path)):
                return
            self._checkpointer.save(path, args=parts)
        except Exception as error:
            raise _failure(path, error) from error
        self._saving = step, self._background.submit(self._finish, step)

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

    def _finish(self, step: int) -> None:
        self._checkpointer.wait_until_finished()
        if processes.is_main():
            manifest.write(self._directory / str(step))
            self._delete_old(step)

    def _delete_old(self, newest: int) -> None:
        # Steps above `newest` were found broken when the run resumed below them, and steps without
        # a manifest never became whole: evidence, and not counted.
        complete = [
            step
            for step in _steps(self._directory)
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
            path = self._directory / str(step) / "log" / JSON_FILE
            cost = self._cost(storage.read_json(path))
            if cost is not None:
                costs[step] = cost
        return sorted(costs, key=lambda step: (costs[step], -step))[: self._keep_best]


def _directory(workdir: str | Path) -> Path:
    return Path(workdir).absolute() / "checkpoints"  # orbax refuses relative paths


def _steps(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


def _handler() -> ocp.CompositeCheckpointHandler:
    json_parts = {part: ocp.JsonCheckpointHandler(JSON_FILE) for part in JSON_PARTS}
    return ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), **json_parts)


def _found(workdir: str | Path, step: int) -> Path:
    directory = _directory(workdir)
    path = directory / str(step)
    if not path.is_dir():
        there = ", ".join(map(str, _steps(directory))) or "none"
        raise InputError(f"no checkpoint of step {step} in {directory}; there are: {there}")
    return path


def _checked(workdir: str | Path, step: int, under: str = "") -> Path:
    path = _found(workdir, step)
    fault = manifest.fault(path, under)
    if fault is not None:
        raise InputError(f"the checkpoint of step {step} in {path.parent} is broken: {fault}")
    return path


def _is_there(path: Path) -> bool:
    """Whether a whole step is there already; a broken one is moved aside."""
    if not path.exists():
        return False
    if manifest.fault(path) is None:
        return True
    _move_aside(path)
    return False


def _refuse_other_arrays(saved: PyTree, like: PyTree, path: Path) -> None:
    # Orbax casts to another dtype silently, and reports another structure in many lines.
    there, wanted = _arrays(saved), _arrays(like)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            raise InputError(
                f"checkpoint {path} does not fit this model: {name} is "
                f"{there.get(name, 'not there')} in the checkpoint and "
                f"{wanted.get(name, 'not there')} in the model"
            )


def _arrays(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): (
            f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        )
        for keys, leaf in leaves
    }


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
            _delete(unfinished)


def _move_aside(path: Path) -> None:
    names = (path.with_name(f"{path.name}.broken-{n}") for n in itertools.count())
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    logging.warning("moved the broken checkpoint %s to %s", path, aside.name)


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        logging.warning("could not delete %s: %s", path, error)


def _failure(path: Path, error: BaseException) -> Failure:
    reason = " ".join(str(error).split())
    return Failure(f"could not save checkpoint {path}; older ones are untouched: {reason}")
