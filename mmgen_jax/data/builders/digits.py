"""Builds the digits data set: a written digit, its name in one of many languages, and its sound."""

import io
import re
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tqdm import tqdm

from mmgen_jax.data.builders.staging import SUMMARY, staged
from mmgen_jax.data.builders.writer import Card, write
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import quantise, read_sound
from mmgen_jax.storage import check_file, read_json, write_json, write_text

RAW = "raw_digits"
VERSION = "1.0.0"
DIGITS = tuple("0123456789")
TEST_TAKES = range(5)  # the recordings' own convention
_BORDER = 2  # black pixels around a picture of 28 x 28
# What NumPy raises of an .npz that is none, or damaged somewhere.
_BROKEN = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
_MOST_BYTES = 2**29  # unpacked, of an array: MNIST's largest has 47 MB
_NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")

_DESCRIPTION = """\
Written digits, each with the digit's name in one language, and a person saying it in English.
image: MNIST, with a border of two black pixels. text: a number word of Unicode CLDR; language: its
code. audio: a recording of the Free Spoken Digit Dataset, resampled from 8 to 16 kHz; speaker: who.
Pictures, words and recordings of a digit are paired at random. Test pictures are MNIST's, test
recordings those numbered 0 to 4; the words are the same in both splits."""

_LICENSE = """\
Pictures: MNIST (LeCun, Cortes, Burges), SPDX CC-BY-SA-3.0.
Recordings: Free Spoken Digit Dataset (Jakobovski et al.), SPDX CC-BY-SA-4.0.
Words: Unicode CLDR, SPDX Unicode-DFS-2016 (https://www.unicode.org/license.txt).
"""

_WHERE = (
    "it holds mnist.npz (MNIST as Keras has it), recordings/DIGIT_SPEAKER_TAKE.wav (Free Spoken"
    " Digit Dataset) and number_words.json (language -> ten words)"
)


class Clip(NamedTuple):
    """One recording: float [samples] is read when it is needed."""

    samples: np.ndarray
    speaker: str


class Inputs(NamedTuple):
    """The raw inputs.

    Attributes:
      pictures: by split, uint8 [n, 28, 28].
      digits: by split, integers [n].
      words: by language, ten words.
      clips: by split, then by digit.
    """

    pictures: dict[str, np.ndarray]
    digits: dict[str, np.ndarray]
    words: dict[str, list[str]]
    clips: dict[str, dict[int, list[Clip]]]


