"""Where examples come from: the protocol of a data source, and the registry of sources.

Nothing here imports jax: a config is checked against its data before jax is loaded.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from ml_collections import ConfigDict

from mmgen_jax.errors import InputError
from mmgen_jax.registry import Registry
from mmgen_jax.schema import (
    MOST_SIDE,
    NAMES,
    NOT_EMPTY,
    PATH,
    SEED,
    Rule,
    between,
    name_in,
    one_of,
    option,
    read_options,
)

PROCESSES = between(0, 1_024)
KINDS = ("text", "label", "audio", "image")  # of modalities; see `Record.values`


class Record:
    """One example as it is on disk; its parts are decoded when they are asked for.

    Attributes:
      image: uint8 [height, width, 3], the picture to generate.
      values: the raw value of each input that this record has, by name. An input that the record
        lacks has no entry. By kind, text: a non-empty str; label: the class's name (str);
        audio: float32 [samples], mono, 16 kHz, in [-1, 1]; image: uint8 [height, width, 3].
        `OneOf` several of them, where the record has more than one.
      latents: float32 [rows, columns, channel], a tokenizer's of the picture, which stand for it;
        None where there are none.
    """

    def __init__(
        self,
        image: np.ndarray | Callable[[], np.ndarray],
        values: Mapping[str, Any],
        latents: Callable[[], np.ndarray] | None = None,
    ):
        """`image` is the picture, or a function that decodes it; `values` may be `Lazy`."""
        self._image, self.values, self._latents = image, values, latents

    @property
    def image(self) -> np.ndarray:
        return self._image() if callable(self._image) else self._image

    @property
    def latents(self) -> np.ndarray | None:
        return self._latents() if self._latents else None


class Lazy(Mapping[str, Any]):
    """A mapping whose values are computed each time they are asked for."""

    def __init__(self, compute: Mapping[str, Callable[[], Any]]):
        self._compute = compute

    def __getitem__(self, key: str) -> Any:
        return self._compute[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._compute

    def __iter__(self) -> Iterator[str]:
        return iter(self._compute)

    def __len__(self) -> int:
        return len(self._compute)


class OneOf(tuple):
    """Raw values that are as good as one another, such as a picture's captions: at least one.

    Every example draws one of them (`pipeline.drawn`).
    """


class BadRecord(InputError):
    """A record that cannot be used.

    Attributes:
      where: its file and its place in it.
      reason: what is wrong with it.
    """

    def __init__(self, where: str, reason: str):
        super().__init__(where, reason)  # as they are, so that a process can hand it to another
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"

    @property
    def kind(self) -> str:
        """The reason without what is particular to this record: quoted words and numbers."""
        return re.sub(r"'[^']*'|\"[^\"]*\"|(?<![\w-])-?\d+", "...", self.reason)


class BadRecords(InputError):
    """All records of a data set that cannot be used."""

    def __init__(self, bad: Sequence[BadRecord], total: int, where: str):
        super().__init__(
            f"{len(bad)} of {total} records of {where} are bad; mend or remove them, or train on"
            " the others with --config.data.on_bad_record=skip"
        )
        self.bad, self.total, self.where = tuple(bad), total, where
        self.details = tuple(map(str, bad))

    @classmethod
    def joined(cls, parts: Sequence["BadRecords"], where: str) -> "BadRecords":
        """Those of several parts of a data set, each record once."""
        bad = {record.where: record for part in parts for record in part.bad}
        totals = {part.where: part.total for part in parts}  # splits may share their lines
        return cls(list(bad.values()), sum(totals.values()), where)


class SourceInfo(NamedTuple):
    """What a data set holds, known without reading its records.

    Attributes:
      modalities: names of the inputs that its records can have.
      splits: names of its splits.
      classes: by input that is a label, its classes in order, as `names.normalized` spells them.
    """

    modalities: tuple[str, ...]
    splits: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes of input `label`; empty without it."""
        return self.classes.get("label", ())


