"""The checksums of a directory: written when it is complete, compared before it is read."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mmgen_jax.storage import read_json, write_text

NAME = "MANIFEST.json"
# What file managers and network disks leave behind; whoever wrote the directory writes no such.
_LEFT_BEHIND = re.compile(r"\..*|@.*|Thumbs\.db|desktop\.ini", re.DOTALL)


def write(directory: Path) -> None:
    """Writes `directory`/MANIFEST.json: the SHA-256 of every file below, by relative path.

    The manifest is on the disk, whole, or not there at all: its presence says that whoever wrote
    the directory had finished.

    Raises:
      OSError: if a file cannot be read, or the manifest not be written.
    """
    checksums = {name: _sha256(directory / name) for name in _files(directory)}
    # Without a last newline, so that no byte of it can be cut off unnoticed.
    write_text(directory / NAME, json.dumps(checksums, indent=1))


def fault(directory: Path, under: str = "") -> str | None:
    """Says what is wrong with `directory`, in one line that names the file; None if it is whole.

    A file that the manifest does not list is a fault, for then the list is not whole; what a
    desktop has left there (`.DS_Store`) is none.

    Args:
      directory: what `write` was called on.
      under: only files whose relative path begins so are compared.
    """
    try:
        checksums = read_json(directory / NAME)
    except FileNotFoundError:
        return f"{NAME} is missing (the save did not finish)"
    except (OSError, ValueError) as error:
        return f"{NAME} cannot be read ({_one_line(error)})"
    if not isinstance(checksums, dict) or not checksums:
        return f"{NAME} lists no files"
    compared = [name for name in checksums if name.startswith(under)]
    if not compared:
        return f"{NAME} lists no files of {under}"
    for name in _files(directory):
        left_behind = any(_LEFT_BEHIND.fullmatch(part) for part in PurePosixPath(name).parts)
        if name.startswith(under) and name not in checksums and not left_behind:
            return f"{name} is not listed in {NAME}"
    faults = (_file_fault(directory, name, checksums[name]) for name in compared)
    return next((found for found in faults if found is not None), None)


def _files(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / NAME:
            yield path.relative_to(directory).as_posix()


def _file_fault(directory: Path, name: str, expected: object) -> str | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return f"{NAME} lists {name!r}, which is elsewhere"
    try:
        if (directory / name).exists() and not (directory / name).is_file():
            return f"{name} is no file"  # a pipe would never end
        found = _sha256(directory / name)
    except FileNotFoundError:
        return f"{name} is missing"
    except (OSError, ValueError) as error:  # ValueError: a damaged manifest can name no-paths
        return f"{name} cannot be read ({_one_line(error)})"
    return None if found == expected else f"{name} is damaged (its SHA-256 differs)"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
