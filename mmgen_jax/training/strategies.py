"""Two ways to run the one training step on many devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmgen_jax.model import Batch
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.layout import on_mesh
from mmgen_jax.training import sharding
from mmgen_jax.training.step import Step


class Strategy(NamedTuple):
    """A compiled step and what feeds it.

    Attributes:
      place: what the input pipeline of this process made -> the batch as `step` takes it.
      step: (state, batch) -> (state, metrics). The state that goes in is donated.
      batch: shapes and dtypes of what `step` takes, to compile it before there is any.
    """

    place: Callable[[dict[str, Any]], Batch]
    step: Step
    batch: Batch


def with_jit(step: Step, mesh: Mesh, shardings: Any, batch: Batch) -> Strategy:
    """The compiler splits the step over the mesh, as its operands are split."""
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    size = batch.index.shape[0]
    compiled = jax.jit(
        on_mesh(mesh, step),
        in_shardings=(shardings, split),
        out_shardings=(shardings, everywhere),
        donate_argnums=0,
    )
    shapes = sharding.placed(batch, jax.tree.map(lambda _: split, batch))
    return Strategy(partial(sharding.to_devices, mesh, batch_size=size), compiled, shapes)


def with_pmap(step: Step, mesh: Mesh, shardings: Any, batch: Batch) -> Strategy:
    """Every device runs the step on its share of the batch; `crossbatch` communicates.

    The state goes in and comes out whole, so that it is what it is under jit, in checkpoints too.
    """
    mapped = jax.pmap(
        step,
        axis_name=global_batch.AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )
    split = sharding.split(mesh)

    def place(batch: dict[str, Any]) -> Batch:
        cut = jax.tree.map(lambda x: np.reshape(x, _cut(mesh, np.shape(x))), batch)
        return sharding.batch_of(jax.device_put(cut, split))

    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(_cut(mesh, x.shape), x.dtype, sharding=split), batch
    )
    return Strategy(place, mapped, shapes)


def _cut(mesh: Mesh, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array of a batch that has an axis for the devices."""
    return (mesh.size, shape[0] // mesh.size, *shape[1:])


STRATEGIES = {"jit": with_jit, "pmap": with_pmap}
