"""A folder that appears whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmgen_jax.errors import InputError
from mmgen_jax.media.outputs import check_folder, check_outside_run
from mmgen_jax.storage import read_json, write_json

SUMMARY = "summary.json"  # what a builder says of its work
FILES = "files.json"  # every file of the folder but this one, and its size


@contextmanager
def staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yields an empty folder that is renamed to `out` if the block ends well, else removed.

    The folder stands beside `out`, on the same file system, so that the renaming is atomic. What
    was made in it is listed in `FILES`: nothing else is ever replaced.

    Args:
      out: where the finished folder goes. An empty folder may stand there already.
      overwrite: whether to replace what a builder has put there before.

    Raises:
      InputError: if something stands at `out` that must not be replaced.
    """
    check(out, overwrite)
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        # Subfolders, because the scratch folder itself is private to its owner (mode 0700).
        staging, previous = Path(scratch, "new"), Path(scratch, "old")
        staging.mkdir()
        yield staging
        write_json(staging / FILES, {"files": _sizes(staging)})
        if overwrite and out.exists() and any(out.iterdir()):
            out.rename(previous)
        try:
            if previous.exists():
                _check_own(previous, out)  # something may have come since
            staging.rename(out)
        except (OSError, InputError):
            if previous.exists():
                previous.rename(out)
            raise


def check(out: Path, overwrite: bool) -> None:
    """Raises InputError unless a folder may be made at `out`; see `staged`."""
    check_folder(f"--out={out}", out)
    check_outside_run(f"--out={out}", out)
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / FILES).is_file():
        raise InputError(
            f"--out={out} holds something else, for it has no {FILES} that a builder wrote; give a"
            " new or an empty folder"
        )
    if not overwrite:
        raise InputError(f"--out={out} holds a data set already; --overwrite replaces it")
    _check_own(out, out)


def _check_own(folder: Path, shown: Path) -> None:
    """Raises InputError if a folder holds anything but the files that its list names."""
    try:
        listed = dict(read_json(folder / FILES)["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--out={shown}: cannot read {FILES}; remove the folder first") from error
    found = _sizes(folder)
    others = sorted(name for name in found if name not in listed or listed[name] != found[name])
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"--out={shown} also holds {others[0]}{more}, which the builder did not make or which"
            " was changed since; move it away first"
        )


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder but its list; -1 for what is no regular file."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*files, *(name for name in folders if Path(parent, name).is_symlink())):
            path = Path(parent, name)
            state = path.lstat()
            size = state.st_size if stat.S_ISREG(state.st_mode) else -1
            found[str(path.relative_to(folder))] = size
    found.pop(FILES, None)
    return found
