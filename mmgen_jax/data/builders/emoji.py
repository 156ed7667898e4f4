"""Builds the emoji data set: a font's pictures, CLDR's names and keywords, speech, drawings."""

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from mmgen_jax.data.builders.catalogue import Emoji, read_catalogue, shuffled, splits
from mmgen_jax.data.builders.cldr import Annotations, Cldr
from mmgen_jax.data.builders.drawings import STYLES, Drawings
from mmgen_jax.data.builders.emoji_card import VERSION, card, readme
from mmgen_jax.data.builders.glyphs import Glyphs
from mmgen_jax.data.builders.speech import VOICES, choose_voices, speak
from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.builders.writer import write
from mmgen_jax.errors import InputError
from mmgen_jax.storage import write_json, write_text

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CLDR = "/usr/share/unicode/cldr/common"
EMOJI_TEST = "/usr/share/unicode/emoji/emoji-test.txt"
IMAGE_SIZES = range(8, 513)
_FILES = ("font", "emoji_test")  # flags; the others name folders
_CHUNK = 256
_SILENCE = np.zeros(0, np.int16)


class Inputs(NamedTuple):
    """All that the records are made of.

    Attributes:
      emojis: the whole catalogue, in Unicode's order.
      glyphs: the font.
      annotations: names and keywords by language; English among them.
      languages: of the captions, in their order.
      drawings: by feature, in other styles than the font's.
    """

    emojis: list[Emoji]
    glyphs: Glyphs
    annotations: dict[str, Annotations]
    languages: tuple[str, ...]
    drawings: dict[str, Drawings]

    def name(self, emoji: Emoji, language: str) -> str | None:
        """The emoji's name; None if the language has none (English has one for each)."""
        missing = emoji.name if language == "en" else None
        return self.annotations[language].names.get(emoji.key, missing)

    def keywords(self, emoji: Emoji, language: str) -> str | None:
        """The emoji's keywords, joined by ", "; None if the language has none."""
        return self.annotations[language].keywords.get(emoji.key)


