"""Where arrays lie: the mesh of devices, and what is split over it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mmgen_jax.model import Batch


def make_mesh(options: ConfigDict) -> Mesh:
    """The devices as a mesh with the axis `data`, over which batches are split.

    Args:
      options: config.sharding; `data` = -1 takes all devices.
    """
    count = jax.device_count() if options.data == -1 else options.data
    devices = jax.devices()[:count]
    return jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis, the batch, is split over all devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def to_devices(mesh: Mesh, batch: dict[str, Any]) -> Batch:
    """What the input pipeline of this process made -> the global batch on the mesh."""
    sharding = split(mesh)
    put = lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x))  # noqa: E731
    arrays = jax.tree.map(put, batch)
    return Batch(arrays["index"], arrays["image"], arrays["values"], arrays["has"])
