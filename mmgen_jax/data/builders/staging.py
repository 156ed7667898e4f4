"""A folder that appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmgen_jax.errors import InputError

SUMMARY = "summary.json"  # the file by which a folder is known to be a builder's work


@contextmanager
def staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yields an empty folder that is renamed to `out` if the block ends well, else removed.

    The folder stands beside `out`, on the same file system, so that the renaming is atomic.

    Args:
      out: where the finished folder goes. An empty folder may stand there already.
      overwrite: whether to replace what a builder has put there before.

    Raises:
      InputError: if something stands at `out` that must not be replaced.
    """
    _check(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        # Subfolders, because the scratch folder itself is private to its owner (mode 0700).
        staging, previous = Path(scratch, "new"), Path(scratch, "old")
        staging.mkdir()
        yield staging
        if overwrite and out.exists():
            out.rename(previous)
        try:
            staging.rename(out)
        except OSError:
            if previous.exists():
                shutil.move(previous, out)
            raise


def _check(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SUMMARY).is_file():
        raise InputError(f"--out={out} holds something else; give a new or an empty folder")
    if not overwrite:
        raise InputError(f"--out={out} holds a data set already; --overwrite replaces it")
