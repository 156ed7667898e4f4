"""A config and what was learned from the data -> pure functions and their parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32
from ml_collections import ConfigDict

from mmgen_jax import fusion
from mmgen_jax.data import Source
from mmgen_jax.fusion import Presence, Values
from mmgen_jax.generators import GENERATORS, Generator
from mmgen_jax.modalities import MODALITIES, Modality, ReaderSizes, Shared

Assets = dict[str, dict[str, Any]]


class Batch(NamedTuple):
    """Examples as the device sees them.

    Attributes:
      index: global position of each example in the endless stream of training examples.
      images: in [-1, 1].
      values: by modality, what its `prepare` made.
      has: by modality, whether the record has it.
    """

    index: UInt32[Array, "batch"]
    images: Float[Array, "batch height width channel"]
    values: Values
    has: Presence


class Weights(NamedTuple):
    """The objective's numbers, by modality where they are a dict.

    Attributes:
      recovery: λ_m on real images, which teaches encoders and recovery heads.
      generated: λ_m on generated images, which teaches the generator, and the encoders only
        through the condition that the image was drawn from.
      keep, present_all, present_none: `fusion.sample_presence`'s rates.
    """

    recovery: dict[str, float]
    generated: dict[str, float]
    keep: dict[str, float]
    present_all: float
    present_none: float


class Model(NamedTuple):
    """A generator, the modalities that condition it, and what the objective weighs."""

    generator: Generator
    modalities: dict[str, Modality]
    weights: Weights
    shared: Shared


def fit(config: ConfigDict, source: Source) -> Assets:
    """What each modality must learn from the data before training; JSON-able."""
    names = config.modalities.names
    return {name: MODALITIES[name].fit(config.modalities[name], source) for name in names}


def build(config: ConfigDict, assets: Assets) -> Model:
    """The model that a config describes, with the assets that `fit` made."""
    names, objective = config.modalities.names, config.objective
    shared = Shared(
        width=config.fusion.width,
        pooled=config.fusion.pooled,
        pool_tokens=config.fusion.pool_tokens,
        image_size=config.data.image_size,
        dtype=config.train.dtype,
        reader=ReaderSizes(
            patch=objective.reader_patch,
            width=objective.reader_width,
            depth=objective.reader_depth,
            heads=objective.reader_heads,
        ),
    )
    options = {name: config.modalities[name] for name in names}
    family = config.generator.name
    return Model(
        generator=GENERATORS[family].build(
            config.generator[family], shared.image_size, shared.dtype
        ),
        modalities={m: MODALITIES[m].build(options[m], shared, assets[m]) for m in names},
        weights=Weights(
            recovery={m: options[m].recovery_weight for m in names},
            generated={m: options[m].generated_weight for m in names},
            keep={m: options[m].keep for m in names},
            present_all=config.fusion.present_all,
            present_none=config.fusion.present_none,
        ),
        shared=shared,
    )


def init(model: Model, key: Key[Array, ""]) -> tuple[Any, Any]:
    """(parameters by group, the family's state)."""
    names = tuple(model.modalities)
    keys = jax.random.split(key, len(names) + 2)
    made = {m: model.modalities[m].init(k) for m, k in zip(names, keys, strict=False)}
    encoders = {m: made[m]["encoders"] for m in names}
    encoders["fusion"] = fusion.init(keys[-2], names, model.shared)
    batch = blank_batch(model)
    h = fusion.encode(model.modalities, encoders, batch.values, batch.has)
    condition = fusion.fuse(encoders["fusion"], h, batch.has)
    params, state = model.generator.init(keys[-1], batch.images, condition)
    recovery = {m: made[m]["recovery"] for m in names}
    return {"encoders": encoders, "recovery": recovery} | params, state


def blank_batch(model: Model, rows: int = 1) -> Batch:
    """A batch of nothing: black pictures, every modality absent."""
    size = model.shared.image_size
    repeat = lambda x: jnp.repeat(jnp.asarray(x)[None], rows, axis=0)  # noqa: E731
    return Batch(
        index=jnp.arange(rows, dtype=jnp.uint32),
        images=jnp.zeros((rows, size, size, 3)),
        values={m: jax.tree.map(repeat, v.absent) for m, v in model.modalities.items()},
        has={m: jnp.zeros(rows, bool) for m in model.modalities},
    )
