"""Where parameters and activations lie on a mesh of devices, while a network computes.

A mesh has the axes `AXES`: `data` and `fsdp` split the examples, `fsdp` the stored parameters too,
`tensor` the features within layers. Whoever compiles puts the mesh in use
(`on_mesh`); where none is, nothing here does anything.

What is said here must be said: left to itself, the compiler spreads the parameters' layout to
activations, and on a mesh of 2 x 2 x 2 exchanged the examples of two devices (jax 0.10 and 0.12).
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Shaped

BATCH = ("data", "fsdp")
AXES = (*BATCH, "tensor")

# Which axis of a parameter `tensor` splits: the first pattern that is found in its path decides,
# for the optimizer's moments and the average alike (Shoeybi et al. 2019, Megatron-LM, section 3).
TENSOR_RULES = (
    (r"(qkv|gate_up|hidden)/kernel$", -1),  # features out
    (r"(out|down)/kernel$", -2),  # features in
)
# `nn.scan` stacks the parameters of all layers on axis 0, under this name.
STACKED = "layers"


def on_mesh(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with the mesh in use whenever it is traced."""

    @functools.wraps(function)
    def within(*args: Any, **options: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **options)

    return within


def tensor_axis(path: tuple[Any, ...], rank: int) -> int | None:
    """Which axis of the array at `path` of a tree may be split over `tensor`; None for none."""
    for pattern, axis in TENSOR_RULES:
        if re.search(pattern, path_name(path)):
            return rank + axis
    return None


def path_name(path: tuple[Any, ...]) -> str:
    """The keys of a path in a tree, joined by /."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def gathered(params: Any) -> Any:
    """The same parameters, whole but for `tensor`: as they are computed with.

    They are stored split over `fsdp` (Rajbhandari et al. 2020, ZeRO, stage 3). Stacked layers are
    left as they are: each is gathered when the scan comes to it (`transformer.scan_layers`), so
    that only one is whole at a time.
    """
    sizes = jax.sharding.get_abstract_mesh().shape
    if "fsdp" not in sizes:
        return params

    def gather(path: tuple[Any, ...], leaf: Array) -> Array:
        if f"/{STACKED}/" in f"/{path_name(path)}":
            return leaf
        spec: list[str | None] = [None] * leaf.ndim
        axis = tensor_axis(path, leaf.ndim)
        if axis is not None and leaf.shape[axis] % sizes["tensor"] == 0:
            spec[axis] = "tensor"
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(gather, params)


def by_example(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """The same values, of which each device holds those of its examples, if they can be shared."""
    sizes = jax.sharding.get_abstract_mesh().shape
    if "fsdp" not in sizes or x.shape[0] % (sizes["data"] * sizes["fsdp"]):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH))
