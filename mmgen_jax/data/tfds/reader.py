"""Reading a prepared TFDS data set with random access, without TensorFlow."""

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from mmgen_jax.data import BadRecord
from mmgen_jax.errors import InputError, expanded
from mmgen_jax.storage import read_json

INFO = "dataset_info.json"
FEATURES = "features.json"
# What TFDS takes the name of a class from, and the parts of a path.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")
_PATH_KEYS = ("name", "filepathTemplate", "filepath_template", "configName", "config_name")
_FEATURE_CLASSES = {
    f"{feature.__module__}.{feature.__name__}"
    for feature in vars(tfds.features).values()
    if isinstance(feature, type) and issubclass(feature, tfds.features.FeatureConnector)
}
_UNPARSED = tfds.decode.DeserializeMethod.RAW_BYTES
_VERSION = r"\d+\.\d+\.\d+"
_NAME = re.compile(rf"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>{_VERSION}))?")


def read_info(path: str, remedy: str) -> tfds.core.DatasetInfo:
    """Reads the metadata of a prepared data set, and none of its records.

    Args:
      path: the folder that holds `dataset_info.json` or one for each version, or a full name as
        TFDS spells it (`NAME[/CONFIG][:VERSION]`), which is looked for where TFDS prepares data
        sets: $TFDS_DATA_DIR, or ~/tensorflow_datasets. Without a version the newest is taken.
      remedy: the command that makes the data set, for the error message.

    Raises:
      InputError: if there is none, or its metadata cannot be read.
    """
    folder = _folder(path)
    if folder is None:
        raise InputError(f"no data set in {path}{_elsewhere(path)}; make it: {remedy}")
    try:
        _check_metadata(folder)
        return tfds.builder_from_directory(str(folder)).info
    except Exception as error:  # whatever a broken file makes TFDS raise
        raise InputError(f"cannot read the data set in {folder}: {_reason(error)}") from error


def _check_metadata(folder: Path) -> None:
    """Raises ValueError if the metadata name code to be imported, or files outside the folder.

    TFDS imports the module of whatever class a feature names.
    """
    for key, value in _strings(read_json(folder / FEATURES)):
        if key in _CLASS_KEYS and value not in _FEATURE_CLASSES:
            raise ValueError(
                f"{FEATURES} names the class {value!r}; allowed: those of tfds.features"
            )
    for key, value in _strings(read_json(folder / INFO)):
        if key in _PATH_KEYS and (set(re.split(r"[/\\\\]", value)) & {"", ".."} or "://" in value):
            raise ValueError(f"{INFO}: {key} {value!r} leads out of the folder")


def _strings(content: Any) -> Iterator[tuple[str, str]]:
    """Yields (key, string) of all strings in a tree of JSON, those in JSON within them included."""
    left = [("", content)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(key, item) for item in value]
        elif isinstance(value, str):
            yield key, value
            try:
                inner = json.loads(value) if value.lstrip()[:1] in ("{", "[") else None
            except ValueError:  # no JSON, but a text
                continue
            left.append((key, inner))


def _folder(path: str) -> Path | None:
    given, match = expanded(path), _NAME.fullmatch(path)
    if (given / INFO).is_file():
        return given
    versions = _versions(given)
    if match and not versions:
        versions = _versions(_root() / match["name"] / (match["config"] or ""))
    newest = max(versions, key=lambda name: [*map(int, name.split("."))], default=None)
    return versions.get((match and match["version"]) or newest)


def _root() -> Path:
    return expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def _versions(folder: Path) -> dict[str, Path]:
    found = [each.parent for each in folder.glob(f"*/{INFO}")]
    return {each.name: each for each in found if re.fullmatch(_VERSION, each.name)}


def _elsewhere(path: str) -> str:
    """Where else a name was looked for, and what of that name is there, for the error message."""
    match = _NAME.fullmatch(path)
    if not match:
        return ""
    folder = _root() / match["name"]
    found = sorted(each.parent.relative_to(_root()) for each in folder.glob(f"**/{INFO}"))
    names = ", ".join(f"{each.parent}:{each.name}" for each in found)
    return f", nor {path} in {_root()}" + (f" (there: {names})" if names else "")


class TfdsRecords:
    """The records of one split, by number.

    Pictures stay encoded, so that who does not look at one does not pay for it; strings are bytes.
    """

    def __init__(
        self, info: tfds.core.DatasetInfo, split: str, features: Collection[str] | None = None
    ):
        """Opens a split.

        Args:
          info: from `read_info`.
          split: a split's name, or a part in TFDS's notation, such as "train[:10%]".
          features: those that are read, by their outermost names, as parsing the others may take
            most of the time; None for all.

        Raises:
          InputError: if there is no such split, it is empty, or its files have no random access.
        """
        try:
            self._files = info.splits[split].file_instructions
            builder = tfds.builder_from_directory(info.data_dir)
            self._records = builder.as_data_source(split, deserialize_method=_UNPARSED)
            if not len(self._records):  # which itself is a ValueError for train[3:1]
                raise ValueError(split)
        except NotImplementedError as error:
            raise InputError(
                f"{info.data_dir} has no random access; prepare it with --file_format=array_record"
            ) from error
        except (ValueError, KeyError) as error:
            names = ", ".join(info.splits)
            raise InputError(
                f"no split {split!r}, or an empty one, in {info.data_dir}; "
                f"allowed: {names}, or a part, such as train[:10%]"
            ) from error
        read = {k: v for k, v in info.features.items() if features is None or k in features}
        self._features = tfds.features.FeaturesDict(read)
        self._decoders = _decoders(self._features)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The features of record `index`.

        Raises:
          BadRecord: if the file is missing or damaged there.
          IndexError: if there is no such record.
        """
        index = range(len(self))[index]
        try:
            record = self._records[index]
            if not record:  # so is a file read that is cut between two blocks
                raise ValueError("the record is empty: its file is cut off")
            return self._features.deserialize_example_np(record, decoders=self._decoders)
        except Exception as error:  # array_record, protobuf and TFDS share no base class
            raise BadRecord(self.where(index), _reason(error)) from error

    def where(self, index: int) -> str:
        """Names the file of a record and its place in it, for error messages."""
        for file in self._files:
            if index < file.take:
                return f"{file.filename}, record {file.skip + index}"
            index -= file.take
        raise IndexError(index)


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves pictures encoded, those of a sequence too."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


def _decoders(feature: Any) -> Any:
    """How its parts are read, in the same structure; None for a feature without a picture."""
    if isinstance(feature, tfds.features.Image):
        return _Encoded()
    if isinstance(feature, tfds.features.Sequence):
        return _decoders(feature.feature)
    if isinstance(feature, tfds.features.FeaturesDict):
        found = {key: _decoders(inner) for key, inner in feature.items()}
        return {key: decoder for key, decoder in found.items() if decoder is not None} or None
    return None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
