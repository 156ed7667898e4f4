"""Two exceptions that are one line for a person, and no traceback (see `mmgen_jax.cli`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmgen_jax.storage import check_file


class InputError(ValueError):
    """Bad input from a person: a config, a file, a flag, a record.

    Its message is one line that names what is wrong, where, and what is allowed. Launchers print
    it and exit with code 2.

    Attributes:
      details: where many things are wrong at once, a line for each, printed before the message.
    """

    details: tuple[str, ...] = ()


class Failure(RuntimeError):
    """What a run cannot go on after, though nobody asked for anything wrong: a full disk, a NaN.

    Its message is one line that names what happened, and what still stands. Launchers print it and
    exit with code 1.
    """


def expanded(path: str) -> Path:
    """With a leading ~ or ~user as the home directory. Raises InputError if there is no such."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"path {path!r}: there is no such home directory") from error


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Makes an InputError that names the file of whatever goes wrong while `path` is read.

    A folder, a pipe or a device is refused before anything of it is read.
    """
    try:
        check_file(path)
        yield
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes a Failure of what the disk refuses (it is full, or gone) while `path` is written."""
    try:
        yield
    except OSError as error:
        raise Failure(
            f"cannot write {path}: {error.strerror}; checkpoints are untouched"
        ) from error
