"""From a caption to vectors: the protocol of a text embedding, and the registry of them.

Modality `text` runs its own transformer over whatever these give. Nothing here imports jax.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mmgen_jax.registry import Registry, deferred


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
      build: (options, dtype, assets) -> Embedding. `options` are `TextOptions`. Raises
        InputError for malformed assets, see `ModalitySpec.build`.
      serves: (options, assets of another run) -> see `ModalitySpec.serves`.
      reads_files: whether it needs the option `encoder_path`.
    """

    fit: Callable[[Any, Any], dict[str, Any]]
    build: Callable[[Any, str, dict[str, Any]], Embedding]
    serves: Callable[[Any, dict[str, Any]], bool]
    reads_files: bool


def _spec(module: str, kind: str = "", reads_files: bool = True) -> EmbeddingSpec:
    place = f"mmgen_jax.modalities.embeddings.{module}"
    fit, build, serves = (deferred(f"{place}:{kind}{name}") for name in ("fit", "build", "serves"))
    return EmbeddingSpec(fit, build, serves, reads_files)


EMBEDDINGS: Registry[EmbeddingSpec] = Registry(
    "text encoder",
    {
        "learned": _spec("subwords", reads_files=False),
        "word2vec": _spec("word_vectors", "word2vec_"),
        "glove": _spec("word_vectors", "glove_"),
        "frozen_transformer": _spec("pretrained"),
    },
)
