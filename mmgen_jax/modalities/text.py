"""Modality `text`: a caption, as tokens of some `Embedding`, through a transformer."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mmgen_jax.data import Source, values_of
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Encoding, Modality, ModalitySpec, Shared
from mmgen_jax.modalities.embeddings import EMBEDDINGS
from mmgen_jax.modalities.encoder import SequenceEncoder
from mmgen_jax.modalities.reader import ContrastiveReader, identity
from mmgen_jax.nn.patches import sequence_positions

EMBEDDING = "embedding"  # the name of its parameters within the encoder's


class TextEncoder(nn.Module):
    """Embedded tokens and a transformer; rotary positions tell the order."""

    embedding: nn.Module
    width: int
    depth: int
    heads: int
    shared: Shared

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch tokens"], mask: Bool[Array, "batch tokens"]
    ) -> Encoding:
        x = self.embedding(tokens, mask)
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, dtype=jnp.dtype(self.shared.dtype), name="project")(x)
        positions = sequence_positions(tokens.shape[1])
        return SequenceEncoder(self.depth, self.heads, self.shared)(x, mask, positions)


def fit(options: Any, source: Source) -> dict[str, Any]:
    """What the embedding needs of the captions of up to `options.fit_examples` records."""

    def captions() -> Iterator[str]:
        return values_of(source, "text", options.fit_examples)

    assets = EMBEDDINGS[options.encoder].fit(options, captions())
    return {"encoder": options.encoder, **assets}


def build(options: Any, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A caption of at most `options.max_tokens` tokens; longer ones are cut at the end.

    Pretrained embeddings are frozen unless `options.finetune`.

    Recovery is InfoNCE against the batch's other captions: a lower bound on
    log p(x | y) - log p(x), that is on log p(x | y) up to the captions' own entropy, which no
    parameter can change. It cannot exceed log of the number of captions compared.
    """
    embedding = EMBEDDINGS[options.encoder].build(options, shared.dtype, assets)
    encoder = TextEncoder(embedding.module, options.width, options.depth, options.heads, shared)
    reader = ContrastiveReader(shared)
    length = options.max_tokens
    group = "encoders" if embedding.pretrained is None or options.finetune else "frozen"

    def prepare(raw: str) -> dict[str, Any]:
        if not isinstance(raw, str) or not raw.strip():
            raise InputError(f"caption {raw!r} is empty; a text needs at least one character")
        try:
            raw.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"caption {raw!r} is no Unicode text: {error.reason}") from error
        ids = embedding.tokenize(raw.strip())[:length]
        tokens = np.zeros(length, np.int32)
        tokens[: len(ids)] = ids
        return {"tokens": tokens, "mask": np.arange(length) < len(ids)}

    def init(key: jax.Array) -> dict[str, Any]:
        encoder_key, reader_key = jax.random.split(key)
        images = jnp.zeros((1, *shared.drawn))
        tokens, mask = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
        encoding, variables = encoder.init_with_output(encoder_key, tokens, mask)
        params = dict(variables["params"])
        made = {"recovery": reader.init(reader_key, images, encoding, identity(tokens))["params"]}
        if group == "frozen":
            made["frozen"] = {EMBEDDING: params.pop(EMBEDDING)}
        return made | {"encoders": params}

    def pretrained() -> dict[str, Any]:
        if embedding.pretrained is None:
            return {}
        return {group: {EMBEDDING: embedding.pretrained()}}

    return Modality(
        prepare=prepare,
        absent={"tokens": np.zeros(length, np.int32), "mask": np.arange(length) < 1},
        init=init,
        pretrained=pretrained,
        encode=lambda params, value: encoder.apply(
            {"params": params}, value["tokens"], value["mask"]
        ),
        recover=lambda params, images, value, encoding: reader.apply(
            {"params": params}, images, encoding, identity(value)
        ),
        parse=str,
        show=lambda value: embedding.detokenize(value["tokens"][value["mask"]].tolist()),
    )


def serves(options: Any, assets: dict[str, Any], source: Source) -> bool:
    """Any caption can be written in any vocabulary of the same kind and size."""
    return assets["encoder"] == options.encoder and EMBEDDINGS[options.encoder].serves(
        options, assets
    )


TEXT = ModalitySpec(fit, build, serves, tied=(EMBEDDING,))
