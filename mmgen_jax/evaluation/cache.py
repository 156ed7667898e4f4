"""What was computed before an interruption, kept on disk until the report is written."""

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmgen_jax.errors import writing
from mmgen_jax.storage import check_file, write_whole

# A SHA-256, and the .npz that it is of; also as `write_whole` leaves it where it is killed.
OWN = re.compile(r"[0-9a-f]{64}\.npz|\.[0-9a-f]{64}\.npz\.[0-9a-f]{16}\.partial")


class Memo:
    """Arrays by what they were computed from.

    Args:
      folder: where they are kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder

    def __call__(
        self, facts: Callable[[], Any], compute: Callable[[], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """What `compute` gives; not called again once that is on disk.

        Args:
          facts: gives all that the result depends on; see `digest`.
          compute: makes some arrays.
        """
        if self._folder is None:
            return list(compute())
        path = self._folder / f"{digest(facts())}.npz"
        found = _read(path)
        if found is None:
            found = list(compute())
            file = io.BytesIO()
            np.savez_compressed(file, *found)
            with writing(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                content = file.getvalue()
                write_whole(path, [hashlib.sha256(content).digest(), content])
        return found

    def clear(self) -> None:
        """Forgets everything: the report is written."""
        if self._folder is None or not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if OWN.fullmatch(path.name):
                path.unlink()
        if not any(self._folder.iterdir()):  # there may be what somebody else put there
            self._folder.rmdir()


def digest(facts: Any) -> str:
    """A number, in hexadecimal, for a tree of arrays, texts and numbers: equal for equal ones."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(facts):
        value = np.asarray(leaf)
        found.update(f"{path} {value.dtype} {value.shape}\n".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def _read(path: Path) -> list[np.ndarray] | None:
    """Nothing where there is no such file, or it is not whole: it begins with its checksum."""
    try:
        check_file(path)
        content = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    if hashlib.sha256(content[size:]).digest() != content[:size]:
        return None
    with np.load(io.BytesIO(content[size:])) as file:
        return [file[f"arr_{number}"] for number in range(len(file.files))]
