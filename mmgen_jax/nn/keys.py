"""Keys of examples, from which all randomness on devices comes: it depends on no layout of them."""

import jax
from jaxtyping import Array, Integer, Key


def key_per_example(key: Key[Array, ""], index: Integer[Array, "batch"]) -> Key[Array, "batch"]:
    """Returns a key for each example, which its index alone makes differ from others."""
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(index)


def fold_in_each(keys: Key[Array, "batch"], number: Integer[Array, ""]) -> Key[Array, "batch"]:
    """Returns other keys for the same examples: those of a place, or of a repetition."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
