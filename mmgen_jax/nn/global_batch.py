"""The only place that looks across the examples of a global batch.

Under jit a batch is global already: these are plain reductions and identities. Under pmap each
device traces the same functions with its own share of the batch, with the axis `AXIS` bound: there
they are collectives.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

AXIS = "devices"


def mean(x: Float[Array, "batch ..."]) -> Float[Array, "..."]:
    """Mean over the examples of the global batch."""
    return average(x.mean(axis=0))


def masked_mean(x: Float[Array, "batch"], mask: Shaped[Array, "batch"]) -> Float[Array, ""]:
    """Mean over the examples whose mask is True; 0 if there is none."""
    # where, not *: what stands in masked places may be anything, NaN included.
    total, count = jnp.where(mask, x, 0).sum(), mask.astype(x.dtype).sum()
    if _is_split():
        total, count = jax.lax.psum((total, count), AXIS)
    return total / jnp.maximum(count, 1)


def gather(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "all ..."]:
    """The values of all examples of the global batch."""
    return jax.lax.all_gather(x, AXIS, tiled=True) if _is_split() else x


def positions(batch: int) -> Int[Array, "batch"]:
    """Where this device's examples stand in what `gather` returns."""
    first = batch * jax.lax.axis_index(AXIS) if _is_split() else 0
    return first + jnp.arange(batch)


def size(x: Shaped[Array, "batch ..."]) -> int:
    """How many examples the global batch has."""
    return x.shape[0] * (jax.lax.axis_size(AXIS) if _is_split() else 1)


def roll(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """Each example gets its neighbour's value: a mismatched pairing without fixed points."""
    if not _is_split():
        return jnp.roll(x, 1, axis=0)
    devices = jax.lax.axis_size(AXIS)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    return jnp.concatenate([jax.lax.ppermute(x[-1:], AXIS, ring), x[:-1]], axis=0)


def average(tree: Any) -> Any:
    """Mean over the devices of what each one computed from its share of the batch.

    Gradients too: with a loss that is equal on all devices, each device's gradient is that of the
    sum of all their losses by its own copy of the parameters, the mean of which is the gradient.
    """
    return jax.lax.pmean(tree, AXIS) if _is_split() else tree


def total(tree: Any) -> Any:
    """Sum over the devices of what each one summed over its share of the batch."""
    return jax.lax.psum(tree, AXIS) if _is_split() else tree


def _is_split() -> bool:
    try:
        jax.lax.axis_size(AXIS)
    except NameError:  # the axis is not bound
        return False
    return True
