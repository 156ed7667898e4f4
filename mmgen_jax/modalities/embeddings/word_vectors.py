"""Text embeddings `word2vec` and `glove`: words with vectors from a file, frozen or trained on.

A word is a run of letters, digits or marks of any script, or one other sign; it is looked up as it
is written, then in lower case. What has no vector (out of vocabulary) is the one word `UNKNOWN`,
whose vector is the mean of all others, as GloVe's authors advise.

Of the file are kept the words that occur in the data set's captions, and then the first ones, which
are the most frequent, up to `modalities.text.vocabulary_size` in all. The vectors are read when a
run starts and live in its checkpoints: neither resuming nor sampling needs the file.
"""

import functools
import hashlib
import traceback
import unicodedata
import warnings
import zlib
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import malformed
from mmgen_jax.modalities.embeddings import Embedding, EmbeddingSpec
from mmgen_jax.modalities.embeddings.subwords import TokenEmbedding

UNKNOWN = "<unk>"
MOST_DIMENSIONS = 1 << 16  # of a word's vector
# What gensim raises for what is no file of vectors, or none in the format that is asked for.
_UNREADABLE = (
    *(ValueError, TypeError, NotImplementedError, IndexError, MemoryError, OverflowError),
    *(OSError, EOFError, zlib.error),
)


def words_of(caption: str) -> list[str]:
    """The words of a caption, in NFC; at least one of any caption that is not blank."""
    words = []
    for is_word, run in groupby(unicodedata.normalize("NFC", caption), in_word):
        signs = "".join(run)
        words += [signs] if is_word else "".join(signs.split())
    return words


def in_word(sign: str) -> bool:
    """Whether a sign is a part of words: a letter, a mark (as in हिन्दी) or a number."""
    return unicodedata.category(sign)[0] in "LMN"


@functools.lru_cache(maxsize=1)  # the file is read to fit, and again for its vectors
def read_vectors(path: str, header: bool) -> tuple[dict[str, int], np.ndarray]:
    """Reads word vectors.

    Args:
      path: a file in word2vec's text or binary format (Mikolov et al. 2013; binary if its name ends
        in .bin or .bin.gz), or in GloVe's text format (Pennington et al. 2014); .gz is unpacked.
      header: whether the first line says how many words and dimensions follow: word2vec's does,
        GloVe's does not.

    Returns:
      (word -> row, float32 [words, dimensions]), in the file's order.

    Raises:
      InputError: if the file, or the package gensim that reads it, is not there, or it is in
        another format.
    """
    if not Path(path).is_file():
        raise InputError(
            f"config.modalities.text.encoder_path = {path!r} is not there; allowed: a file of word"
            " vectors (`launch/train_word2vec.py` makes one of the data set's captions)"
        )
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise InputError(
            "word vectors need gensim; install it: pip install 'mmgen_jax[words]'"
        ) from error
    binary = path.endswith((".bin", ".bin.gz"))
    with warnings.catch_warnings():
        # It counts the lines of a file without a header, and leaves that file open.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            found = KeyedVectors.load_word2vec_format(path, binary=binary, no_header=not header)
        except _UNREADABLE as error:
            traceback.clear_frames(error.__traceback__)  # closes it here, in silence
            kind = "word2vec's" if header else "GloVe's"
            raise InputError(f"{path} is no file in {kind} format: {error}") from error
    vectors = np.asarray(found.vectors, np.float32)
    if not vectors.size or not np.isfinite(vectors).all():
        raise InputError(f"{path} holds no vectors, or some that are not finite")
    return dict(found.key_to_index), vectors


def look_up(word: str, rows: Any) -> str | None:
    """How `rows`, a container of words, spells a word; None if it has it in no spelling."""
    if word in rows:
        return word
    lower = word.lower()
    return lower if lower in rows else None


def _fit(options: Any, captions: Iterable[str], *, header: bool) -> dict[str, Any]:
    rows, vectors = read_vectors(options.encoder_path, header)
    found = (look_up(word, rows) for caption in captions for word in words_of(caption))
    kept = dict.fromkeys(filter(None, found))
    for word in rows:
        if len(kept) >= options.vocabulary_size:
            break
        kept[word] = None
    words = sorted((w for w in kept if w != UNKNOWN), key=rows.__getitem__)
    # So that a run that starts from another one takes its vectors only if they are of this file.
    digest = hashlib.blake2b(vectors.tobytes(), digest_size=16).hexdigest()
    return {"words": [UNKNOWN, *words], "dimensions": vectors.shape[1], "digest": digest}


def _vocabulary(assets: dict[str, Any]) -> tuple[list[str], int]:
    words, dimensions = assets.get("words"), assets.get("dimensions")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise malformed("text", "'words' must be a list of words")
    if words[:1] != [UNKNOWN] or len(set(words)) < len(words):
        raise malformed("text", f"'words' must begin with {UNKNOWN} and have each word once")
    if type(dimensions) is not int or not 0 < dimensions <= MOST_DIMENSIONS:
        raise malformed("text", f"'dimensions' must be 1 to {MOST_DIMENSIONS}")
    return words, dimensions


def _build(options: Any, dtype: str, assets: dict[str, Any], *, header: bool) -> Embedding:
    words, dimensions = _vocabulary(assets)
    number = {word: k for k, word in enumerate(words)}

    def pretrained() -> dict[str, Any]:
        rows, vectors = read_vectors(options.encoder_path, header)
        chosen = vectors[[rows[word] for word in words[1:]]]
        table = np.concatenate([vectors.mean(axis=0, keepdims=True), chosen])
        return {"table": {"embedding": table}}

    return Embedding(
        tokenize=lambda text: [number[look_up(w, number) or UNKNOWN] for w in words_of(text)],
        detokenize=lambda tokens: " ".join(words[token] for token in tokens),
        module=TokenEmbedding(len(words), dimensions),
        pretrained=pretrained,
    )


def _serves(options: Any, assets: dict[str, Any]) -> bool:
    """New captions have new words, of which the file may know more."""
    return False


WORD2VEC = EmbeddingSpec(partial(_fit, header=True), partial(_build, header=True), _serves)
GLOVE = EmbeddingSpec(partial(_fit, header=False), partial(_build, header=False), _serves)
