"""Finds files whose names are spelled in another Unicode form than they have on the disk.

A Mac decomposes the letters of file names (NFD), and its archives keep them so, where metadata have
them composed (NFC), as all other systems do: the same name, and other bytes.
"""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePath

from mmgen_jax.errors import InputError


def existing(root: Path, name: str) -> Path:
    """The path `name` below a folder, as the disk spells it.

    A file of exactly this name comes first. A name that is not there in any form is returned as it
    is. A folder is listed at most once, and only for a name beyond ASCII that is not there.

    Raises:
      InputError: if files of several spellings are there, and none is exactly this.
    """
    path = root / name
    if name.isascii() or os.path.lexists(path):
        return path
    place = root
    for part in PurePath(name).parts:
        exact = place / part
        place = exact if part.isascii() or os.path.lexists(exact) else place / _as_listed(exact)
    return place


def in_other_case(path: Path) -> str:
    """Returns the end of a line that says that `path` is not there: a file that differs in case.

    Empty, or beginning with a semicolon. A disk that forgives the case of names, as those of Macs
    and Windows do, is where such metadata were made.
    """
    try:
        found = _by_case(path.parent, path.parent.stat().st_mtime_ns).get(path.name.casefold())
    except OSError:
        return ""
    return f"; did you mean {found!r}? The case of letters counts here" if found else ""


def _as_listed(path: Path) -> str:
    try:
        listed = _listing(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return path.name
    found = listed.get(unicodedata.normalize("NFC", path.name), (path.name,))
    if len(found) > 1:
        raise InputError(
            f"{path.name!r} is written in another Unicode form in several files of {path.parent};"
            " allowed: exactly the name of one"
        )
    return found[0]


@lru_cache(maxsize=4)
def _by_case(folder: Path, changed: int) -> dict[str, str]:
    """Casefolded name -> a name on the disk; `changed` is when it was so."""
    with os.scandir(folder) as entries:
        return {entry.name.casefold(): entry.name for entry in entries}


@lru_cache(maxsize=256)
def _listing(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """Normalized name -> names on the disk, of those beyond ASCII; `changed` is when it was so."""
    found: dict[str, tuple[str, ...]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.isascii():
                key = unicodedata.normalize("NFC", entry.name)
                found[key] = (*found.get(key, ()), entry.name)
    return found
