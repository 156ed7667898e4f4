"""Text embedding `learned`: byte-level BPE tokens, each with a vector trained with the model."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import tokenizers
from jaxtyping import Array, Bool, Float, Int

from mmgen_jax.errors import InputError
from mmgen_jax.modalities import malformed
from mmgen_jax.modalities.embeddings import EMBEDDINGS, Embedding
from mmgen_jax.modalities.text.keys import TextOptions

PAD = "<pad>"
# Words, numbers and punctuation, each with the space before it. As in GPT-2 (Radford et al. 2019),
# but marks belong to their words: without them a word in Hindi or Thai is cut at every vowel sign.
_WORD = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"


class TokenEmbedding(nn.Module):
    """A vector for each token."""

    vocabulary: int
    width: int

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch tokens"], mask: Bool[Array, "batch tokens"]
    ) -> Float[Array, "batch tokens width"]:
        return nn.Embed(self.vocabulary, self.width, name="table")(tokens)


def train_tokenizer(captions: Iterable[str], vocabulary_size: int) -> tokenizers.Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016; on bytes, Radford et al. 2019) from captions.

    Any string can be encoded, in any script: what was never seen falls apart into bytes.
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    normalizers, splitters = tokenizers.normalizers, tokenizers.pre_tokenizers
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = splitters.Sequence(
        [
            splitters.Split(tokenizers.Regex(_WORD), "isolated"),
            splitters.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def fit(options: TextOptions, captions: Iterable[str]) -> dict[str, Any]:
    """What is learned from the captions of the data."""
    if options.encoder_path:
        others = [name for name, spec in EMBEDDINGS.items() if spec.reads_files]
        raise InputError(
            f"config.modalities.{options.name}.encoder_path = {options.encoder_path!r} with encoder"
            " = 'learned', which reads no file; allowed: '', or"
            f" --config.modalities.{options.name}.encoder={'|'.join(others)}"
        )
    return {"tokenizer": train_tokenizer(captions, options.vocabulary_size).to_str()}


def read_tokenizer(assets: dict[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of a run's assets.

    Raises:
      InputError: if they hold none.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_str(assets.get("tokenizer"))
    except Exception as error:  # its own exceptions have no common class but this
        raise malformed("text", f"'tokenizer' cannot be read ({error})") from error
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if not ids or max(ids) >= len(ids):
        raise malformed("text", "'tokenizer' has a vocabulary with gaps, or none")
    return tokenizer


def build(options: TextOptions, dtype: str, assets: dict[str, Any]) -> Embedding:
    """The embedding, with what `fit` learned."""
    tokenizer = read_tokenizer(assets)
    return Embedding(
        tokenize=lambda text: tokenizer.encode(text).ids,
        detokenize=lambda tokens: tokenizer.decode(tokens).strip(),
        module=TokenEmbedding(tokenizer.get_vocab_size(), options.width),
        pretrained=None,
    )


def serves(options: TextOptions, assets: dict[str, Any]) -> bool:
    """Whether the assets of another run do as well."""
    tokenizer = tokenizers.Tokenizer.from_str(assets["tokenizer"])
    return tokenizer.get_vocab_size() <= options.vocabulary_size
