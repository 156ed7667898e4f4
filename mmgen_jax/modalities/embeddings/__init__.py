"""From a caption to vectors: the protocol of a text embedding, and the registry of them.

Modality `text` runs its own transformer over whatever these give. Nothing here imports jax.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mmgen_jax.registry import Registry


class Embedding(NamedTuple):
    """A way to write captions as vectors, ready to use.

    Attributes:
      tokenize: (str that is not blank) -> all of its tokens, integers, at least one.
      detokenize: (tokens) -> str, as the model sees it.
      module: a flax module, (Int[batch tokens], Bool[batch tokens]) -> Float[batch tokens d].
      pretrained: () -> the module's parameters, a tree of NumPy arrays read from disk; None if
        training starts from random ones.
      ends: how many of the last tokens a caption keeps when it is cut: those that mark its end.
    """

    tokenize: Callable[[str], list[int]]
    detokenize: Callable[[list[int]], str]
    module: Any
    pretrained: Callable[[], Any] | None
    ends: int = 0


class EmbeddingSpec(NamedTuple):
    """What the registry holds for one kind of embedding.

    Attributes:
      fit: (options, captions) -> assets, a JSON-able dict; see `ModalitySpec.fit`. `captions` are
        those of the data set, read when iterated. Raises InputError for files that are not there.
      build: (options, dtype, assets) -> Embedding. `options` is config.modalities.text. Raises
        InputError for malformed assets, see `ModalitySpec.build`.
      serves: (options, assets of another run) -> see `ModalitySpec.serves`.
    """

    fit: Callable[[Any, Any], dict[str, Any]]
    build: Callable[[Any, str, dict[str, Any]], Embedding]
    serves: Callable[[Any, dict[str, Any]], bool]


EMBEDDINGS = Registry(
    "text encoder",
    {
        "learned": "mmgen_jax.modalities.embeddings.subwords:LEARNED",
        "word2vec": "mmgen_jax.modalities.embeddings.word_vectors:WORD2VEC",
        "glove": "mmgen_jax.modalities.embeddings.word_vectors:GLOVE",
        "frozen_transformer": "mmgen_jax.modalities.embeddings.pretrained:FROZEN_TRANSFORMER",
    },
)
READ_FROM_FILES = ("word2vec", "glove", "frozen_transformer")
"""Those that need `modalities.text.encoder_path`."""
