"""Everything that training changes, in one pytree."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int32, UInt32

from mmgen_jax import model as models
from mmgen_jax.model import Model


class TrainState(NamedTuple):
    """What a checkpoint holds, besides the position in the data.

    Attributes:
      step: optimizer steps taken.
      params: by group; a group that no player owns never changes.
      state: the family's own (batch statistics, codebooks, ...), never differentiated.
      optimizer: by player.
      ema: exponential moving average of the groups that some player owns.
      key: raw bits of the key that all randomness of training comes from.
    """

    step: Int32[Array, ""]
    params: Any
    state: Any
    optimizer: dict[str, Any]
    ema: Any
    key: UInt32[Array, "words"]

    @property
    def averaged(self) -> Any:
        """The parameters that samples are drawn with."""
        return self.params | self.ema


def owned(model: Model, player: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of parameters that a player owns."""
    return {group: params[group] for group in model.generator.players[player]}


def trained(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of parameters that some player owns."""
    owners = [owned(model, player, params) for player in model.generator.players]
    return {group: tree for groups in owners for group, tree in groups.items()}


def create(
    model: Model, optimizers: Mapping[str, optax.GradientTransformation], seed: int
) -> TrainState:
    """A fresh state; the same seed gives the same bits."""
    init_key, key = jax.random.split(jax.random.key(seed))
    # A weak type would be gone after a step, or a checkpoint, and the step be compiled again.
    strong = lambda x: jnp.asarray(x, x.dtype)  # noqa: E731
    params, state = jax.tree.map(strong, models.init(model, init_key))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        state=state,
        optimizer={p: tx.init(owned(model, p, params)) for p, tx in optimizers.items()},
        ema=jax.tree.map(jnp.copy, trained(model, params)),
        key=jax.random.key_data(key),
    )
