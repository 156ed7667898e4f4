"""Exponential moving averages whose decay warms up, so that they forget their start."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

Tree = TypeVar("Tree")
WARMUP = 10


def rate(count: Real[Array, ""] | int, decay: float | int) -> Float[Array, ""]:
    """Returns how much of an average stays at an update: min(decay, n / (n + 10)).

    Args:
      count: n, the updates before this one, or of those and this one.
      decay: of a long training.
    """
    return jnp.minimum(decay, count / (count + WARMUP))


def update(average: Tree, new: Tree, rate: Float[Array, ""]) -> Tree:
    """Moves an average, a tree of arrays, towards new values."""
    return jax.tree.map(lambda old, value: rate * old + (1 - rate) * value, average, new)
