"""Files of word vectors: read word by word, so that memory holds no more than what is asked for."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmgen_jax.errors import InputError

MOST_WORDS = 2**24  # of a file: the largest published ones have 12 million
MOST_DIMENSIONS = 2**14
_MOST_WORD, _MOST_LINE = 2**12, 2**20  # bytes
_PART = 1024  # words whose vectors are added up at once
_UNREADABLE = (ValueError, OSError, EOFError, zlib.error)

Row = tuple[bytes, np.ndarray]


class Vectors(NamedTuple):
    """What is read of a file.

    Attributes:
      rows: word -> its row of `vectors`, in the file's order.
      vectors: float32 [words, dimensions], of the words that were asked for.
      mean: float32 [dimensions], of all words of the file.
      digest: of the vectors of all words of the file, in hexadecimal.
    """

    rows: dict[str, int]
    vectors: np.ndarray
    mean: np.ndarray
    digest: str


def read_vectors(
    path: str, header: bool, words: Collection[str] = (), first: int = MOST_WORDS
) -> Vectors:
    """Reads word vectors; of a word that stands there twice, the first one.

    Args:
      path: a file in word2vec's text or binary format (Mikolov et al. 2013; binary if its name ends
        in .bin or .bin.gz), or in GloVe's text format (Pennington et al. 2014); .gz is unpacked.
      header: whether the first line says how many words and dimensions follow: word2vec's does,
        GloVe's does not.
      words: those to keep, wherever they stand.
      first: how many to keep besides, from the file's beginning.

    Raises:
      InputError: if the file is not there, or in another format.
    """
    if not Path(path).is_file():
        raise InputError(
            f"config.modalities.text.encoder_path = {path!r} is not there; allowed: a file of word"
            " vectors (`launch/train_word2vec.py` makes one of the data set's captions)"
        )
    try:
        with Path(path).open("rb") as raw, gzip.open(raw) if path.endswith(".gz") else raw as file:
            binary = path.endswith((".bin", ".bin.gz"))
            return _chosen(_rows(file, header, binary), {w.encode() for w in words}, first)
    except _UNREADABLE as error:
        kind = "word2vec's" if header else "GloVe's"
        raise InputError(f"{path} is no file in {kind} format: {error}") from error


def _chosen(found: Iterator[Row], words: set[bytes], first: int) -> Vectors:
    kept, part, total = dict[bytes, np.ndarray](), list[np.ndarray](), 0.0
    digest, count = hashlib.blake2b(digest_size=16), 0

    def add_up() -> None:
        nonlocal part, total
        vectors = np.stack(part)
        if not np.isfinite(vectors).all():
            raise ValueError("it has vectors that are not finite")
        digest.update(vectors.tobytes())
        total, part = total + vectors.sum(axis=0, dtype=np.float64), []

    for word, vector in found:
        if count == MOST_WORDS:
            raise ValueError(f"it has more than {MOST_WORDS} words")
        if count < first or word in words:
            kept.setdefault(word, vector)
        count += 1
        part.append(vector)
        if len(part) == _PART:
            add_up()
    if part:
        add_up()
    if not count:
        raise ValueError("it holds no vectors")
    rows = {word.decode(): row for row, word in enumerate(kept)}
    mean = (total / count).astype(np.float32)
    vectors = np.stack(list(kept.values())) if kept else np.zeros((0, len(mean)), np.float32)
    return Vectors(rows, vectors, mean, digest.hexdigest())


def _rows(file: io.BufferedIOBase, header: bool, binary: bool) -> Iterator[Row]:
    """Yields (word, vector), one after the other. Raises ValueError for what cannot be."""
    if not header:
        if binary:
            raise ValueError("its name ends as that of word2vec's binary files")
        yield from _lines(file, None, None)
        return
    first = _line(file)
    numbers = first.split()
    if len(numbers) != 2 or not all(number.isdigit() and len(number) < 20 for number in numbers):
        raise ValueError(f"its first line is {first[:40]!r} and not how many words, and dimensions")
    count, dimensions = map(int, numbers)
    _check_dimensions(dimensions)
    read = _packed if binary else _lines
    yield from read(file, count, dimensions)


def _lines(file: io.BufferedIOBase, count: int | None, dimensions: int | None) -> Iterator[Row]:
    number = 0
    while (count is None or number < count) and (line := _line(file)):
        parts = line.rstrip().split(b" ")
        if dimensions is None:
            dimensions = len(parts) - 1
            if dimensions == 1 and all(part.isdigit() for part in parts):
                raise ValueError("it begins with a line of two numbers, as word2vec's do")
            _check_dimensions(dimensions)
        number += 1
        word = parts[: len(parts) - dimensions]
        # A few words of GloVe's own files hold spaces, but no numbers after them.
        if not word or any(map(_is_number, word[1:])):
            raise ValueError(f"entry {number} has not {dimensions} numbers after its word")
        with np.errstate(over="ignore"):
            vector = np.array([part.decode() for part in parts[-dimensions:]], np.float32)
        yield b" ".join(word), vector
    if count is not None and number < count:
        raise ValueError(f"it has {number} words, its first line says {count}")


def _packed(file: io.BufferedIOBase, count: int, dimensions: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        word = bytearray()
        while (sign := file.read(1)) != b" ":
            if not sign or len(word) == _MOST_WORD:
                raise ValueError(f"entry {number} of {count} has no end")
            word += sign
        values = file.read(4 * dimensions)
        if len(values) < 4 * dimensions:
            raise ValueError(f"entry {number} of {count} is cut short")
        yield bytes(word.lstrip(b"\n")), np.frombuffer(values, "<f4").astype(np.float32)


def _line(file: io.BufferedIOBase) -> bytes:
    line = file.readline(_MOST_LINE)
    if len(line) == _MOST_LINE:
        raise ValueError(f"it has a line of {_MOST_LINE} bytes or more")
    return line


def _check_dimensions(dimensions: int) -> None:
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(
            f"its vectors have {dimensions} dimensions; allowed: 1 to {MOST_DIMENSIONS}"
        )


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True
