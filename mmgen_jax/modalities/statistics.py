"""What a model is fed of a data set, in numbers: how much of each modality, how long, how often.

A modality is counted by what its values are, not by its name: strings that are classes by class,
other strings by their length in words, sounds by their seconds, pictures by their size. What is
counted is what is fed of a value; what is cut of it is said beside it.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgen_jax.data import OneOf, Record, Source, choose, values_of
from mmgen_jax.data.pipeline import Prepare
from mmgen_jax.errors import InputError
from mmgen_jax.media import gallery
from mmgen_jax.media.audio import SAMPLE_RATE
from mmgen_jax.modalities import MODALITIES, Extent, Modality

BINS = 12
MOST_CLASSES = 24  # in a histogram; the rarer ones are one bar
MEASURED = 500  # records of which it is said, as training begins, how much is fed


class Counts(NamedTuple):
    """What one modality's values are.

    Attributes:
      present: records that have it.
      values: of all records; more than `present` where records have alternatives.
      unit: of what is counted: "class", "words", "seconds" or "pixels".
      sizes: one for each value: a class's name, or a number; of what is fed of it.
      extents: of the values that can be cut.
    """

    present: int
    values: int
    unit: str
    sizes: list[Any]
    extents: list[Extent]


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


def inspect(
    source: Source, modalities: Mapping[str, Modality], prepare: Prepare, records: int
) -> Inspection:
    """Counts what a model is fed of these modalities, of so many records (`data.choose`).

    A record is bad if training could not use it: `prepare` is what training does to it.
    """
    found: dict[str, list[list[_Value]]] = {name: [] for name in modalities}
    chosen, bad = choose(records, len(source)), 0
    for index in chosen:
        try:
            record = source[index]
            prepare(record, index)
            read = {
                name: [_value(modalities[name], raw) for raw in _listed(record.values[name])]
                for name in modalities
                if name in record.values
            }
        except InputError:
            bad += 1
            continue
        for name, values in read.items():
            found[name].append(values)
    classes = set(source.info.label_names)
    counts = {name: _counts(values, classes) for name, values in found.items()}
    return Inspection(len(chosen), bad, counts)


class Shown:
    """A source that notes which records were prepared, one after another.

    Where one is bad, another takes its place, and is shown twice.

    Args:
      source: of the records.
      prepare: what training does to them.
    """

    def __init__(self, source: Source, prepare: Prepare):
        self._source, self._prepare = source, prepare
        self.info, self.bad, self.where = source.info, source.bad, source.where
        self._read, self._shown = 0, list[int]()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        """Record `index`, which is prepared next."""
        self._read = index
        return self._source[index]

    def prepare(self, record: Record, index: int) -> Any:
        """Prepares the record that was read last."""
        example = self._prepare(record, index)
        self._shown.append(self._read)
        return example

    def records(self, pictures: int) -> int:
        """How many different records the first pictures show."""
        return len(set(self._shown[:pictures]))


class _Value(NamedTuple):
    """A value: its unit and its size (a class's name, or a number), its words, and its extent."""

    unit: str
    size: Any
    words: int
    extent: Extent | None


def _listed(raw: Any) -> tuple[Any, ...]:
    return tuple(raw) if isinstance(raw, OneOf) else (raw,)


def _value(modality: Modality, raw: Any) -> _Value:
    fed, extent = modality.show(modality.prepare(raw)), modality.extent(raw)
    if isinstance(fed, str):
        return _Value("class", raw, len(fed.split()), extent)  # or words, if not all are classes
    fed = np.asarray(fed)
    if fed.ndim == 1:
        return _Value("seconds", len(fed) / SAMPLE_RATE, 0, extent)
    return _Value("pixels", max(fed.shape[:2], default=0), 0, extent)


def _counts(records: list[list[_Value]], classes: set[str]) -> Counts:
    found = [value for record in records for value in record]
    unit, sizes = found[0].unit if found else "", [value.size for value in found]
    if unit == "class" and not classes.issuperset(sizes):
        unit, sizes = "words", [value.words for value in found]
    extents = [value.extent for value in found if value.extent is not None]
    return Counts(len(records), len(sizes), unit, sizes, extents)


def describe(inspection: Inspection) -> list[str]:
    """A line for each modality."""
    total = inspection.records - inspection.bad
    lines = []
    for name, counts in inspection.modalities.items():
        missing = 1 - counts.present / total if total else 1.0
        line = f"{name}: {counts.present} of {total} records, {missing:.1%} missing"
        if counts.values > counts.present:
            line += f", {counts.values / counts.present:.1f} values a record"
        line = f"{line}, {_spread(counts)}" if counts.sizes else line
        cut = _cut(counts.extents)
        lines.append(f"{line}; {cut}" if cut else line)
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


def account(source: Source, config: ConfigDict, params: Any) -> str:
    """Returns a line on what is about to be trained, and on what; steps come after compilation."""
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    device = jax.devices()[0].device_kind
    bad = f" ({len(source.bad)} bad ones of the data set left out)" if source.bad else ""
    return (
        f"{config.generator.name}: {count:,} parameters, {len(source):,} records of"
        f" {config.data.name}/{config.data.split}{bad}, {jax.device_count()} x {device};"
        " compiling the first step"
    )


def extents(
    config: ConfigDict, modalities: Mapping[str, Modality], source: Source, records: int = MEASURED
) -> list[str]:
    """A line for each modality whose values are cut, or whose length was chosen from the data.

    Args:
      config: the run's.
      modalities: the model's.
      source: what it is trained on.
      records: how many are looked at.
    """
    lines = []
    for name, modality in modalities.items():
        found = []
        for raw in values_of(source, name, records):
            try:
                extent = modality.extent(raw)
            except InputError:  # training names it, or skips it
                continue
            if extent is None:
                break
            found.append(extent)
        open_keys = [
            k
            for k in MODALITIES[config.modalities[name].kind].left_open
            if not config.modalities[name][k]
        ]
        if cut := _cut(found):
            lines.append(f"{name}: {cut}")
        elif found and open_keys:
            room = f"{found[0].room:.4g} {found[0].unit}"
            lines.append(f"{name}: {room}, chosen for this data, hold all of {len(found)} values")
    return lines


def _cut(extents: Sequence[Extent]) -> str:
    """How many values are cut, by how much and where to change it; nothing if none is."""
    cut = [extent for extent in extents if extent.cut]
    if not cut:
        return ""
    blank = sum(extent.blank for extent in cut)
    left = f", {blank} of them to what is blank" if blank else ""
    return (
        f"{len(cut)} of {len(extents)} ({len(cut) / len(extents):.1%}) are cut to"
        f" {cut[0].room:.4g} {cut[0].unit}{left}; {_remedy(cut)}"
    )


def _remedy(cut: Sequence[Extent]) -> str:
    """What to type so that nothing of these is cut, or that nothing can be."""
    needed = math.ceil(10 * max(extent.whole for extent in cut)) / 10
    value = int(needed) if needed.is_integer() else needed  # a whole one is never typed as 5e+06
    key, allowed = cut[0].key, cut[0].declared.refusal(value)
    if allowed is None:
        return f"--config.{key}={value} would hold all"
    return (
        f"no allowed value of --config.{key} would hold all: the longest needs {value};"
        f" allowed: {allowed}"
    )


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
