"""A tokenizer's latents of a data set's pictures, made once and kept beside the data set.

The folder holds array_record files in TFDS's format, for the records of one split in their order.
`mmgen_jax.training.latent_cache` makes it.
"""

import shlex
from functools import partial

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from mmgen_jax.data import BadRecord, Record, Source
from mmgen_jax.data.tfds.reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError

FEATURE = "latents"
SPLIT = "latents"  # what the folder calls the records, whichever they are
_REMEDY = "python launch/encode_dataset.py --config=RECIPE --out={path}"


def features(shape: tuple[int, int, int]) -> tfds.features.FeaturesDict:
    """What a record holds: latents of this shape, halves, as their deviation is about 1."""
    tensor = tfds.features.Tensor(shape=shape, dtype=np.float16, encoding="bytes")
    return tfds.features.FeaturesDict({FEATURE: tensor})


class LatentSource:
    """Another source, whose records have their latents too; a `mmgen_jax.data.Source`."""

    def __init__(self, source: Source, folder: str, shape: tuple[int, int, int]):
        """Opens the latents of a split.

        Args:
          source: the split itself.
          folder: where its latents are.
          shape: of what the tokenizer makes of a picture.

        Raises:
          InputError: if there are none, or not of so many records or of that shape.
        """
        self._source, self.info, self.bad = source, source.info, source.bad
        info = read_info(folder, _REMEDY.format(path=shlex.quote(folder)))
        self._records = TfdsRecords(info, SPLIT)
        found = info.features[FEATURE].shape if FEATURE in info.features else None
        if (found, len(self._records)) != (shape, len(source)):
            raise InputError(
                f"config.tokenizer.latents = {folder!r} has {len(self._records)} latents of shape"
                f" {found}; allowed: {len(source)} of shape {shape}, as this data and tokenizer ask"
            )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        """Record `index`, as the source raises for it."""
        record = self._source[index]
        return Record(lambda: record.image, record.values, partial(self._usable, index))

    def where(self, index: int) -> str:
        """The record's place in the data set itself."""
        return self._source.where(index)

    def latents(self, index: int) -> Float[np.ndarray, "rows columns channel"]:
        """Those of record `index`; not numbers where the record was bad."""
        return self._records[index][FEATURE].astype(np.float32)

    def _usable(self, index: int) -> Float[np.ndarray, "rows columns channel"]:
        latents = self.latents(index)
        if not np.isfinite(latents).all():
            raise BadRecord(self.where(index), "there are no latents of it: it was bad")
        return latents
