"""The only place that looks across the examples of a global batch.

Under jit a batch is global already, and these are identities or plain reductions.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


def mean(x: Float[Array, "batch ..."]) -> Float[Array, "..."]:
    """Mean over the examples of the global batch."""
    return x.mean(axis=0)


def masked_mean(x: Float[Array, "batch"], mask: Shaped[Array, "batch"]) -> Float[Array, ""]:
    """Mean over the examples whose mask is True; 0 if there is none."""
    weight = mask.astype(x.dtype)
    # where, not *: what stands in masked places may be anything, NaN included.
    return jnp.where(mask, x, 0).sum() / jnp.maximum(weight.sum(), 1)


def gather(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """The values of all examples of the global batch."""
    return x


def positions(batch: int) -> Int[Array, "batch"]:
    """Where this device's examples stand in what `gather` returns."""
    return jnp.arange(batch)


def roll(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """Each example gets its neighbour's value: a mismatched pairing without fixed points."""
    return jnp.roll(x, 1, axis=0)
