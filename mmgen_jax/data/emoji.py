"""The emoji data set as a data source: pictures, English names, groups, and perhaps speech.

`launch/build_dataset.py --dataset=emoji` makes it (see `mmgen_jax.data.builders.emoji`).
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from mmgen_jax.data import Record, SourceInfo, SourceSpec
from mmgen_jax.data.tfds_reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError

DEFAULT_PATH = "data/emoji"


class EmojiSource:
    """One split of the emoji data set.

    text: the English name; label: the group, such as "Food & Drink"; audio: the name, spoken.
    """

    def __init__(self, path: str, split: str):
        """Opens a split, or a part such as "train[:10%]". Raises InputError if it cannot."""
        info = _read_info(path)
        self.info = _describe(info, path)
        self._records = TfdsRecords(info, split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        """Record `index`.

        Raises:
          InputError: if the record is damaged.
          IndexError: if there is no such record.
        """
        example = self._records[index]
        try:
            return Record(_decode_image(example["image"]), self._values(example))
        except (OSError, SyntaxError, ValueError, IndexError) as error:  # Pillow raises the first 3
            raise InputError(f"{self._records.where(index)}: {error}") from error

    def _values(self, example: dict[str, Any]) -> dict[str, Any]:
        values = {
            "text": example["text"].decode(),
            "label": self.info.label_names[example["label"]],
        }
        if not values["text"].strip():
            raise ValueError("the text is empty")
        if "audio" in example:
            values["audio"] = example["audio"].astype(np.float32) / 32768
        return values


def _decode_image(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image.convert("RGB"))


def _read_info(path: str) -> Any:
    return read_info(path, f"python launch/build_dataset.py --dataset=emoji --out={path}")


def _describe(info: Any, path: str) -> SourceInfo:
    missing = {"image", "text", "label"} - set(info.features)
    if missing:
        raise InputError(f"{path} is no emoji data set: it lacks {', '.join(sorted(missing))}")
    modalities = ("text", "label") + (("audio",) if "audio" in info.features else ())
    return SourceInfo(modalities, tuple(info.splits), tuple(info.features["label"].names))


def _path(options: Any) -> str:
    return options.path or DEFAULT_PATH


def describe(options: Any) -> SourceInfo:
    """What the built data set at `options.path` holds. Raises InputError if it is not there."""
    path = _path(options)
    return _describe(_read_info(path), path)


def open_split(options: Any, split: str) -> EmojiSource:
    """Opens a split of the data set at `options.path`. Raises InputError if it is not there."""
    return EmojiSource(_path(options), split)


EMOJI = SourceSpec(describe, open_split)
