"""Where examples come from: the protocol of a data source, and the registry of sources.

Nothing here imports jax: a config is checked against its data before jax is loaded.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mmgen_jax.errors import InputError
from mmgen_jax.registry import Registry


class Record:
    """One example as it is on disk; its parts are decoded when they are asked for.

    Attributes:
      image: uint8 [height, width, 3], the picture to generate.
      values: the raw value of each modality that this record has, by name. A modality that the
        record lacks has no entry. text: a non-empty str; label: the class's name (str);
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
      modalities: names of the modalities that its records can have.
      splits: names of its splits.
      label_names: the classes of modality `label`, in order, as `names.normalized` spells them;
        empty without that modality.
    """

    modalities: tuple[str, ...]
    splits: tuple[str, ...]
    label_names: tuple[str, ...] = ()


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


def image_shape(options: Any) -> tuple[int, int]:
    """Height and width that pictures are brought to; `options` is the config's group `data`."""
    return options.image_size, options.image_width or options.image_size


class SourceSpec(NamedTuple):
    """What the registry holds for one kind of data set.

    `options` is the config's group `data` (name, path, image_size, ...).

    Attributes:
      describe: (options) -> SourceInfo; reads metadata only. Raises InputError if the data set is
        not there, saying how to make it.
      open: (options, split) -> Source.
      lacking: (options, a modality that `describe` does not have) -> what the records have instead
        and the flag that may give it, for an error message; empty if there is nothing to say.
    """

    describe: Callable[[Any], SourceInfo]
    open: Callable[[Any, str], Source]
    lacking: Callable[[Any, str], str] = lambda options, modality: ""


SOURCES = Registry(
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
