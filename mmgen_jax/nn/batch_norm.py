"""Batch normalisation over the global batch, and running moments, as pure functions.

Ioffe & Szegedy 2015, algorithm 1, but for one thing: what runs along are mean and mean of squares,
not mean and variance, so that their variance counts how batches differ, too.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from mmgen_jax.nn import global_batch, moving_average

EPSILON = 1e-5


class Moments(NamedTuple):
    """Mean and mean of squares of each feature, over examples."""

    mean: Float[Array, "features"]
    square: Float[Array, "features"]

    @property
    def variance(self) -> Float[Array, "features"]:
        """Not negative, whatever rounding does."""
        return jnp.maximum(self.square - jnp.square(self.mean), 0)


Named = dict[str, Moments]


def batch_moments(x: Float[Array, "batch features"]) -> Moments:
    """Those of the global batch, in float32."""
    x = x.astype(jnp.float32)
    return Moments(global_batch.mean(x), global_batch.mean(jnp.square(x)))


def run_along(running: Named, batch: Named, count: Int32[Array, ""], decay: float) -> Named:
    """Moves running moments towards a batch's; no gradient comes back.

    The rate at which the old ones stay, min(decay, n / (n + 10)) after n batches, is that of the
    averaged parameters (`training.step.average`). It is 0 at first: what is returned is always a
    mean of batches' moments, of weights that sum to 1, and forgets an untrained network's.

    Args:
      running: their mean so far; anything where `count` is 0.
      batch: of this batch.
      count: batches so far.
      decay: of a long training.
    """
    rate = moving_average.rate(count.astype(jnp.float32), decay)
    return jax.lax.stop_gradient(moving_average.update(running, batch, rate))


class BatchNorm(nn.Module):
    """Each feature to mean 0 and variance 1, then scaled and shifted as learned."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch features"], moments: Moments | None = None
    ) -> tuple[Float[Array, "batch features"], Moments]:
        """(what is normalised, the moments used): those given, or else the global batch's."""
        moments = batch_moments(x) if moments is None else moments
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        factor = scale * jax.lax.rsqrt(moments.variance + EPSILON)
        centred = x.astype(jnp.float32) - moments.mean[None]
        return (centred * factor[None] + bias[None]).astype(self.dtype), moments
