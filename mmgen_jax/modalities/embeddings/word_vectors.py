"""Text embeddings `word2vec` and `glove`: words with vectors from a file, frozen or trained on.

A word is a run of letters, digits or marks of any script, or one other sign; it is looked up as it
is written, then in lower case. What has no vector (out of vocabulary) is the one word `UNKNOWN`,
whose vector is the mean of all others, as GloVe's authors advise.

Of the file are kept the words that occur in the data set's captions, and then the first ones, which
are the most frequent, up to `modalities.text.vocabulary_size` in all. The vectors are read when a
run starts and live in its checkpoints: neither resuming nor sampling needs the file.
"""

import unicodedata
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import malformed
from mmgen_jax.modalities.embeddings import Embedding
from mmgen_jax.modalities.embeddings.subwords import TokenEmbedding
from mmgen_jax.modalities.embeddings.vector_files import read_vectors
from mmgen_jax.modalities.text.keys import TextOptions

UNKNOWN = "<unk>"
MOST_DIMENSIONS = 1 << 16  # of a word's vector


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


def look_up(word: str, rows: Any) -> str | None:
    """How `rows`, a container of words, spells a word; None if it has it in no spelling."""
    if word in rows:
        return word
    lower = word.lower()
    return lower if lower in rows else None


def _fit(options: TextOptions, captions: Iterable[str], *, header: bool) -> dict[str, Any]:
    spoken = dict.fromkeys(word for caption in captions for word in words_of(caption))
    spellings = {spelling for word in spoken for spelling in (word, word.lower())}
    found = read_vectors(options.encoder_path, header, spellings, options.vocabulary_size)
    kept = dict.fromkeys(filter(None, (look_up(word, found.rows) for word in spoken)))
    for word in found.rows:
        if len(kept) >= options.vocabulary_size:
            break
        kept[word] = None
    words = sorted((w for w in kept if w != UNKNOWN), key=found.rows.__getitem__)
    # So that a run that starts from another one takes its vectors only if they are of this file.
    return {
        "words": [UNKNOWN, *words],
        "dimensions": found.vectors.shape[1],
        "digest": found.digest,
    }


def _vocabulary(assets: dict[str, Any]) -> tuple[list[str], int]:
    words, dimensions = assets.get("words"), assets.get("dimensions")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise malformed("text", "'words' must be a list of words")
    if words[:1] != [UNKNOWN] or len(set(words)) < len(words):
        raise malformed("text", f"'words' must begin with {UNKNOWN} and have each word once")
    if type(dimensions) is not int or not 0 < dimensions <= MOST_DIMENSIONS:
        raise malformed("text", f"'dimensions' must be 1 to {MOST_DIMENSIONS}")
    return words, dimensions


def _build(options: TextOptions, dtype: str, assets: dict[str, Any], *, header: bool) -> Embedding:
    words, dimensions = _vocabulary(assets)
    number = {word: k for k, word in enumerate(words)}

    def pretrained() -> dict[str, Any]:
        found = read_vectors(options.encoder_path, header, words[1:], first=0)
        missing = [word for word in words[1:] if word not in found.rows]
        if missing:
            raise InputError(
                f"{options.encoder_path} has no vector of {missing[0]!r} any more; allowed: the"
                " file that the run began with"
            )
        chosen = found.vectors[[found.rows[word] for word in words[1:]]]
        table = np.concatenate([found.mean[None], chosen])
        return {"table": {"embedding": table}}

    return Embedding(
        tokenize=lambda text: [number[look_up(w, number) or UNKNOWN] for w in words_of(text)],
        detokenize=lambda tokens: " ".join(words[token] for token in tokens),
        module=TokenEmbedding(len(words), dimensions),
        pretrained=pretrained,
    )


def _serves(options: TextOptions, assets: dict[str, Any]) -> bool:
    """New captions have new words, of which the file may know more."""
    return False


word2vec_fit, word2vec_build = partial(_fit, header=True), partial(_build, header=True)
glove_fit, glove_build = partial(_fit, header=False), partial(_build, header=False)
word2vec_serves = glove_serves = _serves
