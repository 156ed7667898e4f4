"""Reading a prepared TFDS data set with random access, without TensorFlow."""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from mmgen_jax.errors import InputError


def read_info(path: str, remedy: str) -> tfds.core.DatasetInfo:
    """Reads the metadata of the data set in the folder `path`, and none of its records.

    Args:
      path: the folder that holds `dataset_info.json`.
      remedy: the command that makes the data set, for the error message.

    Raises:
      InputError: if there is none, or its metadata cannot be read.
    """
    if not (Path(path) / "dataset_info.json").is_file():
        raise InputError(f"no data set in {path}; make it: {remedy}")
    try:
        return tfds.builder_from_directory(path).info
    except Exception as error:  # whatever a broken file makes TFDS raise
        raise InputError(f"cannot read the data set in {path}: {_reason(error)}") from error


class TfdsRecords:
    """The records of one split, by number.

    Pictures stay encoded, so that who does not look at one does not pay for it; strings are bytes.
    """

    def __init__(self, info: tfds.core.DatasetInfo, split: str):
        """Opens a split.

        Args:
          info: from `read_info`.
          split: a split's name, or a part in TFDS's notation, such as "train[:10%]".

        Raises:
          InputError: if there is no such split, or it is empty.
        """
        images = (key for key, f in info.features.items() if isinstance(f, tfds.features.Image))
        decoders = dict.fromkeys(images, tfds.decode.SkipDecoding())
        try:
            self._files = info.splits[split].file_instructions
            builder = tfds.builder_from_directory(info.data_dir)
            self._records = builder.as_data_source(split, decoders=decoders)
        except (ValueError, KeyError) as error:
            names = ", ".join(info.splits)
            raise InputError(
                f"no split {split!r}, or an empty one, in {info.data_dir}; "
                f"allowed: {names}, or a part, such as train[:10%]"
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The features of record `index`.

        Raises:
          InputError: if the file is missing or damaged there.
          IndexError: if there is no such record.
        """
        index = range(len(self))[index]
        try:
            return self._records[index]
        except Exception as error:  # array_record, protobuf and TFDS share no base class
            raise InputError(f"{self.where(index)}: {_reason(error)}") from error

    def where(self, index: int) -> str:
        """Names the file of a record and its place in it, for error messages."""
        for file in self._files:
            if index < file.take:
                return f"{file.filename}, record {file.skip + index}"
            index -= file.take
        raise IndexError(index)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
