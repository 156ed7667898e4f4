"""A config and what was learned from the data -> pure functions and their parameters."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32
from ml_collections import ConfigDict

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Presence, Values
from mmgen_jax.data import Source, image_shape
from mmgen_jax.data.pipeline import Prepare
from mmgen_jax.generators import Generator, codecs, family_of
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.modalities import (
    Encoding,
    Modality,
    ReaderSizes,
    Shared,
    input_of,
)
from mmgen_jax.modalities.examples import prepare_example

Assets = dict[str, dict[str, Any]]


class Batch(NamedTuple):
    """Examples as the device sees them.

    Attributes:
      index: global position of each example in the endless stream of training examples.
      images: in [-1, 1], or a tokenizer's latents of them where the model's codec is `encoded`.
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
      keep_rate, keep_all_rate, drop_all_rate: `fusion.sample_presence`'s rates.
    """

    recovery: dict[str, float]
    generated: dict[str, float]
    keep_rate: dict[str, float]
    keep_all_rate: float
    drop_all_rate: float


class Model(NamedTuple):
    """A generator, what it draws, the modalities that condition it, and the objective's weights.

    Attributes:
      guidance_weights: by modality, of samples for which nobody chooses others.
    """

    generator: Generator
    codec: Codec
    modalities: dict[str, Modality]
    weights: Weights
    shared: Shared
    guidance_weights: dict[str, float]

    @property
    def prepare(self) -> Prepare:
        """(record, index) -> the arrays of fixed shapes that the model is fed."""
        return partial(
            prepare_example, modalities=self.modalities, image_shape=self.shared.image_shape
        )


def fit(config: ConfigDict, source: Source, before: Assets | None = None) -> Assets:
    """What each modality must learn from the data before training; JSON-able.

    `before` are assets of a run that this one starts from: those that can serve are kept, but for
    the options that are left open to the data.
    """
    assets = {}
    for name in config.modalities.names:
        spec, options = input_of(config, name)
        old = (before or {}).get(name)
        kept = old is not None and spec.serves(options, old, source)
        assets[name] = spec.refit(options, old, source) if kept else spec.fit(options, source)
    return assets


def build(config: ConfigDict, assets: Assets) -> Model:
    """The model that a config describes, with the assets that `fit` made."""
    names, objective = config.modalities.names, config.objective
    codec = build_codec(config)
    shared = Shared(
        width=config.fusion.width,
        pooled=config.fusion.pooled,
        pool_tokens=config.fusion.pool_tokens,
        image_shape=image_shape(config.data),
        drawn=codec.shape,
        dtype=config.train.dtype,
        reader=ReaderSizes(
            patch_size=objective.recovery_patch_size,
            width=objective.recovery_width,
            depth=objective.recovery_depth,
            num_heads=objective.recovery_num_heads,
        ),
    )
    inputs = {name: input_of(config, name) for name in names}
    options = {name: chosen for name, (_, chosen) in inputs.items()}
    spec, of_family = family_of(config, config.generator.name)
    return Model(
        generator=spec.build(of_family, codec, shared.dtype),
        codec=codec,
        modalities={m: kind.build(o, shared, assets[m]) for m, (kind, o) in inputs.items()},
        weights=Weights(
            recovery={m: options[m].recovery_weight for m in names},
            generated={m: options[m].generated_weight for m in names},
            keep_rate={m: options[m].keep_rate for m in names},
            keep_all_rate=config.fusion.keep_all_rate,
            drop_all_rate=config.fusion.drop_all_rate,
        ),
        shared=shared,
        guidance_weights={m: options[m].guidance for m in names},
    )


def build_codec(config: ConfigDict) -> Codec:
    """What the config's generator draws."""
    shape, family = image_shape(config.data), config.tokenizer.family
    if not family:
        return codecs.pixels(*shape)
    spec, options = family_of(config, family)
    return spec.tokenizer.codec(options, *shape, config.train.dtype)


def init(model: Model, key: Key[Array, ""]) -> tuple[Any, Any]:
    """(parameters by group, the family's state)."""
    names = tuple(model.modalities)
    keys = jax.random.split(key, len(names) + 2)
    made = {m: model.modalities[m].init(k) for m, k in zip(names, keys, strict=False)}
    params = {
        group: {m: made[m][group] for m in names if group in made[m]}
        for group in ("encoders", "recovery", "frozen")
    }
    params["encoders"]["fusion"] = fusion.init(keys[-2], names, model.shared)
    params |= model.codec.init()
    batch = blank_batch(model)
    h = encode(model, params, batch.values, batch.has)
    condition = fusion.fuse(params["encoders"]["fusion"], h, batch.has)
    images = model.codec.encode(params, batch.images)
    own, state = model.generator.init(keys[-1], images, condition)
    return params | own, state


def encode(model: Model, params: Any, values: Values, has: Presence) -> dict[str, Encoding]:
    """h_m = f(x_m) for every modality; see `fusion.encode`."""
    frozen = params["frozen"]
    whole = {m: params["encoders"][m] | frozen.get(m, {}) for m in model.modalities}
    return fusion.encode(model.modalities, whole, values, has)


def pretrained(model: Model) -> dict[str, Any]:
    """What a fresh run takes from files: a part of what `init` makes, as NumPy arrays.

    Raises:
      InputError: if the files are not there.
    """
    found: dict[str, Any] = model.generator.pretrained()
    for name, modality in model.modalities.items():
        for group, tree in modality.pretrained().items():
            found.setdefault(group, {})[name] = tree
    return found


def blank_batch(model: Model, rows: int = 1) -> Batch:
    """A batch of nothing: black pictures, every modality absent."""
    repeat = lambda x: jnp.repeat(jnp.asarray(x)[None], rows, axis=0)  # noqa: E731
    return Batch(
        index=jnp.arange(rows, dtype=jnp.uint32),
        images=jnp.zeros((rows, *model.codec.image_shape)),
        values={m: jax.tree.map(repeat, v.absent) for m, v in model.modalities.items()},
        has={m: jnp.zeros(rows, bool) for m in model.modalities},
    )
