"""Two ways to run the one training step on many devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmgen_jax.model import Batch
from mmgen_jax.nn.layout import on_mesh
from mmgen_jax.training import crossbatch, sharding
from mmgen_jax.training.step import Step


class Strategy(NamedTuple):
    """A compiled step and what feeds it.

    Attributes:
      place: what the input pipeline of this process made -> the batch as `step` takes it.
      step: (state, batch) -> (state, metrics). The state that goes in is donated.
    """

    place: Callable[[dict[str, Any]], Batch]
    step: Step


def with_jit(step: Step, mesh: Mesh, shardings: Any, batch_size: int) -> Strategy:
    """The compiler splits the step over the mesh, as its operands are split."""
    everywhere = sharding.replicated(mesh)

    compiled = jax.jit(
        on_mesh(mesh, step),
        in_shardings=(shardings, sharding.split(mesh)),
        out_shardings=(shardings, everywhere),
        donate_argnums=0,
    )
    return Strategy(partial(sharding.to_devices, mesh, batch_size=batch_size), compiled)


def with_pmap(step: Step, mesh: Mesh, shardings: Any, batch_size: int) -> Strategy:
    """Every device runs the step on its share of the batch; `crossbatch` communicates.

    The state goes in and comes out whole, so that it is what it is under jit, in checkpoints too.
    """
    mapped = jax.pmap(
        step,
        axis_name=crossbatch.AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )
    share = batch_size // mesh.size

    def place(batch: dict[str, Any]) -> Batch:
        cut = lambda x: np.reshape(x, (-1, share, *np.shape(x)[1:]))  # noqa: E731
        return sharding.batch_of(jax.tree.map(cut, batch))

    return Strategy(place, mapped)


STRATEGIES = {"jit": with_jit, "pmap": with_pmap}
