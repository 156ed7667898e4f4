"""Which checkpoints of a run are whole, and what speaks for some that are not there any more."""

import itertools
import re
from pathlib import Path

from absl import logging

from mmgen_jax import storage
from mmgen_jax.training import arrays, manifest

# The part of a checkpoint that says which step of which run it is; older ones lack it.
RUN = "run"
NEWEST = "newest_checkpoint.json"  # of a run: the step that became whole last


def directory_of(workdir: str | Path) -> Path:
    """Where a run's checkpoints are. Raises InputError for a place that orbax cannot write to."""
    return arrays.place(Path(workdir) / "checkpoints")


def steps(directory: Path) -> list[int]:
    """All steps that have a folder, the smallest first."""
    try:
        found = [step_of(path.name) for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(step for step in found if step is not None)


def step_of(name: str) -> int | None:
    """The step whose folder is called so; None for the name of anything else."""
    return int(name) if re.fullmatch(r"0|[1-9][0-9]{0,17}", name) else None


def fault(path: Path) -> str | None:
    """Says why the checkpoint in a folder is not whole, in one line; None if it is."""
    found = manifest.fault(path)
    if found is None and (path / RUN).exists():
        try:
            step = storage.read_json(path / RUN / arrays.JSON_FILE)["step"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{RUN}/{arrays.JSON_FILE} cannot be read ({error})"
        if step != step_of(path.name):
            return f"it is of step {step}, whatever its folder is called"
    return found or arrays.fault(path)


def whole_steps(workdir: str | Path) -> list[int]:
    """The steps of all checkpoints in `workdir` that are whole, the oldest first."""
    directory = directory_of(workdir)
    return [step for step in steps(directory) if fault(directory / str(step)) is None]


def latest(workdir: str | Path) -> int | None:
    """Returns the newest step in `workdir` that is whole, None if there is none.

    Reads every byte of it. Each newer step that is broken is left as it is and named in one
    warning, with the file and what is wrong with it.
    """
    directory = directory_of(workdir)
    for step in reversed(steps(directory)):
        found = fault(directory / str(step))
        if found is None:
            return step
        logging.warning("skipped the checkpoint of step %d in %s: %s", step, directory, found)
    return None


def note(workdir: str | Path, step: int) -> None:
    """Writes down that the checkpoint of `step` has become whole.

    Raises:
      OSError: if it cannot be written.
    """
    storage.write_json(Path(workdir) / NEWEST, {"step": step}, indent=None)


def lost(workdir: str | Path) -> str | None:
    """Says what a run without any whole checkpoint has lost, in one line.

    None for a run that never had one: it was stopped before its first save had finished.
    """
    directory, there = directory_of(workdir), steps(directory_of(workdir))
    finished = [step for step in there if (directory / str(step) / manifest.NAME).exists()]
    noted = (Path(workdir) / NEWEST).exists()
    # A checkpoint is saved when the one before it is whole.
    if finished or len(there) > 1 or (there and noted):
        newest = max(there)
        return (
            f"none of the checkpoints in {directory} is whole (step {newest}:"
            f" {fault(directory / str(newest))})"
        )
    # The folder is made before anything else of a run.
    if noted or ((Path(workdir) / "config.json").exists() and not directory.exists()):
        return f"the checkpoints of the run in {workdir} are gone from {directory}"
    return None


def set_aside(workdir: str | Path) -> None:
    """Keeps what is lost from being missed again: broken steps get another name."""
    directory = directory_of(workdir)
    for step in steps(directory):
        move_aside(directory / str(step))
    (Path(workdir) / NEWEST).unlink(missing_ok=True)


def move_aside(path: Path) -> None:
    """Renames a broken checkpoint to `STEP.broken-N`, and says so."""
    names = (path.with_name(f"{path.name}.broken-{n}") for n in itertools.count())
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    logging.warning("moved the broken checkpoint %s to %s", path, aside.name)
