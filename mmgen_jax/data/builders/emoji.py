"""Builds the emoji data set: pictures from a font, names from CLDR, speech from espeak-ng."""

import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from mmgen_jax.data.builders.catalogue import Emoji, read_catalogue, shuffled, splits, stable_hash
from mmgen_jax.data.builders.cldr import read_names
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.data.builders.speech import speak
from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.builders.writer import Card, write
from mmgen_jax.errors import InputError

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CLDR = "/usr/share/unicode/cldr/common"
EMOJI_TEST = "/usr/share/unicode/emoji/emoji-test.txt"
IMAGE_SIZES = range(8, 513)
VERSION = "1.0.0"
_CHUNK = 256

_DESCRIPTION = """\
Pictures of all fully-qualified emoji of Unicode, on white, with their names.
text: the English name. captions: the names in the languages that were asked for. label: the group.
base: the emoji without skin tone and gender; the variants of a base, and emoji with equal pictures,
are all in one split. The records are in a fixed random order, so that any part is a sample."""

_LICENSE = """\
Pictures: Noto Color Emoji, SPDX OFL-1.1 (SIL Open Font License 1.1, https://openfontlicense.org).
The font that was used says of itself:
{notice}

Names: Unicode CLDR and Unicode emoji data, SPDX Unicode-DFS-2016
(https://www.unicode.org/license.txt). Copyright 1991-2022 Unicode, Inc.
"""

_README = """\
# emoji

{description}

Made by mmgen_jax (`launch/build_dataset.py --dataset=emoji`). The licences are in `LICENSE`, the
counts in `summary.json`. To read it without mmgen_jax (TensorFlow is not needed):

    import tensorflow_datasets as tfds
    records = tfds.builder_from_directory("this folder").as_data_source("train")
"""


class Inputs(NamedTuple):
    """All that the records are made of.

    Attributes:
      emojis: the whole catalogue, in Unicode's order.
      glyphs: the font.
      names: by language, then by `Emoji.key`; English among them.
      languages: of the captions, in their order.
    """

    emojis: list[Emoji]
    glyphs: Glyphs
    names: dict[str, dict[str, str]]
    languages: tuple[str, ...]

    def name(self, emoji: Emoji, language: str) -> str | None:
        """The emoji's name; None if the language has none (English has one for each)."""
        missing = emoji.name if language == "en" else None
        return self.names[language].get(emoji.key, missing)


def build(
    out: str | Path,
    *,
    overwrite: bool = False,
    font: str = FONT,
    cldr: str = CLDR,
    emoji_test: str = EMOJI_TEST,
    image_size: int = 64,
    languages: Sequence[str] = ("en",),
    speech: bool = False,
    limit: int | None = None,
) -> dict[str, Any]:
    """Builds the emoji data set in TFDS format (array_record) in the folder `out`.

    The folder appears whole or not at all. Same inputs, same records, in the same order.

    Args:
      out: the data set's folder.
      overwrite: whether to replace a data set that is there.
      font: a colour bitmap font (CBDT), such as Noto Color Emoji.
      cldr: CLDR's folder `common`.
      emoji_test: Unicode's `emoji-test.txt`.
      image_size: height and width of the pictures, in pixels.
      languages: CLDR locales of the captions. The feature `text` is English in any case.
      speech: whether each record has its English name spoken too.
      limit: builds only so many records, a random sample that is always the same; None for all.

    Returns:
      What is in `summary.json`: dataset, records, splits, unique_pictures, seconds and so on.

    Raises:
      InputError: if an input is missing or broken, or `out` must not be replaced.
    """
    start = time.perf_counter()
    if image_size not in IMAGE_SIZES:
        raise InputError(f"--image_size={image_size}: allowed: 8 to 512")
    if limit is not None and limit < 1:
        raise InputError(f"--limit={limit}: allowed: 1 or more")
    inputs = read_inputs(font, cldr, emoji_test, languages)
    with staged(Path(out), overwrite) as folder:
        records = Records(inputs, image_size, speech, limit)
        counts = write(folder, _card(inputs.glyphs), records.features, records.splits())
        summary = {
            "dataset": "emoji",
            "records": sum(counts.values()),
            "splits": counts,
            "unique_pictures": len(records.pictures),
            "image_size": image_size,
            "languages": list(inputs.languages),
            "speech": speech,
            "seconds": round(time.perf_counter() - start, 2),
        }
        (folder / "README.md").write_text(_README.format(description=_DESCRIPTION), "utf-8")
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return summary