def build(
    out: str | Path,
    *,
    overwrite: bool = False,
    font: str = FONT,
    cldr: str = CLDR,
    emoji_test: str = EMOJI_TEST,
    openmoji: str | None = None,
    twemoji: str | None = None,
    image_size: int = 64,
    languages: Sequence[str] | None = None,
    speech: bool = False,
    voices: int = 1,
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
      openmoji: the unpacked npm package `openmoji`, for the feature `sketch`; None for none.
      twemoji: the unpacked npm package `@discordapp/twemoji`, for `reference`; None for none.
      image_size: height and width of the pictures, in pixels.
      languages: CLDR locales of the captions and keywords; None for all that are complete, see
        `Cldr.languages`. The feature `text` is English in any case.
      speech: whether each record has its English name spoken too.
      voices: how many of VOICES speak each name.
      limit: builds only so many records, a random sample that is always the same; None for all.

    Returns:
      What is in `summary.json`: dataset, records, splits, unique_pictures, seconds and so on.

    Raises:
      InputError: if an input is missing or broken, or `out` must not be replaced.
    """
    start = time.perf_counter()
    _check(image_size, languages, speech, voices, limit)
    drawings = {"openmoji": openmoji, "twemoji": twemoji}
    inputs = read_inputs(font, cldr, emoji_test, languages, drawings)
    with staged(Path(out), overwrite) as folder:
        records = Records(inputs, image_size, voices if speech else 0, limit)
        features = records.features
        counts = write(folder, card(features, inputs.glyphs.notice), features, records.splits())
        summary = {
            "dataset": "emoji",
            "version": VERSION,
            "records": sum(counts.values()),
            "splits": counts,
            **records.summary(),
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_text(folder / "README.md", readme(features, summary))
        write_json(folder / SUMMARY, summary)
    return summary


def _check(
    image_size: int, languages: Sequence[str] | None, speech: bool, voices: int, limit: int | None
) -> None:
    if image_size not in IMAGE_SIZES:
        raise InputError(f"--image_size={image_size}: allowed: 8 to 512")
    if languages is not None and not languages:
        raise InputError("--languages is empty; allowed: CLDR locales, such as en,de,pt_PT")
    if not 1 <= voices <= len(VOICES):
        raise InputError(f"--voices={voices}: allowed: 1 to {len(VOICES)}")
    if voices > 1 and not speech:
        raise InputError(f"--voices={voices} does nothing without --speech")
    if limit is not None and limit < 1:
        raise InputError(f"--limit={limit}: allowed: 1 or more")


def read_inputs(
    font: str,
    cldr: str,
    emoji_test: str,
    languages: Iterable[str] | None,
    drawings: Mapping[str, str | None],
) -> Inputs:
    """Reads the inputs; `drawings` are folders by flag.

    Raises:
      InputError: if one is missing (with the package that has it) or broken.
    """
    glyphs = Glyphs(_existing("font", font, "Debian package fonts-noto-color-emoji"))
    locales = Cldr(_existing("cldr", cldr, "Debian package unicode-cldr-core"))
    emojis = read_catalogue(_existing("emoji_test", emoji_test, "Debian package unicode-data"))
    if languages is None:
        languages = locales.languages([emoji.key for emoji in emojis])
    languages = tuple(dict.fromkeys(language.replace("-", "_") for language in languages))
    annotations = {language: locales.annotations(language) for language in {"en", *languages}}
    drawn = {
        style.feature: Drawings(style, _existing(style.flag, folder, f"npm's {style.package}"))
        for style in STYLES
        if (folder := drawings[style.flag]) is not None
    }
    return Inputs(emojis, glyphs, annotations, languages, drawn)


def _existing(flag: str, value: str, package: str) -> Path:
    path = Path(value)
    if not path.exists():
        raise InputError(f"--{flag}={value} is not there; install {package}, or give its path")
    file = flag in _FILES  # reading a pipe or a device might never end
    if not (path.is_file() if file else path.is_dir()):
        raise InputError(f"--{flag}={value} is no {'file' if file else 'folder'}; see {package}")
    return path


class Records:
    """The records, made while they are written; counts what is in them meanwhile."""

    def __init__(self, inputs: Inputs, image_size: int, voices: int, limit: int | None):
        self._inputs, self._image_size, self._voices = inputs, image_size, voices
        self._chosen = shuffled(inputs.emojis)[:limit]
        self._pictures: set[bytes] = set()
        self._counts = Counter[str]()

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """What a record holds."""
        text, label = tfds.features.Text, tfds.features.ClassLabel
        emojis, languages = self._inputs.emojis, list(self._inputs.languages)
        translated = {"language": label(names=languages), "text": text()}
        features = {
            "image": self._image(3, "the emoji in the font, on white"),
            "text": text(doc="the name in English"),
            "captions": tfds.features.Sequence(translated, doc="the name in each language"),
            "keywords": tfds.features.Sequence(
                translated, doc="keywords in each language, joined by a comma and a space"
            ),
            "label": label(names=_distinct(e.group for e in emojis), doc="the group"),
            "subgroup": label(names=_distinct(e.subgroup for e in emojis), doc="the subgroup"),
            "emoji": text(doc="the fully-qualified emoji"),
            "base": text(doc="the emoji without skin tone, gender and U+FE0F"),
        }
        for feature, drawings in self._inputs.drawings.items():
            drawing = self._image(len(drawings.style.mode), drawings.style.doc)
            # A sequence of one or none: a TFDS picture cannot be absent.
            features[feature] = tfds.features.Sequence(drawing, doc=drawings.style.doc)
        if self._voices:  # "bytes" is ten times as fast as the default
            sound = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")
            features["audio"] = tfds.features.FeaturesDict(
                dict.fromkeys(VOICES, sound), doc="`text` spoken by each voice, 16 kHz; or empty"
            )
        return tfds.features.FeaturesDict(features)

    def _image(self, channels: int, doc: str) -> tfds.features.Image:
        shape = (self._image_size, self._image_size, channels)
        return tfds.features.Image(shape=shape, encoding_format="png", doc=doc)

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

    def summary(self) -> dict[str, Any]:
        """What the records hold, once they are written."""
        return {
            "unique_pictures": len(self._pictures),
            "image_size": self._image_size,
            "languages": list(self._inputs.languages),
            "number_of_languages": len(self._inputs.languages),
            "captions": self._counts["captions"],
            "keywords": self._counts["keywords"],
            "voices": self._voices,
            "sounds": self._voices * len(self._chosen),
            "sketches": self._counts["sketch"],
            "references": self._counts["reference"],
        }

    def _records(self, emojis: list[Emoji], progress: tqdm) -> Iterator[dict[str, Any]]:
        # Threads, because Pillow and espeak-ng work without the interpreter's lock; chunks, because
        # what is made ahead is held in memory, and waited for if the build is interrupted.
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(emojis), _CHUNK):
                for record in pool.map(self._record, emojis[start : start + _CHUNK]):
                    self._pictures.add(record["image"].getvalue())
                    lists = ("captions", "keywords", *self._inputs.drawings)
                    self._counts.update({key: len(record[key]) for key in lists})
                    yield record
                    progress.update()

    def _record(self, emoji: Emoji) -> dict[str, Any]:
        inputs, size = self._inputs, self._image_size
        record = {
            "image": _png(inputs.glyphs.picture(emoji.characters, size)),
            "text": inputs.name(emoji, "en"),
            "captions": self._translated(emoji, inputs.name),
            "keywords": self._translated(emoji, inputs.keywords),
            "label": emoji.group,
            "subgroup": emoji.subgroup,
            "emoji": emoji.characters,
            "base": emoji.base,
        }
        for feature, drawings in inputs.drawings.items():
            drawing = drawings.picture(emoji.key, size)
            record[feature] = [] if drawing is None else [_png(drawing)]
        if self._voices:
            chosen = choose_voices(emoji.characters, self._voices)
            said = {voice: speak(record["text"], voice) for voice in chosen}
            record["audio"] = {voice: said.get(voice, _SILENCE) for voice in VOICES}
        return record

    def _translated(
        self, emoji: Emoji, say: Callable[[Emoji, str], str | None]
    ) -> list[dict[str, str]]:
        texts = {language: say(emoji, language) for language in self._inputs.languages}
        return [{"language": key, "text": text} for key, text in texts.items() if text]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _png(picture: Image.Image) -> io.BytesIO:
    """TFDS encodes arrays with TensorFlow only; it takes encoded files as they are."""
    file = io.BytesIO()
    picture.save(file, "png")
    file.seek(0)
    return file
