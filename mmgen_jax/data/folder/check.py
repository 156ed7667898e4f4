"""Which lines of a `metadata.jsonl` cannot be used: all files read once, the verdict remembered."""

import errno
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mmgen_jax.data.folder.fields import Fields, parse
from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_json, write_json

INDEX = ".mmgen_index.json"  # beside metadata.jsonl, if the folder can be written
VERSION = 4  # of the verdicts: raised whenever more is refused than before
_LASTING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_FEW = 1_000  # records that are checked before a person would wonder


def check(path: Path, lines: Sequence[Any], fields: Fields) -> dict[int, str]:
    """Reads all that the lines name, unless that was done before and nothing has changed since.

    Args:
      path: of the metadata.
      lines: with `number` and `text`.
      fields: how they are read.

    Returns:
      Line number -> why it is bad, for those that are.
    """
    index, state = path.with_name(INDEX), _fingerprint(lines, fields)
    known = _remembered(index, state)
    if known is not None:
        return known
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda line: _check(line.text, fields), lines)
        quiet = None if len(lines) > _FEW else True
        shown = tqdm(found, desc=f"checking {path}", total=len(lines), unit="record", disable=quiet)
        results = list(shown)
    reasons = {
        line.number: checked.reason
        for line, checked in zip(lines, results, strict=True)
        if checked.reason
    }
    reasons |= _repetitions(lines, results)
    if not any(checked.may_pass for checked in results):
        _remember(index, state, reasons)
    return reasons


class _Checked(NamedTuple):
    """What was found of one line.

    Attributes:
      reason: why it is bad; empty if it is not.
      name: its picture's path.
      digest: of all that it says, files included.
      may_pass: whether the next reading may find otherwise, with the same files.
    """

    reason: str
    name: str = ""
    digest: bytes = b""
    may_pass: bool = False


def _check(line: bytes, fields: Fields) -> _Checked:
    try:
        parsed = parse(line)
        fields.check(parsed)
        digest = hashlib.blake2b(digest_size=16)
        files = list(fields.files(parsed))
        for file in files:
            digest.update(file.read_bytes())
        said = {key: x for key, x in parsed.items() if not key.endswith("file_name")}
        digest.update(json.dumps(said, sort_keys=True).encode())
    except InputError as error:
        return _Checked(str(error), may_pass=_may_pass(error.__cause__))
    except OSError as error:
        return _Checked(f"a file cannot be read: {error.strerror}", may_pass=_may_pass(error))
    return _Checked("", files[0].relative_to(fields.root).as_posix(), digest.digest())


def _may_pass(error: BaseException | None) -> bool:
    """Whether a disk was to blame, or rights; that there is no such file will not pass."""
    return isinstance(error, OSError) and error.errno not in _LASTING


def _repetitions(lines: Sequence[Any], results: Sequence[_Checked]) -> dict[int, str]:
    first_name: dict[str, int] = {}
    first_digest: dict[bytes, int] = {}
    reasons = {}
    for line, (reason, name, digest, _) in zip(lines, results, strict=True):
        if reason:
            continue
        same = first_name.setdefault(name, line.number)
        equal = first_digest.setdefault(digest, line.number)
        if same != line.number:
            reasons[line.number] = (
                f"duplicate: {name!r} stands in line {same} already; several captions of a picture"
                " go into a list"
            )
        elif equal != line.number:
            reasons[line.number] = f"duplicate: it says the same as line {equal}, files included"
    return reasons


def _fingerprint(lines: Sequence[Any], fields: Fields) -> str:
    """Changes with the metadata, with how they are read, and with any file's size or time."""
    digest = hashlib.blake2b(digest_size=16)
    classes = {name: [known.names, known.numbered] for name, known in fields.classes.items()}
    kinds = {name: fields.kinds[name] for name in fields.features}
    how = [VERSION, fields.target, dict(fields.features), kinds, fields.languages, classes]
    digest.update(json.dumps(how).encode())
    for line in lines:
        digest.update(b"%d:" % line.number + line.text)
        try:
            files = list(fields.files(parse(line.text)))
        except InputError:
            continue
        for file in files:
            try:
                stat = file.stat()
                digest.update(b"%d,%d;" % (stat.st_size, stat.st_mtime_ns))
            except OSError:
                digest.update(b"-;")
    return digest.hexdigest()


def _remembered(index: Path, state: str) -> dict[int, str] | None:
    try:
        saved = read_json(index)
        if saved["state"] != state:
            return None
        return {int(number): str(reason) for number, reason in saved["bad"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remember(index: Path, state: str, reasons: dict[int, str]) -> None:
    try:
        write_json(index, {"state": state, "bad": reasons}, indent=None)
    except OSError:
        return  # a folder that cannot be written is checked anew each time
