"""What stands between images and what a generator draws: nothing, or a trained tokenizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channel"]


class Codec(NamedTuple):
    """A pair of pure functions, of parameters that no player owns.

    Attributes:
      shape: height, width and channels of what the generator draws, its *latents*.
      image_shape: height, width and channels of what `encode` takes.
      init: () -> parameters by group, {} or {"tokenizer": tree}; zeros, until those of a run are
        laid over them.
      encode: (params, images in [-1, 1]) -> Float[batch, *shape]; `params` holds every group.
      decode: (params, latents) -> images in [-1, 1].
      codes: in the vocabulary that latents are of; 0 where they are continuous.
      tokens: (params, latents) -> Int[batch, height * width], row by row; None where there are no
        codes.
      embed: (params, tokens) -> latents, its inverse; None where there are no codes.
    """

    shape: tuple[int, int, int]
    image_shape: tuple[int, int, int]
    init: Callable[..., dict[str, Any]]
    encode: Callable[..., Any]
    decode: Callable[..., Any]
    codes: int = 0
    tokens: Callable[..., Any] | None = None
    embed: Callable[..., Any] | None = None


def pixels(height: int, width: int) -> Codec:
    """The generator draws RGB images themselves; what lies outside [-1, 1] is cut off."""

    def encode(params: Any, images: Images) -> Images:
        return images

    def decode(params: Any, latents: Images) -> Images:
        return jnp.clip(latents, -1, 1)

    shape = (height, width, 3)
    return Codec(shape, shape, dict, encode, decode)


def encoded(codec: Codec) -> Codec:
    """The same for batches whose images are its latents already."""
    return codec._replace(image_shape=codec.shape, encode=lambda params, latents: latents)
