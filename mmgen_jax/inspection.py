"""What a data set holds, in numbers: how much of each modality, how long, how often.

A modality is counted by what its values are, not by its name: strings that are classes by class,
other strings by their length in words, sounds by their seconds, pictures by their size.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmgen_jax import gallery
from mmgen_jax.data import OneOf, Source, choose
from mmgen_jax.data.pipeline import Prepare
from mmgen_jax.errors import InputError
from mmgen_jax.sounds import SAMPLE_RATE

BINS = 12
MOST_CLASSES = 24  # in a histogram; the rarer ones are one bar


class Counts(NamedTuple):
    """What one modality's values are.

    Attributes:
      present: records that have it.
      values: of all records; more than `present` where records have alternatives.
      unit: of what is counted: "class", "words", "seconds" or "pixels".
      sizes: one for each value: a class's name, or a number.
    """

    present: int
    values: int
    unit: str
    sizes: list[Any]


class Inspection(NamedTuple):
    """What was found in a part of a data set.

    Attributes:
      records: how many were read, bad ones included.
      bad: how many of them cannot be used, and are left out.
      modalities: by name.
    """

    records: int
    bad: int
    modalities: dict[str, Counts]


def inspect(source: Source, names: Iterable[str], prepare: Prepare, records: int) -> Inspection:
    """Counts what so many records, spread evenly over a source, hold of these modalities.

    A record is bad if training could not use it: `prepare` is what training does to it.
    """
    found: dict[str, list[list[Any]]] = {name: [] for name in names}
    chosen = choose(records, len(source))
    bad = 0
    for index in chosen:
        try:
            record = source[index]
            prepare(record, index)
            read = {n: _listed(record.values[n]) for n in found if n in record.values}
        except InputError:
            bad += 1
            continue
        for name, raws in read.items():
            found[name].append([_size(raw) for raw in raws])
    classes = set(source.info.label_names)
    counts = {name: _counts(sizes, classes) for name, sizes in found.items()}
    return Inspection(len(chosen), bad, counts)


def _listed(raw: Any) -> tuple[Any, ...]:
    return tuple(raw) if isinstance(raw, OneOf) else (raw,)


def _size(raw: Any) -> tuple[str, Any]:
    if isinstance(raw, str):
        return "class", raw  # or words, if not all are classes
    raw = np.asarray(raw)
    if raw.ndim == 1:
        return "seconds", len(raw) / SAMPLE_RATE
    return "pixels", max(raw.shape[:2], default=0)


def _counts(records: list[list[tuple[str, Any]]], classes: set[str]) -> Counts:
    found = [size for record in records for size in record]
    unit, sizes = found[0][0] if found else "", [size for _, size in found]
    if unit == "class" and not classes.issuperset(sizes):
        unit, sizes = "words", [len(text.split()) for text in sizes]
    return Counts(len(records), len(sizes), unit, sizes)


def describe(inspection: Inspection) -> list[str]:
    """A line for each modality."""
    total = inspection.records - inspection.bad
    lines = []
    for name, counts in inspection.modalities.items():
        missing = 1 - counts.present / total if total else 1.0
        line = f"{name}: {counts.present} of {total} records, {missing:.1%} missing"
        if counts.values > counts.present:
            line += f", {counts.values / counts.present:.1f} values a record"
        lines.append(f"{line}, {_spread(counts)}" if counts.sizes else line)
    if inspection.bad:
        lines.append(f"{inspection.bad} of {inspection.records} records cannot be read")
    return lines


def _spread(counts: Counts) -> str:
    if counts.unit == "class":
        often = Counter(counts.sizes).most_common()
        (most, top), (least, bottom) = often[0], often[-1]
        return f"{len(often)} classes, most often {most} ({top}), least {least} ({bottom})"
    low, median, high = np.percentile(counts.sizes, (0, 50, 100))
    return f"{low:.3g} to {high:.3g} {counts.unit}, median {median:.3g}"


def charts(inspection: Inspection) -> list[tuple[str, gallery.Picture]]:
    """(heading, bars) of each modality that was found."""
    return [
        (f"{name}: records by {counts.unit}", gallery.bars(_histogram(counts)))
        for name, counts in inspection.modalities.items()
        if counts.sizes
    ]


def _histogram(counts: Counts) -> Mapping[str, int]:
    if counts.unit == "class":
        often = Counter(counts.sizes).most_common()
        bars = dict(often[:MOST_CLASSES])
        rare = sum(count for _, count in often[MOST_CLASSES:])
        return bars | {f"{len(often) - MOST_CLASSES} more": rare} if rare else bars
    values = Counter(counts.sizes)
    if len(values) <= BINS:
        sizes = sorted(values)
        return {title: values[size] for title, size in zip(_distinct(sizes), sizes, strict=True)}
    numbers, edges = np.histogram(counts.sizes, BINS)
    titles = [f"{a} to {b}" for a, b in itertools.pairwise(_distinct(edges.tolist()))]
    return dict(zip(titles, map(int, numbers), strict=True))


def _distinct(numbers: Sequence[Any]) -> list[str]:
    """With as many digits as tell them apart, three at least."""
    written = [[f"{number:.{digits}g}" for number in numbers] for digits in range(3, 18)]
    return max(written, key=lambda titles: len(set(titles)))  # the first of the best
