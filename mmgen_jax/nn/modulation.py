"""Adaptive layer norm: a vector (the timestep, a condition) shifts, scales and gates layers."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Tokens = Float[Array, "batch tokens width"]
Vector = Float[Array, "batch width"]


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep (Vaswani et al. 2017, section 3.5) through a small network."""

    width: int
    frequencies: int = 128
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, timestep: Float[Array, "batch"]) -> Vector:
        exponent = jnp.arange(self.frequencies) / self.frequencies
        # Timesteps lie in [0, 1]; 1000 spreads them as the discrete steps of DDPM were.
        angle = 1000.0 * timestep[:, None] * (10_000.0**-exponent)[None]
        x = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        x = nn.silu(nn.Dense(self.width, kernel_init=self.kernel_init, name="hidden")(x))
        return nn.Dense(self.width, kernel_init=self.kernel_init, name="out")(x)


def modulate(x: Tokens, shift: Vector, scale: Vector) -> Tokens:
    """Adaptive layer norm's shift and scale, one per example."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Modulation(nn.Module):
    """adaLN-zero (Peebles & Xie 2023, section 3.2): parts read off a vector, zero at first."""

    parts: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, vector: Vector) -> list[Vector]:
        zeros = nn.initializers.zeros
        width = self.parts * vector.shape[-1]
        dense = nn.Dense(width, kernel_init=zeros, dtype=self.dtype, name="parts")
        return jnp.split(dense(nn.silu(vector)), self.parts, axis=-1)
