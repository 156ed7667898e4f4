"""Samples images from a trained model, for any subset of its modalities; pure."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Presence, Values
from mmgen_jax.conditioning.guidance import guide
from mmgen_jax.model import Model, encode
from mmgen_jax.nn.keys import fold_in_each
from mmgen_jax.nn.layout import gathered
from mmgen_jax.objective import recover

Latents = Float[Array, "batch rows columns channel"]


class Known(NamedTuple):
    """A part of the pictures, given: the rest is to be drawn to fit.

    Attributes:
      images: in [-1, 1].
      keep: True where they are to stay.
    """

    images: Float[Array, "batch height width 3"]
    keep: Bool[Array, "batch height width"]


def sample(
    model: Model,
    params: Any,
    state: Any,
    values: Values,
    has: Presence,
    weights: Mapping[str, Float[Array, "batch"]],
    keys: Key[Array, "batch"],
    options: Any,
    passes: tuple[int, ...] | None = None,
    known: Known | None = None,
) -> Float[Array, "batch height width channel"]:
    """Draws one image in [-1, 1] per row; pure.

    Args:
      model: what to draw with.
      params: its parameters, as a rule their moving average.
      state: the family's state.
      values: by modality, what `prepare` made; anything where `has` is False.
      has: by modality, which rows are given it.
      weights: by modality, guidance weight of each row.
      keys: one per row.
      options: config.generator.FAMILY.sample.
      passes: see `guidance.guide`.
      known: what is given of the images, of families that have `inpaint`; None: nothing.
    """
    params = gathered(params)
    encodings = encode(model, params, values, has)
    guidance = guide(params["encoders"]["fusion"], encodings, weights, passes)

    if known is not None:
        # Grey where it is to be redrawn: an encoder tells of each place what lies around it.
        shown = jnp.where(known.keep[..., None], known.images, 0)
        latents = model.codec.encode(params, shown)
        keep = kept_whole(known.keep, model.codec.shape[:2])

    def draw(keys: Key[Array, "batch"]) -> Latents:
        if known is None:
            return model.generator.sample(params, state, guidance, keys, options)
        return model.generator.inpaint(params, state, guidance, keys, options, latents, keep)

    def finish(latents: Latents) -> Float[Array, "batch height width 3"]:
        images = model.codec.decode(params, latents)
        return images if known is None else jnp.where(known.keep[..., None], known.images, images)

    if options.candidates == 1:
        return finish(draw(keys))

    def score(latents: Latents) -> Float[Array, "batch"]:
        given = {name: has[name] & (weights[name] > 0) for name in model.modalities}
        found = recover(model.modalities, params["recovery"], latents, values, encodings)
        return sum(jnp.where(given[name], found[name].ranking, 0) for name in found)

    return finish(best_of(draw, score, keys, options.candidates))


def kept_whole(
    keep: Bool[Array, "batch height width"], grid: tuple[int, int]
) -> Bool[Array, "batch rows columns"]:
    """Which latents of a grid are of pixels that are all to be kept."""
    batch, height, width = keep.shape
    rows, columns = grid
    return keep.reshape(batch, rows, height // rows, columns, width // columns).all((2, 4))


def best_of(
    draw: Callable[[Key[Array, "batch"]], Latents],
    score: Callable[[Latents], Float[Array, "batch"]],
    keys: Key[Array, "batch"],
    count: int,
) -> Latents:
    """Of several draws the one of the highest score, row by row.

    As CLIP ranked what DALL-E drew (Ramesh et al. 2021, section 2.6), the heads that recover the
    inputs rank here; a judge of quality must be another (`metrics`).

    Args:
      draw: keys -> what is drawn, a row for each.
      score: of what is drawn, row by row.
      keys: one per row.
      count: draws of each row.
    """

    def one(number: Array) -> tuple[Latents, Float[Array, "batch"]]:
        latents = draw(fold_in_each(keys, number))
        return latents, score(latents)

    drawn, scores = jax.lax.map(one, jnp.arange(count))
    best = scores.argmax(axis=0)
    return jnp.take_along_axis(drawn, best[None, :, None, None, None], axis=0)[0]


def reconstruct(
    model: Model,
    params: Any,
    state: Any,
    images: Float[Array, "batch height width channel"],
    values: Values,
    has: Presence,
) -> Float[Array, "batch height width channel"]:
    """Images as the family's code gives them back, beside the inputs that they have; pure."""
    params = gathered(params)
    condition = fusion.fuse(params["encoders"]["fusion"], encode(model, params, values, has), has)
    latents = model.codec.encode(params, images)
    again = model.generator.reconstruct(params, state, latents, condition)
    return model.codec.decode(params, again)
