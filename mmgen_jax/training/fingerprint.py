"""What can be known of a data set in a second: enough to notice that it is not the one it was.

The length, the names, and some records, which are chosen by a hash of their number so that no
regularity of the data hides a change. What is read from a record is hashed part by part. Sounds,
which other processors decode and resample to other last digits, are measured instead.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from mmgen_jax.data import Source, choose
from mmgen_jax.errors import InputError

RECORDS = 32
THREADS = 4
PROJECTIONS = 8
TOLERANCE = 1e-3  # of projections, beside the level
# Names of what `take` returns, for people.
_NAMES = {"classes": "class names", "splits": "splits", "modalities": "modalities"}


def take(
    source: Source, modalities: Iterable[str], numbers: Sequence[int] | None = None
) -> dict[str, Any]:
    """Takes the fingerprint of a split.

    Args:
      source: the split.
      modalities: those that are trained on; others are not decoded.
      numbers: of the records; None for at most `RECORDS`, by hash.

    Returns:
      length, classes, splits, modalities, and records: for each number (as str) what each part of
      it is; all of it JSON.
    """
    if numbers is None:
        numbers = sorted(choose(RECORDS, len(source)))
    with ThreadPoolExecutor(THREADS) as pool:
        records = pool.map(partial(_record, source, tuple(modalities)), numbers)
        info = source.info
        return {
            "length": len(source),
            "classes": [name for names in info.classes.values() for name in names],
            "splits": list(info.splits),
            "modalities": list(info.modalities),
            "records": {str(n): record for n, record in zip(numbers, records, strict=True)},
        }


def retaken(source: Source, modalities: Iterable[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the fingerprint of a split with the records that an earlier one has."""
    numbers = [int(number) for number in before["records"]]
    return take(source, modalities, [n for n in numbers if n < len(source)])


def differences(before: Mapping[str, Any], now: Mapping[str, Any], source: Source) -> list[str]:
    """What differs between two fingerprints, each in a few words; of records what both have.

    Args:
      before: of what was there.
      now: of `source`.
      source: names the places of records.
    """
    found = []
    if before["length"] != now["length"]:
        found.append(f"{now['length']} records instead of {before['length']}")
    found += [
        f"{_NAMES[key]}: {changed}"
        for key in _NAMES
        if (changed := _names(before[key], now[key])) is not None
    ]
    both = [n for n in before["records"] if n in now["records"]]
    parts = {n: _parts(before["records"][n], now["records"][n]) for n in both}
    changed = [n for n in both if parts[n]]
    if changed:
        first = changed[0]
        place = source.where(int(first)) if int(first) < len(source) else f"record {first}"
        found.append(
            f"{len(changed)} of {len(both)} records that were compared are others, such as {place}"
            f" ({', '.join(parts[first])})"
        )
    return found


def digest(content: Any) -> str:
    """A short checksum of what JSON can hold."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _record(source: Source, modalities: tuple[str, ...], number: int) -> dict[str, Any]:
    """Every part of a record by name; a bad one is "bad"."""
    try:
        record = source[number]
        values = {name: record.values[name] for name in modalities if name in record.values}
        return {"image": _of(record.image)} | {name: _of(value) for name, value in values.items()}
    except InputError:
        return {"bad": True}


def _of(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_of(each) for each in value]
    if isinstance(value, np.ndarray):
        return _measured(value) if np.issubdtype(value.dtype, np.floating) else _hashed(value)
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _hashed(array: np.ndarray) -> str:
    whole = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=8)
    whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def _measured(array: np.ndarray) -> dict[str, Any]:
    """The shape, the level and some projections, which other last digits hardly move."""
    flat = array.ravel().astype(np.float64)
    level = float(np.sqrt(np.mean(np.square(flat)))) if flat.size else 0.0
    signs = np.random.default_rng(0)
    projected = [
        float(flat @ signs.choice((-1.0, 1.0), flat.size)) / max(1.0, flat.size**0.5)
        for _ in range(PROJECTIONS)
    ]
    return {"shape": list(array.shape), "numbers": [level, *projected]}


def _parts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the parts that differ; what only one of them was asked for is not compared."""
    if ("bad" in before) != ("bad" in now):
        return ["it can be read" if "bad" in before else "it cannot be read"]
    return [name for name in before if name in now and not _same(before[name], now[name])]


def _same(before: Any, now: Any) -> bool:
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before == now
    if before["shape"] != now["shape"]:
        return False
    ours, theirs = np.array(before["numbers"]), np.array(now["numbers"])
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return bool(np.array_equal(ours, theirs, equal_nan=True))
    return bool(np.abs(ours - theirs).max() <= TOLERANCE * max(abs(ours[0]), abs(theirs[0])))


def _names(before: Sequence[str], now: Sequence[str]) -> str | None:
    """How two lists of names differ; None if they do not."""
    if list(before) == list(now):
        return None
    gone = [name for name in before if name not in set(now)]
    new = [name for name in now if name not in set(before)]
    said = [f"{len(gone)} gone ({_few(gone)})"] if gone else []
    said += [f"{len(new)} new ({_few(new)})"] if new else []
    return ", ".join(said) or "in another order"


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
