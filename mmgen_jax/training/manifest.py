"""The checksums of a directory: written when it is complete, compared before it is read."""

import hashlib
import itertools
import json
import os
import re
from pathlib import Path, PurePosixPath

from mmgen_jax.storage import check_file, read_json, write_text

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
    checksums = {}
    for name in _names(directory):
        check_file(directory / name)
        checksums[name] = _sha256(directory / name)
    # Without a last newline, so that no byte of it can be cut off unnoticed.
    write_text(directory / NAME, json.dumps(checksums, indent=1))


def fault(directory: Path, under: str = "") -> str | None:
    """Says what is wrong with `directory`, in one line that names the file; None if it is whole.

    A file that the manifest does not list is a fault, for then the list is not whole; what a
    desktop has left there (`.DS_Store`) is none. A pipe, or a link to nothing, always is one:
    whoever reads the directory might wait for ever. So is what vanishes meanwhile.

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
    try:
        there = [name for name in _names(directory) if name.startswith(under)]
    except OSError as error:
        return f"it cannot be read ({_one_line(error)})"
    faults = itertools.chain(
        (_unlisted_fault(directory, name) for name in there if name not in checksums),
        (_file_fault(directory, name, checksums[name]) for name in compared),
    )
    return next((found for found in faults if found is not None), None)


def _names(directory: Path) -> list[str]:
    """All that lies below a directory but folders and its manifest, whatever it is.

    Raises:
      OSError: if a folder cannot be read, or is not there any more (`rglob` skips some of them).
    """
    found = []
    for parent, folders, others in os.walk(directory, onerror=_raise):
        links = (name for name in folders if Path(parent, name).is_symlink())  # not walked
        found.extend(Path(parent, name) for name in (*others, *links))
    names = (path.relative_to(directory).as_posix() for path in sorted(found))
    return [name for name in names if name != NAME]


def _raise(error: OSError) -> None:
    if not isinstance(error, PermissionError):  # a desktop's; who reads cannot look into it either
        raise error


def _unlisted_fault(directory: Path, name: str) -> str | None:
    try:
        check_file(directory / name)
    except OSError as error:
        gone = not os.path.lexists(directory / name)
        return None if gone else f"{_shown(name)}: {error.strerror}"
    left_behind = any(_LEFT_BEHIND.fullmatch(part) for part in PurePosixPath(name).parts)
    return None if left_behind else f"{_shown(name)} is not listed in {NAME}"


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


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
