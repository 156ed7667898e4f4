"""Where arrays lie: the mesh of devices, and what is split over which of its axes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.errors import InputError
from mmgen_jax.model import Batch
from mmgen_jax.nn.layout import AXES, BATCH, STACKED, path_name, tensor_axis

AnyMesh = Mesh | AbstractMesh


def make_mesh(options: ConfigDict) -> Mesh:
    """The devices of all processes as a mesh of three axes.

    `data` repeats the parameters and splits the batch, `fsdp` splits both (Rajbhandari et al. 2020,
    ZeRO, stage 3), `tensor` splits the parameters and what is computed with them.

    Args:
      options: config.sharding; `data` = -1 takes what the others leave of the devices.
    """
    shape = configs.mesh_shape(options, jax.device_count(), slice_count(jax.devices()))
    return mesh_of(shape, jax.devices()[: int(np.prod(shape))])


def mesh_of(shape: tuple[int, int, int], devices: Sequence[jax.Device]) -> Mesh:
    """These devices as a mesh of `AXES`, near in it where near in a TPU's torus.

    Slices of TPUs, which a slower network joins, share out the axis `data` alone.

    Raises:
      InputError: if they cannot.
    """
    slices = slice_count(devices)
    if shape[0] % slices:
        raise InputError(
            f"the mesh's data = {shape[0]} over {slices} slices; allowed: a multiple of {slices}"
        )
    options = {"devices": devices, "allow_split_physical_axes": True}
    if slices == 1:
        made = mesh_utils.create_device_mesh(shape, **options)
    else:
        within = (shape[0] // slices, *shape[1:])
        made = mesh_utils.create_hybrid_device_mesh(within, (slices, 1, 1), **options)
    return Mesh(made, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def slice_count(devices: Sequence[jax.Device]) -> int:
    """Slices of TPUs, each with a fast network of its own; 1 of other devices."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis, the batch, is split over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def shard(mesh: AnyMesh, shapes: Any) -> Any:
    """The same tree (parameters, moments, averages) with the sharding of every array.

    Knows no model: `tensor` splits the axis that `TENSOR_RULES` name, `fsdp` the longest of the
    others. An axis that does not divide stays whole; counters and keys, which are no floats, too.

    Args:
      mesh: as `make_mesh` makes it, or the same without its devices.
      shapes: a tree of arrays or jax.ShapeDtypeStructs.
    """

    def choose(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        spec: list[str | None] = [None] * leaf.ndim
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            by_rule = tensor_axis(path, leaf.ndim)
            _place(spec, "tensor", mesh, leaf.shape, [] if by_rule is None else [by_rule])
            # Axis 0 of stacked layers is sliced in every step: that needs it whole.
            first = 1 if f"/{STACKED}/" in path_name(path) else 0
            longest = sorted(range(first, leaf.ndim), key=lambda axis: -leaf.shape[axis])
            _place(spec, "fsdp", mesh, leaf.shape, longest)
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(choose, shapes)


def placed(shapes: Any, shardings: Any) -> Any:
    """The same tree of jax.ShapeDtypeStructs, each with its sharding."""
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, shardings
    )


def rows(mesh: Mesh, batch_size: int) -> list[int]:
    """Which rows of a global batch the devices of this process hold, in order."""
    slices = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    return sorted({row for (part,) in slices for row in range(*part.indices(batch_size))})


def batch_of(arrays: dict[str, Any]) -> Batch:
    """What the input pipeline made, by its names there -> the same as a Batch."""
    return Batch(arrays["index"], arrays["image"], arrays["values"], arrays["has"])


def to_devices(mesh: Mesh, batch: dict[str, Any], batch_size: int) -> Batch:
    """What the input pipeline of this process made -> the global batch on the mesh.

    Args:
      mesh: as `make_mesh` makes it.
      batch: the rows that `rows` names, in that order.
      batch_size: rows of the global batch.
    """
    sharding = split(mesh)
    place = {row: k for k, row in enumerate(rows(mesh, batch_size))}

    def put(local: Any) -> jax.Array:
        local = np.asarray(local)

        def part(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(batch_size)
            return local[place[start] : place[start] + stop - start]

        shape = (batch_size, *local.shape[1:])
        return jax.make_array_from_callback(shape, sharding, part)

    return batch_of(jax.tree.map(put, batch))


def _place(
    spec: list[str | None], name: str, mesh: AnyMesh, shape: tuple[int, ...], candidates: list[int]
) -> None:
    """Splits the first free candidate axis that divides over the mesh's axis `name`."""
    for axis in candidates:
        if mesh.shape[name] > 1 and spec[axis] is None and shape[axis] % mesh.shape[name] == 0:
            spec[axis] = name
            return
