"""Where examples come from: the protocol of a data source, and the registry of sources.

Nothing here imports jax: a config is checked against its data before jax is loaded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mmgen_jax.registry import Registry


class Record(NamedTuple):
    """One example as it is on disk.

    Attributes:
      image: uint8 [height, width, 3], the picture to generate.
      values: the raw value of each modality that this record has, by name. A modality that the
        record lacks has no entry. text: a non-empty str; label: the class's name (str);
        audio: float32 [samples], mono, 16 kHz, in [-1, 1]; image: uint8 [height, width, 3].
    """

    image: np.ndarray
    values: dict[str, Any]


class SourceInfo(NamedTuple):
    """What a data set holds, known without reading its records.

    Attributes:
      modalities: names of the modalities that its records can have.
      splits: names of its splits.
      label_names: the classes of modality `label`, in order; empty without that modality.
    """

    modalities: tuple[str, ...]
    splits: tuple[str, ...]
    label_names: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """One split of a data set, with random access.

    `source[i]` raises InputError, with the file, the record and the reason, for a bad record.
    """

    info: SourceInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class SourceSpec(NamedTuple):
    """What the registry holds for one kind of data set.

    `options` is the config's group `data` (name, path, image_size, ...).

    Attributes:
      describe: (options) -> SourceInfo; reads metadata only. Raises InputError if the data set is
        not there, saying how to make it.
      open: (options, split) -> Source.
    """

    describe: Callable[[Any], SourceInfo]
    open: Callable[[Any, str], Source]


SOURCES = Registry(
    "data set",
    {
        "shapes": "mmgen_jax.data.shapes:SHAPES",
        "emoji": "mmgen_jax.data.emoji:EMOJI",
    },
)
