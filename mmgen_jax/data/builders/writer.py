"""Writing a data set in TFDS format, without TensorFlow."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

RECORDS_PER_SHARD = 4096


class Card(NamedTuple):
    """What a data set says of itself; `version` is "major.minor.patch_size"."""

    name: str
    version: str
    description: str
    license: str


def write(
    folder: Path,
    card: Card,
    features: tfds.features.FeaturesDict,
    splits: Mapping[str, Iterable[dict[str, Any]]],
) -> dict[str, int]:
    """Writes the splits one after the other, as array_record files with random access.

    `tfds.builder_from_directory(folder)` reads them. Their order is kept.

    Returns:
      The number of records of each split.
    """
    identity = tfds.core.DatasetIdentity(
        name=card.name,
        version=tfds.core.Version(card.version),
        data_dir=str(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=features,
        description=card.description,
        license=card.license,
    )
    writer = tfds.core.SequentialWriter(info, RECORDS_PER_SHARD, file_format="array_record")
    writer.initialize_splits(list(splits))
    for name, records in splits.items():
        writer.add_examples({name: records})
    writer.close_all()
    return {name: split.num_examples for name, split in info.splits.items()}
