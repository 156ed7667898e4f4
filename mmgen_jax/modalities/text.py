"""Modality `text`: a caption, as byte-level BPE tokens through a transformer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from jaxtyping import Array, Bool, Int

from mmgen_jax.data import Source
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Encoding, Modality, ModalitySpec, Shared
from mmgen_jax.modalities.encoder import SequenceEncoder
from mmgen_jax.modalities.reader import ContrastiveReader
from mmgen_jax.nn.patches import sequence_positions

PAD = "<pad>"


class TextEncoder(nn.Module):
    """Token embeddings and a transformer; rotary positions tell the order."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    shared: Shared

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch tokens"], mask: Bool[Array, "batch tokens"]
    ) -> Encoding:
        x = nn.Embed(self.vocabulary, self.width, name="embed")(tokens)
        positions = sequence_positions(tokens.shape[1])
        return SequenceEncoder(self.depth, self.heads, self.shared)(x, mask, positions)


def train_tokenizer(captions: list[str], vocabulary_size: int) -> tokenizers.Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016; on bytes, Radford et al. 2019) from captions.

    Any string can be encoded, in any script: what was never seen falls apart into bytes.
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.NFC(), tokenizers.normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def fit(options: Any, source: Source) -> dict[str, Any]:
    """A tokenizer trained on the captions of up to `options.fit_examples` records."""
    step = max(1, len(source) // options.fit_examples)
    records = (source[i] for i in range(0, len(source), step))
    captions = [record.values["text"] for record in records if "text" in record.values]
    return {"tokenizer": train_tokenizer(captions, options.vocabulary_size).to_str()}


def build(options: Any, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A caption of at most `options.max_tokens` tokens; longer ones are cut at the end.

    Recovery is InfoNCE against the batch's other captions: a lower bound on
    log p(x | y) - log p(x), that is on log p(x | y) up to the captions' own entropy, which no
    parameter can change. It cannot exceed log of the number of captions compared.
    """
    tokenizer = tokenizers.Tokenizer.from_str(assets["tokenizer"])
    encoder = TextEncoder(
        tokenizer.get_vocab_size(), options.width, options.depth, options.heads, shared
    )
    reader = ContrastiveReader(shared)
    length = options.max_tokens

    def prepare(raw: str) -> dict[str, Any]:
        if not isinstance(raw, str) or not raw.strip():
            raise InputError(f"caption {raw!r} is empty; a text needs at least one character")
        try:
            raw.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"caption {raw!r} is no Unicode text: {error.reason}") from error
        ids = tokenizer.encode(raw.strip()).ids[:length]
        tokens = np.zeros(length, np.int32)
        tokens[: len(ids)] = ids
        return {"tokens": tokens, "mask": np.arange(length) < len(ids)}

    def init(key: jax.Array) -> dict[str, Any]:
        encoder_key, reader_key = jax.random.split(key)
        images = jnp.zeros((1, shared.image_size, shared.image_size, 3))
        tokens, mask = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
        encoding, params = encoder.init_with_output(encoder_key, tokens, mask)
        return {
            "encoders": params["params"],
            "recovery": reader.init(reader_key, images, encoding, tokens)["params"],
        }

    return Modality(
        prepare=prepare,
        absent={"tokens": np.zeros(length, np.int32), "mask": np.arange(length) < 1},
        init=init,
        encode=lambda params, value: encoder.apply(
            {"params": params}, value["tokens"], value["mask"]
        ),
        recover=lambda params, images, value, encoding: reader.apply(
            {"params": params}, images, encoding, value["tokens"]
        ),
        parse=str,
        show=lambda value: tokenizer.decode(value["tokens"][value["mask"]].tolist()).strip(),
    )


TEXT = ModalitySpec(fit, build)
