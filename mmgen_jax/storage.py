"""Reads and writes files: text is UTF-8 whatever the locale, and a file is whole or not there."""

import errno
import json
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_LONGEST_START = 200  # bytes of a temporary name, which systems limit to 255
_SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_file(path: str | Path) -> None:
    """Raises OSError unless `path` is a regular file, or a link to one.

    Whatever a user names is checked before it is opened: reading a pipe or a device may never end.
    """
    mode = Path(path).stat().st_mode
    for is_such, kind in _SPECIAL:
        if is_such(mode):
            raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file.

    Raises:
      OSError: if it cannot be read, or is no regular file.
      UnicodeDecodeError: if it is not UTF-8 (a ValueError).
    """
    check_file(path)
    return path.read_text(encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Replaces the file `path` by `text` in UTF-8, as `write_whole` does."""
    write_whole(path, [text.encode()])


class RepeatedKey(ValueError):
    """A JSON object names a key twice: which of the values is meant, nobody can say."""


def parse_json(text: str | bytes) -> Any:
    """Returns what JSON says.

    Raises:
      RepeatedKey: if an object has a key twice, of which Python would keep the last in silence.
      ValueError: if it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise RepeatedKey(f"the key {twice!r} stands twice")
    return found


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
      OSError: if it cannot be read.
      ValueError: as `parse_json` does, or if it is not UTF-8.
    """
    return parse_json(read_text(path))


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Replaces the file `path` by `content` as JSON, readable in any script."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Replaces the file `path` by `chunks`: after a crash there is the old file or the new one.

    Raises:
      OSError: if it cannot be written; the old file is then untouched.
    """
    with replacing(path) as file:
        file.writelines(chunks)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields an empty new file that becomes `path` if the block ends well, and is removed else.

    Its name cannot be foreseen: whoever filled the folder (a data set or a run from a stranger)
    cannot have put a link or a pipe there, and no file of a user or of another command is taken.

    Raises:
      OSError: if it cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(temporary_name(path.name))
    with temporary.open("xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def temporary_name(name: str) -> str:
    """A hidden name for what becomes the file `name`; another one each time."""
    start = name
    while len(os.fsencode(start)) > _LONGEST_START:
        start = start[:-1]
    return f".{start}.{secrets.token_hex(8)}.partial"


def sync_folder(folder: Path) -> None:
    """Returns once the entries of a folder are on the disk."""
    # Without it, a rename may be lost when the power goes.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
