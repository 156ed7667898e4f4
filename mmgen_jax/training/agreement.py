"""What must be the same on all processes of a run, and what resumes must find unchanged.

Each process reads its own command line, its own copy of the code and, often, its own copy of the
data. Where these differ, every process trains happily on batches that are a mixture.
"""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

import mmgen_jax
from mmgen_jax.data import Source
from mmgen_jax.errors import InputError
from mmgen_jax.schema import leaves
from mmgen_jax.training import checkpoints, fingerprint, processes

# What has a say in numbers, batches or checkpoints.
PACKAGES = (
    *("jax", "jaxlib", "numpy", "flax", "optax", "orbax-checkpoint", "grain"),
    *("ml_collections", "pillow", "soundfile"),
)
# How each process reads its share of the data is its own affair.
OWN = ("data.threads", "data.workers")
MOST_SAID = 4


def check(config: ConfigDict, source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compares config, options, data, versions and code of all processes; a collective.

    Args:
      config: of the run.
      source: what it trains on.
      options: what else this process was told, such as the folder of the run.

    Returns:
      The data's fingerprint.

    Raises:
      InputError: on all processes, with one line that says what differs, and on which.
    """
    data = fingerprint.take(source, config.modalities.names)
    compare(facts(config, options) | {"data": data}, source)
    return data


def facts(config: ConfigDict, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is compared, but for the data: by kind, then by name."""
    return {
        "config": {name: repr(value) for name, value in leaves(config) if name not in OWN},
        "option": {name: repr(value) for name, value in options.items()},
        "version": versions(),
        "code": code(),
    }


def compare(mine: Mapping[str, Any], source: Source) -> None:
    """Compares the facts of all processes; see `check`."""
    digests = processes.all_of({kind: fingerprint.digest(fact) for kind, fact in mine.items()})
    kinds = [kind for kind in mine if len({theirs[kind] for theirs in digests}) > 1]
    if not kinds:
        return
    first, *others = processes.all_of({kind: mine[kind] for kind in kinds})
    found = [
        f"process {number} of {len(digests)} has {difference}"
        for number, theirs in enumerate(others, 1)
        for kind in kinds
        for difference in _differences(kind, first[kind], theirs[kind], source)
    ]
    if found:
        more = f"; and {len(found) - MOST_SAID} more" if len(found) > MOST_SAID else ""
        raise InputError(
            f"the processes of this run differ: {'; '.join(found[:MOST_SAID])}{more}. Allowed: the"
            " same command, data, code and versions on all of them"
        )


def check_data(
    config: ConfigDict, source: Source, workdir: Path, step: int, accept: bool
) -> dict[str, Any] | None:
    """Compares the data with what a checkpoint was trained on.

    Args:
      config: of the run.
      source: what it goes on with.
      workdir: its folder.
      step: of the checkpoint.
      accept: go on although they differ; a warning says in what.

    Returns:
      The checkpoint's fingerprint of the data where it still holds, else None.

    Raises:
      InputError: if they differ, and this is not accepted, in one line that says in what.
    """
    saved = checkpoints.read_json(workdir, step, "data")
    before = saved.get("fingerprint")
    if before is None:  # of a version that had none
        return None
    now = fingerprint.retaken(source, config.modalities.names, before)
    found = fingerprint.differences(before, now, source)
    if not found:
        return before
    line = (
        f"the data ({config.data.name}, split {config.data.split}) is not what checkpoint {step} in"
        f" {workdir} was trained on: {'; '.join(found)}"
    )
    if set(now["classes"]) - set(before["classes"]):
        line += (
            " (a run knows the classes that it began with: records of new ones are bad to it; a new"
            " run with --config.train.init_from learns them)"
        )
    if not accept:
        raise InputError(
            f"{line}; bring back what it was, use another --workdir, or --accept_data_change"
        )
    if processes.is_main():
        logging.warning("%s (--accept_data_change)", line)
    return None


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what has a say in its numbers."""
    found = {"python": platform.python_version(), "mmgen_jax": mmgen_jax.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


@cache
def code() -> dict[str, str]:
    """A checksum of each .py file of this package, by its path in it."""
    top = Path(mmgen_jax.__file__).parent
    return {
        path.relative_to(top.parent).as_posix(): hashlib.blake2b(
            path.read_bytes(), digest_size=8
        ).hexdigest()
        for path in sorted(top.rglob("*.py"))
    }


def _differences(kind: str, first: Any, other: Any, source: Source) -> list[str]:
    """What another process has, and process 0 has not."""
    if kind == "data":
        return [f"other data: {each}" for each in fingerprint.differences(first, other, source)]
    changed = [name for name in first | other if first.get(name) != other.get(name)]
    if kind == "code":
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return [f"other code: {changed[0]}{more}"]
    prefix = {"config": "config.", "option": "--", "version": ""}[kind]
    return [f"{prefix}{name} {other.get(name)} (process 0: {first.get(name)})" for name in changed]