@runtime_checkable
class Source(Protocol):
    """One split of a data set, with random access.

    Attributes:
      info: what the data set holds.
      bad: records that were found to be bad when the split was opened; they have no index.
    """

    info: SourceInfo
    bad: tuple[BadRecord, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """Record `index`.

        Raises:
          BadRecord: here, or when a part of the record is asked for, if it cannot be read.
          IndexError: if there is no such record.
        """
        ...

    def where(self, index: int) -> str:
        """Names the file of a record and its place in it, for people."""
        ...


def choose(count: int, total: int) -> list[int]:
    """Chooses at most `count` of the numbers 0 to `total` - 1 by a hash of each number.

    A stride would follow any order that the data has: of two alternating languages every second
    record is in one of them. The choice is the same on every machine, a smaller one is the
    beginning of a larger one, and it hardly changes as records are appended. Where all are wanted
    they come in order.
    """
    if count >= total:
        return list(range(total))
    numbers = hashes = np.zeros(0, np.uint64)
    for start in range(0, total, _HASHED):
        more = np.arange(start, min(start + _HASHED, total), dtype=np.uint64)
        numbers, hashes = np.append(numbers, more), np.append(hashes, _hash(more))
        if len(hashes) > count:
            nearest = np.argpartition(hashes, max(count - 1, 0))[:count]
            numbers, hashes = numbers[nearest], hashes[nearest]
    return numbers[np.argsort(hashes)].tolist()


_HASHED = 1 << 20  # numbers at once: bounds memory


def _hash(numbers: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele et al. 2014), which gives no two numbers one hash."""
    bits = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def values_of(source: Source, modality: str, records: int) -> Iterator[Any]:
    """Yields raw values of one modality, from at most so many records; see `choose`.

    All of a record's captions count, not one. Bad records are left out: whoever trains on them
    says so.
    """
    for index in sorted(choose(records, len(source))):
        try:
            value = source[index].values.get(modality)
        except BadRecord:
            continue
        if value is not None:
            yield from value if isinstance(value, OneOf) else (value,)


class Preset(NamedTuple):
    """What a data set's inputs need, which recipes would have to be told otherwise.

    Attributes:
      content: what its images show, for recipes that treat it in its own way: "shapes",
        "handwriting", "icons" or "photographs".
      languages: of its captions, where a recipe names none; empty for all.
      inputs: (number of languages, 0 for all) -> by kind of modality, options of a tiny model.
      lengths: by kind, options that hold how long its inputs are, for models of any size.
    """

    content: str = "photographs"
    languages: tuple[str, ...] = ()
    inputs: Callable[[int], Mapping[str, Mapping[str, Any]]] = lambda languages: {}
    lengths: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class SourceSpec(NamedTuple):
    """What the registry holds for one kind of data set.

    Attributes:
      describe: (options) -> SourceInfo; reads metadata only. Raises InputError if the data set is
        not there, saying how to make it.
      open: (options, split) -> Source.
      lacking: (options, an input that `describe` does not have) -> what the records have instead
        and the flag that may give it, for an error message; empty if there is nothing to say.
      preset: what a recipe's `size=` need not say of it.
    """

    describe: Callable[["DataOptions"], SourceInfo]
    open: Callable[["DataOptions", str], Source]
    lacking: Callable[["DataOptions", str], str] = lambda options, name: ""
    preset: Preset = Preset()


SOURCES: Registry[SourceSpec] = Registry(
    "data set",
    {
        "shapes": "mmgen_jax.data.shapes:SHAPES",
        "emoji": "mmgen_jax.data.tfds.source:EMOJI",
        "digits": "mmgen_jax.data.tfds.source:DIGITS",
        "folder": "mmgen_jax.data.folder.source:FOLDER",
        "tfds": "mmgen_jax.data.tfds.source:TFDS",
        "cifar10": "mmgen_jax.data.tfds.source:CIFAR10",
        "oxford_flowers102": "mmgen_jax.data.tfds.source:FLOWERS",
        "caltech_birds2011": "mmgen_jax.data.tfds.source:BIRDS",
        "coco_captions": "mmgen_jax.data.tfds.source:COCO",
    },
)


@dataclass(frozen=True)
class DataOptions:
    """Which data set, and what of it: the group `data` of a config.

    Attributes:
      features: by input, the feature of the data set that gives it; empty where the data set's own
        choice holds.
      kinds: by input, its kind of modality.
    """

    name: str = option("shapes", "data set", name_in(SOURCES))
    path: str = option(
        "", "folder of the data set, or full name of a TFDS one; empty: its own place", PATH
    )
    target: str = option("", "feature that is the picture to generate; as data.features", PATH)
    languages: tuple[str, ...] = option(
        (), "of captions, where there are several; empty: all", NAMES
    )
    image_size: int = option(
        32, "height and width that the model draws, in pixels", between(8, MOST_SIDE)
    )
    image_width: int = option(
        0,
        "width where it is not the height; 0: it is",
        Rule(lambda v: v == 0 or 8 <= v <= MOST_SIDE, f"0, or at least 8, at most {MOST_SIDE}"),
    )
    split: str = option("train", "split to train on", NOT_EMPTY)
    seed: int = option(0, "of procedural data and of the order of examples", SEED)
    on_bad_record: str = option("raise", "what a bad record does", one_of("raise", "skip"))
    threads: int = option(
        4, "that each process has for reading and preparing records; 0: its own", PROCESSES
    )
    workers: int = option(0, "processes that do so for this one; 0: none but itself", PROCESSES)
    features: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(KINDS, ""))
    kinds: Mapping[str, str] = field(default_factory=lambda: {kind: kind for kind in KINDS})

    @classmethod
    def of(cls, config: ConfigDict) -> "DataOptions":
        """Returns those of a config, whose inputs may be of any name."""
        inputs = config.modalities.items()
        kinds = {name: group.kind for name, group in inputs if isinstance(group, ConfigDict)}
        features = config.data.features.to_dict()
        return read_options(cls, config.data, features=features, kinds=kinds)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width that pictures are brought to."""
        return self.image_size, self.image_width or self.image_size

    def describe(self) -> SourceInfo:
        """What the data set holds; see `SourceSpec.describe`."""
        return SOURCES[self.name].describe(self)

    def open(self, split: str) -> Source:
        """A split of it; see `SourceSpec.open`."""
        return SOURCES[self.name].open(self, split)


def image_shape(options: ConfigDict) -> tuple[int, int]:
    """Height and width that pictures are brought to; `options` is the config's group `data`."""
    return options.image_size, options.image_width or options.image_size