def build(
    out: str | Path,
    *,
    overwrite: bool = False,
    raw: str = RAW,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, Any]:
    """Builds the digits data set in TFDS format (array_record) in the folder `out`.

    The folder appears whole or not at all. Same inputs, same records, in the same order.

    Args:
      out: the data set's folder.
      overwrite: whether to replace a data set that is there.
      raw: folder with mnist.npz, recordings/ and number_words.json.
      seed: of the pairing of pictures, words and recordings.
      limit: takes only so many pictures of each split, at random; None for all.

    Returns:
      What is in `summary.json`: dataset, records, splits, languages, seconds and so on.

    Raises:
      InputError: if an input is missing or broken, or `out` must not be replaced.
    """
    start = time.perf_counter()
    if limit is not None and limit < 1:
        raise InputError(f"--limit={limit}: allowed: 1 or more")
    if seed < 0:
        raise InputError(f"--seed={seed}: allowed: 0 or more")
    inputs = read_inputs(Path(raw))
    with staged(Path(out), overwrite) as folder:
        rng = np.random.default_rng(seed)
        with tqdm(desc="digits", unit="record", disable=None) as progress:
            splits = {
                split: _records(inputs, split, limit, child, progress)
                for split, child in zip(inputs.pictures, rng.spawn(2), strict=True)
            }
            card = Card("digits", VERSION, _DESCRIPTION, _LICENSE)
            counts = write(folder, card, _features(inputs), splits)
        summary = {
            "dataset": "digits",
            "records": sum(counts.values()),
            "splits": counts,
            "languages": list(inputs.words),
            "recordings": {
                split: sum(map(len, clips.values())) for split, clips in inputs.clips.items()
            },
            "seed": seed,
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_text(folder / "README.md", f"# digits\n\n{_DESCRIPTION}\n")
        write_json(folder / SUMMARY, summary)
    return summary


def read_inputs(raw: Path) -> Inputs:
    """Reads the three inputs.

    Raises:
      InputError: if one is missing or broken.
    """
    if not raw.is_dir():
        raise InputError(f"--raw={raw} is not there; {_WHERE}")
    try:
        check_file(raw / "mnist.npz")
        _check_unpacked(raw / "mnist.npz")
        with np.load(raw / "mnist.npz") as arrays:
            pictures = {split: arrays[f"x_{split}"] for split in ("train", "test")}
            digits = {split: arrays[f"y_{split}"] for split in ("train", "test")}
        words = read_json(raw / "number_words.json")
    except _BROKEN as error:
        raise InputError(f"cannot read --raw={raw}: {error}; {_WHERE}") from error
    for split in pictures:
        _check_pictures(raw / "mnist.npz", split, pictures[split], digits[split])
    _check_words(raw / "number_words.json", words)
    return Inputs(pictures, digits, words, _read_clips(raw / "recordings"))


def _check_unpacked(path: Path) -> None:
    """Raises ValueError if an archive holds more than any that is meant."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > _MOST_BYTES:
                raise ValueError(
                    f"{member.filename} has {member.file_size} bytes, unpacked; allowed: at most"
                    f" {_MOST_BYTES}"
                )


def _check_pictures(path: Path, split: str, pictures: np.ndarray, digits: np.ndarray) -> None:
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (28, 28) or not len(pictures):
        raise InputError(
            f"{path}: x_{split} is {pictures.dtype} {list(pictures.shape)}; allowed: uint8"
            " [pictures, 28, 28]"
        )
    if digits.shape != pictures.shape[:1] or not np.isin(digits, range(10)).all():
        raise InputError(f"{path}: y_{split} must have a digit, 0 to 9, for each picture")


def _check_words(path: Path, words: Any) -> None:
    if not isinstance(words, dict) or not words:
        raise InputError(f"{path} must be an object: language -> ten words")
    for language, ten in words.items():
        right = isinstance(ten, list) and all(isinstance(word, str) and word for word in ten)
        if not right or len(ten) != len(DIGITS):
            raise InputError(f"{path}: {language!r} must have ten words, from zero to nine")


def _read_clips(folder: Path) -> dict[str, dict[int, list[Clip]]]:
    clips = {split: {digit: [] for digit in range(10)} for split in ("train", "test")}
    for path in sorted(folder.glob("*.wav")):
        match = _NAME.fullmatch(path.name)
        if not match:
            raise InputError(f"{path}: the name is not DIGIT_SPEAKER_TAKE.wav")
        digit, speaker, take = match.groups()
        split = "test" if int(take) in TEST_TAKES else "train"
        clips[split][int(digit)].append(Clip(quantise(read_sound(str(path))), speaker))
    for split, by_digit in clips.items():
        for digit, found in by_digit.items():
            if not found:
                raise InputError(f"{folder} has no {split} recording of {digit}; {_WHERE}")
    return clips


def _features(inputs: Inputs) -> tfds.features.FeaturesDict:
    label, side = tfds.features.ClassLabel, 28 + 2 * _BORDER
    speakers = {
        c.speaker for clips in inputs.clips.values() for each in clips.values() for c in each
    }
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(side, side, 1), encoding_format="png"),
            "label": label(names=list(DIGITS)),
            "text": tfds.features.Text(doc="the digit's name"),
            "language": label(names=list(inputs.words)),
            # "bytes" is ten times as fast as the default
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "speaker": label(names=sorted(speakers)),
        }
    )


def _records(
    inputs: Inputs, split: str, limit: int | None, rng: np.random.Generator, progress: tqdm
) -> Iterator[Mapping[str, Any]]:
    """Pairs each picture with a word and a recording of its digit, all of them equally often."""
    languages = list(inputs.words)
    pairs: dict[int, Iterator[tuple[str, Clip]]] = {
        digit: zip(_endless(languages, rng), _endless(clips, rng), strict=True)
        for digit, clips in inputs.clips[split].items()
    }
    # In random order, so that any part is a sample: the raw pictures may be sorted by digit.
    for number in rng.permutation(len(inputs.digits[split]))[:limit]:
        picture, digit = inputs.pictures[split][number], inputs.digits[split][number]
        language, clip = next(pairs[int(digit)])
        yield {
            "image": _png(np.pad(picture, _BORDER)),
            "label": int(digit),
            "text": inputs.words[language][digit],
            "language": language,
            "audio": clip.samples,
            "speaker": clip.speaker,
        }
        progress.update()


def _endless(things: list[Any], rng: np.random.Generator) -> Iterator[Any]:
    """All of them in a random order, and again in another."""
    while True:
        yield from (things[i] for i in rng.permutation(len(things)))


def _png(picture: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    file.seek(0)
    return file
