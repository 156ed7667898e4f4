"""What pictures are drawn from, in families that have such a thing: to sample, blend and mix it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmgen_jax.conditioning.guidance import Guidance

Latent = Float[Array, "batch layers width"]


class Latents(NamedTuple):
    """How a family draws, in two steps.

    Attributes:
      draw: (params, state, condition, keys[batch], options) -> Float[batch, layers, width].
        Layers are those that can have latents of their own, from coarse to fine; 1 if there is but
        one for all. `options` is config.generator.FAMILY.sample.
      render: (params, state, condition, latents, keys[batch]) -> images, of about [-1, 1].
      blend: (latents, latents, share [batch]) -> latents between them: the first at share 0, the
        second at 1.
    """

    draw: Callable[..., Any]
    render: Callable[..., Any]
    blend: Callable[..., Any]


def sampler(latents: Latents) -> Callable[..., Any]:
    """`Generator.sample` of a family with latents.

    Passes are added up as pictures: with weights 0 and 1 one of them counts, the picture that is
    drawn from the inputs of weight 1.
    """

    def sample(
        params: Any, state: Any, guidance: Guidance, keys: Key[Array, "batch"], options: Any
    ) -> Float[Array, "batch height width channel"]:
        rows = guidance.tile(keys)
        drawn = latents.draw(params, state, guidance.condition, rows, options)
        images = latents.render(params, state, guidance.condition, drawn, rows)
        return guidance.combine(images)

    return sample


def linear(first: Latent, second: Latent, share: Float[Array, "batch"]) -> Latent:
    """On the straight line: for latents of any distribution."""
    share = share[:, None, None]
    return (1 - share) * first + share * second


def spherical(first: Latent, second: Latent, share: Float[Array, "batch"]) -> Latent:
    """On the great circle: for Gaussian noise, whose length says how typical it is.

    (White 2016, "Sampling Generative Networks".)
    """
    lengths = [jnp.linalg.norm(x, axis=(1, 2), keepdims=True) for x in (first, second)]
    cosine = (first * second).sum((1, 2), keepdims=True) / jnp.maximum(
        lengths[0] * lengths[1], 1e-12
    )
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    share = share[:, None, None]
    # Where both point the same way (or exactly apart) there is no one circle: the straight line.
    flat = jnp.sin(angle) < 1e-4
    sine = jnp.where(flat, 1, jnp.sin(angle))
    on_circle = (jnp.sin((1 - share) * angle) * first + jnp.sin(share * angle) * second) / sine
    return jnp.where(flat, (1 - share) * first + share * second, on_circle)