def read_inputs(font: str, cldr: str, emoji_test: str, languages: Iterable[str]) -> Inputs:
    """Reads the three inputs.

    Raises:
      InputError: if one is missing (with the Debian package that has it) or broken.
    """
    font_path = _existing("font", font, "fonts-noto-color-emoji")
    cldr_path = _existing("cldr", cldr, "unicode-cldr-core")
    emoji_test_path = _existing("emoji_test", emoji_test, "unicode-data")
    languages = tuple(dict.fromkeys(language.replace("-", "_") for language in languages))
    names = {language: read_names(cldr_path, language) for language in {"en", *languages}}
    return Inputs(read_catalogue(emoji_test_path), Glyphs(font_path), names, languages)


def _existing(flag: str, value: str, package: str) -> Path:
    if not Path(value).exists():
        raise InputError(
            f"--{flag}={value} is not there; install Debian package {package}, or give its path"
        )
    return Path(value)


class Records:
    """The records, made while they are written; counts the unique pictures meanwhile."""

    def __init__(self, inputs: Inputs, image_size: int, speech: bool, limit: int | None):
        self._inputs, self._image_size, self._speech = inputs, image_size, speech
        self._chosen = shuffled(inputs.emojis)[:limit]
        self.pictures: set[bytes] = set()

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """What a record holds."""
        text, label = tfds.features.Text, tfds.features.ClassLabel
        shape = (self._image_size, self._image_size, 3)
        features = {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "text": text(doc="the name in English"),
            "captions": tfds.features.Sequence({"language": text(), "text": text()}),
            "label": label(names=_distinct(emoji.group for emoji in self._inputs.emojis)),
            "subgroup": label(names=_distinct(emoji.subgroup for emoji in self._inputs.emojis)),
            "emoji": text(doc="the fully-qualified emoji"),
            "base": text(doc="the emoji without skin tone, gender and U+FE0F"),
        }
        if self._speech:  # "bytes" is ten times as fast as the default
            spoken = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
            features["audio"] = spoken
        return tfds.features.FeaturesDict(features)

    def splits(self) -> dict[str, Iterator[dict[str, Any]]]:
        """The records of each split; one progress bar goes through all."""
        emojis = self._inputs.emojis
        # Which split, from the whole catalogue: a limit must not move an emoji to another split.
        bitmaps = [self._inputs.glyphs.png(emoji.characters) for emoji in emojis]
        split_of = splits(emojis, bitmaps)
        progress = tqdm(total=len(self._chosen), desc="emoji", unit="record", disable=None)
        return {
            split: self._records([e for e in self._chosen if split_of[e.base] == split], progress)
            for split in ("train", "test")
        }

    def _records(self, emojis: list[Emoji], progress: tqdm) -> Iterator[dict[str, Any]]:
        # Threads, because Pillow and espeak-ng work without the interpreter's lock; chunks, because
        # what is made ahead is held in memory, and waited for if the build is interrupted.
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(emojis), _CHUNK):
                for record in pool.map(self._record, emojis[start : start + _CHUNK]):
                    yield record
                    progress.update()

    def _record(self, emoji: Emoji) -> dict[str, Any]:
        inputs = self._inputs
        picture = inputs.glyphs.picture(emoji.characters, self._image_size)
        self.pictures.add(picture.tobytes())
        captions = {language: inputs.name(emoji, language) for language in inputs.languages}
        text = inputs.name(emoji, "en")
        record = {
            "image": _png(picture),
            "text": text,
            "captions": [{"language": key, "text": name} for key, name in captions.items() if name],
            "label": emoji.group,
            "subgroup": emoji.subgroup,
            "emoji": emoji.characters,
            "base": emoji.base,
        }
        if self._speech:
            record["audio"] = speak(text, speaker=stable_hash("voice", emoji.characters))
        return record


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _png(picture: Image.Image) -> io.BytesIO:
    """TFDS encodes arrays with TensorFlow only; it takes encoded files as they are."""
    file = io.BytesIO()
    picture.save(file, "png")
    file.seek(0)
    return file


def _card(glyphs: Glyphs) -> Card:
    return Card("emoji", VERSION, _DESCRIPTION, _LICENSE.format(notice=glyphs.notice))
