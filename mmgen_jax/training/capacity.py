"""Whether a training state and a batch have room on the devices that are here.

Shapes alone are counted, before anything is allocated or compiled. Gradients and activations come
on top: what is refused here cannot work, what is not may still be too much.
"""

import math
import os
from typing import Any

import jax
from ml_collections import ConfigDict

from mmgen_jax.config.footprint import Part, refusal
from mmgen_jax.errors import InputError
from mmgen_jax.nn.layout import path_name
from mmgen_jax.schema import find
from mmgen_jax.training import devices
from mmgen_jax.training.program import Program
from mmgen_jax.training.state import TrainState


def check(config: ConfigDict, program: Program) -> None:
    """Refuses a config whose state and batch need more than a device of its mesh has.

    Raises:
      InputError: naming the bytes and the keys that most of them come from.
    """
    mesh, state = program.mesh, program.state
    room = memory_of(mesh.local_devices[0])
    if room is None:
        return
    where = f"one of {mesh.size} devices here"
    sizes = jax.tree.map(_size_of_share, state, program.shardings)
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    rows = max(1, config.train.batch_size // parts)
    batch = sum(map(_size, jax.tree.leaves(program.batch))) // parts
    total = sum(jax.tree.leaves(sizes))
    if total > batch and total + batch > room:
        path, largest = _largest(state, sizes)
        what = f"parameters, averages and moments (most of them in {path}, {largest.shape}), "
        part = Part(what + "with a batch,", total + batch, _keys(config, path, largest))
        raise InputError(refusal(config, part, room, where))
    if total + batch > room:
        keys = ("train.batch_size", "data.image_size")
        part = Part(f"{rows} examples of a batch, with parameters,", total + batch, keys)
        raise InputError(refusal(config, part, room, where))


def memory_of(device: jax.Device) -> int | None:
    """Bytes of a device: what it says, what its maker says, or a share of this machine's memory."""
    if device.platform == "cpu":
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return machine // jax.local_device_count()
    stated = device.memory_stats() or {}
    kind = devices.kind_of(device.device_kind)
    return stated["bytes_limit"] if "bytes_limit" in stated else kind.memory if kind else None


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _size_of_share(leaf: Any, share: Any) -> int:
    return math.prod(share.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _largest(state: TrainState, sizes: TrainState) -> tuple[str, Any]:
    """(path, array) of the largest of the parameters."""
    named = jax.tree_util.tree_leaves_with_path(state.params)
    largest = max(range(len(named)), key=lambda i: jax.tree.leaves(sizes.params)[i])
    return path_name(named[largest][0]), named[largest][1]


def _keys(config: ConfigDict, path: str, array: Any) -> tuple[str, ...]:
    """The keys of an array's part of the model that its axes are multiples of, largest first."""
    part, _, rest = path.partition("/")
    name = rest.partition("/")[0]
    groups = [f"modalities.{name}"] if name in config.modalities.names else []
    groups += ["objective"] if part == "recovery" else []
    groups += ["fusion"] if name == "fusion" else []
    groups = groups or [f"generator.{config.generator.name}"]
    found = {
        f"{group}.{key}": value
        for group in groups
        for key, value in find(config, group).items()
        if type(value) is int and value > 4 and any(axis % value == 0 for axis in array.shape)
    }
    found |= {
        f"{group}.{key}": max(value)
        for group in groups
        for key, value in find(config, group).items()
        if isinstance(value, tuple) and value and set(value) & set(array.shape)
    }
    chosen = sorted(found, key=lambda key: -found[key])[:3]
    return tuple(chosen) or tuple(groups)
