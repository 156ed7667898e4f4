"""The arrays of a checkpoint on disk: where orbax may keep them, which are there, and all of each.

A checksum proves bytes. This proves that there is something to restore: orbax merges what the
processes have written by looking for their folders, and ends well where it has found none.
"""

import glob
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from jaxtyping import PyTree

from mmgen_jax.errors import InputError

STATE = "state"  # the part of a checkpoint that is arrays
JSON_FILE = "content.json"  # the one file of each part that is JSON
_ZARR = "/.zarray"
_BUCKETS = ("gs", "s3", "az", "hf")  # what epath takes for buckets at the top of a path


class _Literal(type(epath.Path("/"))):
    """A path that stands for itself: orbax globs below it, and a name may hold `[`, `*` or `?`."""

    def glob(self, pattern: str) -> Iterator["_Literal"]:
        for found in glob.iglob(os.path.join(glob.escape(str(self)), pattern)):  # noqa: PTH118, PTH207
            yield type(self)(found)


def place(folder: str | Path) -> Path:
    """The absolute path of a folder of checkpoints, as orbax takes it.

    Raises:
      InputError: if orbax cannot write there, or would write elsewhere, because of its name.
    """
    path = plain(Path(folder).absolute())
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise _unusable(path, "bytes that are no UTF-8") from None
    if "\\" in str(path):
        raise _unusable(path, "a backslash")
    first = path.parts[1] if len(path.parts) > 1 else ""
    if first in _BUCKETS or any(
        part.rstrip(":") in _BUCKETS and ":" in part for part in path.parts
    ):
        raise _unusable(path, "the name of a bucket's protocol")
    return path


def plain(path: Path) -> Path:
    """The same folder by a name without `..`, and without `//` before it.

    Only what stands before the last `..` is resolved. Tensorstore looks at names alone, so that a
    link to a folder is the way around a name that it does not take.
    """
    parts = path.parts
    last = max((n for n, part in enumerate(parts, 1) if part == ".."), default=0)
    if last:
        parts = (os.path.realpath(Path(*parts[:last])), *parts[last:])
    found = Path(*parts)
    return Path("/", *found.parts[1:]) if found.is_absolute() else found


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"path {str(path)!r} holds {what}, and checkpoints cannot be kept there; allowed: a folder"
        " with another name"
    )


def literal(path: Path) -> epath.Path:
    """A path for orbax, whatever signs it holds."""
    return _Literal(str(path))


def handler(json_parts: tuple[str, ...]) -> ocp.CompositeCheckpointHandler:
    """What reads and writes a checkpoint's parts."""
    handlers = {part: ocp.JsonCheckpointHandler(JSON_FILE) for part in json_parts}
    return ocp.CompositeCheckpointHandler(state=ocp.StandardCheckpointHandler(), **handlers)


def described(tree: PyTree) -> dict[str, str]:
    """The dtype and shape of every array of a tree, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): (
            f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        )
        for keys, leaf in leaves
    }


def on_disk(path: Path) -> dict[str, str]:
    """Reads the names, dtypes and shapes of a checkpoint's arrays, and none of their values.

    Raises:
      Exception: whatever orbax raises for a checkpoint that it cannot read.
    """
    reader = ocp.StandardCheckpointHandler()
    try:
        return described(reader.metadata(literal(path / STATE)).tree)
    finally:
        reader.close()


def fault(path: Path, saved: dict[str, str] | None = None) -> str | None:
    """Says why the arrays of a checkpoint cannot be restored, in one line; None if they can.

    Their values are not read, only where each part of them lies.

    Args:
      path: the checkpoint.
      saved: what `described` says of the arrays that it was made of, if that is known.
    """
    try:
        found = on_disk(path)
        torn = _torn(path / STATE)
    # What a damaged file makes orbax raise has no common class.
    except Exception as error:
        return f"its arrays cannot be read ({one_line(error)})"
    if not found:
        return "it holds no arrays"
    for name in sorted(found.keys() | (saved or found).keys()):
        if saved is not None and found.get(name) != saved.get(name):
            there, wanted = (of.get(name, "not there") for of in (found, saved))
            return f"{name} is {there}, and was {wanted} when it was saved"
    return torn


def _torn(folder: Path) -> str | None:
    """Names an array of which a part is missing. Orbax would restore zeros for it."""
    store = ts.KvStore.open(
        {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}
    ).result()
    keys = [key.decode() for key in store.list().result()]
    parts: dict[str, int] = {}
    for key in keys:
        name = key.rpartition("/")[0]
        parts[name] = parts.get(name, 0) + (not key.endswith(_ZARR))
    headers = [(key, store.read(key)) for key in keys if key.endswith(_ZARR)]
    for key, header in headers:
        facts: dict[str, Any] = json.loads(header.result().value)
        sizes = zip(facts["shape"], facts["chunks"], strict=True)
        if parts[name := key.removesuffix(_ZARR)] != (
            wanted := math.prod(-(-size // part) for size, part in sizes)
        ):
            return f"{name} is there in {parts[name]} of {wanted} parts"
    return None


def one_line(error: BaseException) -> str:
    """An error's message, without what tensorstore adds for itself."""
    text = " ".join(str(error).partition("[tensorstore_spec")[0].split())
    return text or type(error).__name__
