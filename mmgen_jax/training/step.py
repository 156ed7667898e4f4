"""The one training step, for every family and any set of players."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32
from ml_collections import ConfigDict

from mmgen_jax.model import Batch, Model
from mmgen_jax.nn import global_batch, moving_average
from mmgen_jax.objective import objective
from mmgen_jax.training.state import TrainState, owned, trained

Metrics = dict[str, Float[Array, ""]]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def build(
    config: ConfigDict, model: Model, optimizers: Mapping[str, optax.GradientTransformation]
) -> Step:
    """(state, batch) -> (state, metrics), pure; the caller compiles it."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, family_state, metrics = gradients(model, state, batch, config.train.grad_accum_steps)
        params, optimizer = dict(state.params), dict(state.optimizer)
        for player, transformation in optimizers.items():
            options = config.optimizer[player]
            mine = owned(model, player, grads)
            metrics[f"gradient_norm_{player}"] = optax.tree.norm(mine)
            # bind now: the loop variables change before a closure of jax's would be called
            update = lambda args, tx=transformation: _update(tx, *args)  # noqa: E731
            operands = (mine, optimizer[player], owned(model, player, params))
            moved, optimizer[player] = jax.lax.cond(
                _moves(state.step, options.update_every, options.update_start),
                update,
                lambda args: (args[2], args[1]),
                operands,
            )
            params |= moved
        ema = average(state.ema, trained(model, params), state.step, config.train.ema_decay)
        return (
            TrainState(state.step + 1, params, family_state, optimizer, ema, state.key),
            metrics,
        )

    return step


def gradients(
    model: Model, state: TrainState, batch: Batch, grad_accum_steps: int
) -> tuple[Any, Any, Metrics]:
    """(gradients of every player's groups, new family state, metrics) from one `value_and_grad`.

    With `grad_accum_steps` > 1 the batch is cut into that many parts, one after another in a scan,
    and gradients and metrics are averaged: the memory of a part at the price of its time. Terms
    that compare examples then compare those of a part, and the family's state moves once per part.
    """
    key = jax.random.wrap_key_data(state.key)

    def one(family_state: Any, part: Batch) -> tuple[Any, tuple[Any, Metrics]]:
        def loss(moving: Any) -> Any:
            return objective(model, state.params | moving, family_state, part, key, state.step)

        moving = trained(model, state.params)
        (_, (new_state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(moving)
        return new_state, global_batch.average((grads, metrics))

    if grad_accum_steps == 1:
        family_state, (grads, metrics) = one(state.state, batch)
        return grads, family_state, metrics
    # Rows go to the parts in turn, so that each device's share stays where it is.
    cut = lambda x: x.reshape(-1, grad_accum_steps, *x.shape[1:]).swapaxes(0, 1)  # noqa: E731
    family_state, stacked = jax.lax.scan(one, state.state, jax.tree.map(cut, batch))
    grads, metrics = jax.tree.map(lambda x: x.mean(axis=0), stacked)
    return grads, family_state, metrics


def average(ema: Any, params: Any, step: Int32[Array, ""], decay: float) -> Any:
    """Moves the average towards `params`; the decay warms up, so that it forgets the start."""
    rate = moving_average.rate(step.astype(jnp.float32) + 1, decay)
    return moving_average.update(ema, params, rate)


def _update(
    transformation: optax.GradientTransformation, grads: Any, optimizer: Any, params: Any
) -> tuple[Any, Any]:
    updates, optimizer = transformation.update(grads, optimizer, params)
    return optax.apply_updates(params, updates), optimizer


def _moves(step: Int32[Array, ""], every: int, start: int) -> Any:
    """Whether a player moves at this step; a plain True where that never changes."""
    if every == 1 and start == 0:
        return True
    return (step >= start) & ((step - start) % every == 0)
