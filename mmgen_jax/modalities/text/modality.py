"""Modality `text`: a caption, as tokens of some `Embedding`, through a transformer."""

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mmgen_jax.data import Source, values_of
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import (
    CHOSEN,
    Encoding,
    Extent,
    Modality,
    Shared,
    filled,
    learned,
    malformed,
)
from mmgen_jax.modalities.embeddings import EMBEDDINGS
from mmgen_jax.modalities.encoder import SequenceEncoder
from mmgen_jax.modalities.reader import ContrastiveReader, identity
from mmgen_jax.modalities.text.keys import EMBEDDING, TextOptions
from mmgen_jax.nn.patches import sequence_positions
from mmgen_jax.schema import keys_of

MOST_TOKENS = 256  # that are chosen for a data set
# Of the captions that are looked at, this share is held whole: of all captions at least 99% then.
HELD = 0.995
# Where a data set has short captions alone, a usual sentence is still held.
SENTENCE = (
    "Two children in yellow raincoats jump over a puddle beside an old stone bridge while their"
    " dog watches."
)
MAX_TOKENS = keys_of(TextOptions)["max_tokens"]
TAIL = 24  # characters that say where a caption is cut


class TextEncoder(nn.Module):
    """Embedded tokens and a transformer; rotary positions tell the order."""

    embedding: nn.Module
    width: int
    depth: int
    num_heads: int
    shared: Shared

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch tokens"], mask: Bool[Array, "batch tokens"]
    ) -> Encoding:
        x = self.embedding(tokens, mask)
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, dtype=jnp.dtype(self.shared.dtype), name="project")(x)
        positions = sequence_positions(tokens.shape[1])
        return SequenceEncoder(self.depth, self.num_heads, self.shared)(x, mask, positions)


def fit(options: TextOptions, source: Source) -> dict[str, Any]:
    """What the embedding needs of the captions of up to `options.fit_examples` records."""

    def captions() -> Iterator[str]:
        return values_of(source, options.name, options.fit_examples)

    assets = EMBEDDINGS[options.encoder].fit(options, captions())
    return refit(options, {"encoder": options.encoder, **assets}, source)


def refit(options: TextOptions, assets: dict[str, Any], source: Source) -> dict[str, Any]:
    """The assets with a `max_tokens` that holds usual captions of the data, if it is left open.

    That is at least 99% of the captions, and `SENTENCE`, but no more than `MOST_TOKENS` tokens.
    """
    assets = learned(assets)
    if options.max_tokens:
        return assets
    embedding = EMBEDDINGS[options.encoder].build(options, "float32", assets)
    lengths = [len(embedding.tokenize(SENTENCE))]
    for caption in values_of(source, options.name, options.fit_examples):
        try:
            lengths.append(len(embedding.tokenize(checked(caption))))
        except InputError:  # training names it, or skips it
            continue
    held = sorted(lengths)[math.ceil(HELD * len(lengths)) - 1]
    tokens = 8 * math.ceil(max(held, lengths[0]) / 8)  # few different sizes to compile for
    return {**assets, CHOSEN: {"max_tokens": min(tokens, MOST_TOKENS)}}


def checked(raw: Any) -> str:
    """Returns a caption without the blanks around it.

    Raises:
      InputError: if it is none.
    """
    if not isinstance(raw, str) or not raw.strip():
        raise InputError(f"caption {raw!r} is empty; a text needs at least one character")
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"caption {raw!r} is no Unicode text: {error.reason}") from error
    return raw.strip()


def build(options: TextOptions, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A caption of at most `options.max_tokens` tokens; longer ones are cut at the end.

    Where that is 0, it is what `fit` has chosen for the data.

    Pretrained embeddings are frozen unless `options.finetune`.

    Recovery is InfoNCE against the batch's other captions: a lower bound on
    log p(x | y) - log p(x), that is on log p(x | y) up to the captions' own entropy, which no
    parameter can change. It cannot exceed log of the number of captions compared.
    """
    if assets.get("encoder") != options.encoder:
        raise malformed(options.name, f"they are not those of encoder {options.encoder!r}")
    options = filled(options, assets, "max_tokens", MOST_TOKENS)
    embedding = EMBEDDINGS[options.encoder].build(options, shared.dtype, assets)
    encoder = TextEncoder(embedding.module, options.width, options.depth, options.num_heads, shared)
    reader = ContrastiveReader(shared)
    length = options.max_tokens
    group = "encoders" if embedding.pretrained is None or options.finetune else "frozen"

    def kept(ids: list[int]) -> list[int]:
        ends = min(embedding.ends, length)
        return ids if len(ids) <= length else ids[: length - ends] + ids[len(ids) - ends :]

    def extent(raw: str) -> Extent:
        ids = embedding.tokenize(checked(raw))
        end = f'after "...{embedding.detokenize(kept(ids))[-TAIL:]}"'
        key = f"modalities.{options.name}.max_tokens"
        return Extent(len(ids), length, "tokens", end, key, MAX_TOKENS)

    def prepare(raw: str) -> dict[str, Any]:
        ids = kept(embedding.tokenize(checked(raw)))
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
        extent=extent,
    )


def serves(options: TextOptions, assets: dict[str, Any], source: Source) -> bool:
    """Any caption can be written in any vocabulary of the same kind and size."""
    return assets["encoder"] == options.encoder and EMBEDDINGS[options.encoder].serves(
        options, assets
    )
