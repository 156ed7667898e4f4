"""The training step of a config, compiled for TPUs that are not there.

The compiler is libtpu, which needs no TPU: it is told the topology. `launch/compile.py` sets the
environment that it wants, and says how to install it.
"""

import math
import re
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.model import Assets
from mmgen_jax.performance import collectives, flops, tables
from mmgen_jax.training import devices, program, sharding
from mmgen_jax.training.program import Program

MEGACORE = ("v4", "v5p")  # whose chips have two cores, that are one device to jax
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class Compiled(NamedTuple):
    """What compiling gave.

    Attributes:
      memory: bytes of a chip, by what takes them; "total" is all together.
      collectives: by kind, `count` and `bytes` that a chip sends in a step; None if the compiler
        gave up, because it did not fit.
      seconds: that lowering and compiling took.
    """

    memory: dict[str, int]
    collectives: dict[str, dict[str, int]] | None
    seconds: float


def chips(topology: str, slices: int = 1) -> list[Any]:
    """The devices of a topology, such as v5e:4x4, of one slice or several.

    Raises:
      InputError: if libtpu is not installed, or knows no such topology.
    """
    generation = topology.partition(":")[0]
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if generation in MEGACORE:
        options["chip_config_name"] = "megacore"
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology, **options
        ).devices
    except RuntimeError as error:
        message = str(error).partition("\n")[0]
        if "not installed" in message:
            raise InputError(
                "libtpu, the compiler for TPUs, is not installed; allowed: after pip install"
                " --no-deps --target=DIR libtpu==0.0.52, with PYTHONPATH=DIR"
            ) from error
        raise InputError(
            f"--topology={topology}: {message}; allowed: such as v4:2x2x4, v5e:4x4, v5p:4x4x4,"
            " v6e:16x16"
        ) from error
    return list(found)


class Plan(NamedTuple):
    """A config on chips.

    Attributes:
      config: with the batch size that was asked for.
      topology: of each slice.
      slices: how many there are.
      mesh: of their chips.
    """

    config: ConfigDict
    topology: str
    slices: int
    mesh: Mesh


def plan(config: ConfigDict, topology: str, slices: int, per_chip: int | None) -> Plan:
    """Lays a config out on chips, before minutes of compiling.

    Args:
      config: as a recipe gives it.
      topology: of each slice.
      slices: how many there are.
      per_chip: examples of a step for each chip that the batch is split over; None: as config has.

    Raises:
      InputError: as `chips` does, and for a config that cannot work on so many devices.
    """
    config, found = config.copy_and_resolve_references(), chips(topology, slices)
    if config.train.strategy != "jit":
        raise InputError(
            f"config.train.strategy = {config.train.strategy!r}; allowed for devices that are not"
            " there: 'jit'"
        )
    shape = configs.mesh_shape(config.sharding, len(found), slices)
    if per_chip is not None:
        config.train.batch_size = max(1, per_chip * shape[0] * shape[1])
    processes = len({device.process_index for device in found})
    configs.validate(config, len(found), processes, slices)
    return Plan(config, topology, slices, sharding.mesh_of(shape, found[: math.prod(shape)]))


def report(planned: Plan, assets: Assets) -> dict[str, Any]:
    """Compiles the training step of a plan; JSON-able. `assets` are of its modalities."""
    config, topology, slices, mesh = planned
    data, fsdp, tensor = mesh.devices.shape
    built = program.build(config, models.build(config, assets), mesh)
    compiled = compile_program(built)
    kind = devices.kind_of(mesh.devices.flat[0].device_kind)
    total, sent = compiled.memory["total"], compiled.collectives
    return {
        "topology": topology,
        "slices": slices,
        "chips": mesh.size,
        "device": kind.name if kind else mesh.devices.flat[0].device_kind,
        "mesh": {"data": data, "fsdp": fsdp, "tensor": tensor},
        "batch_size": config.train.batch_size,
        "fits": sent is not None,  # it knows what of a chip's memory is left for programs
        "memory_per_chip_bytes": total,
        "hbm_bytes": kind.memory if kind else None,
        "memory": compiled.memory,
        "collectives": sent,
        "collective_bytes": None if sent is None else sum(row["bytes"] for row in sent.values()),
        "compile_seconds": compiled.seconds,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "libtpu")},
        **flops.analytic(config, assets),
    }


TITLES = (
    *("recipe", "chips", "mesh (data x fsdp x tensor)", "batch", "parameters", "fits"),
    *("memory of a chip, GiB", "of", "of it activations", "sent by a chip in a step, GB"),
    *("the same by kind, GB", "model TFLOP an image", "compiled in, s"),
)


def table(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Reports in Markdown, a line for each; beside each the name of its recipe."""
    return tables.markdown(TITLES, [_row(name, report) for name, report in found])


def _row(name: str, found: dict[str, Any]) -> list[str]:
    gib = lambda size: f"{size / 2**30:.2f}"  # noqa: E731
    slices = f"{found['slices']} slices, " if found["slices"] > 1 else ""
    return [
        f"`{name}`",
        f"{found['chips']} x {found['device']} ({slices}{found['topology'].partition(':')[2]})",
        " x ".join(str(size) for size in found["mesh"].values()),
        f"{found['batch_size']:,}",
        f"{found['parameters']['total'] / 1e6:,.1f} M",
        "yes" if found["fits"] else "no",
        gib(found["memory_per_chip_bytes"]),
        gib(found["hbm_bytes"]) if found["hbm_bytes"] else "unknown",
        gib(found["memory"]["activations"]) if found["fits"] else "",
        f"{found['collective_bytes'] / 1e9:.3f}" if found["fits"] else "",
        ", ".join(
            f"{kind} {sent['bytes'] / 1e9:.3f}"
            for kind, sent in (found["collectives"] or {}).items()
        ),
        f"{found['model_flops_per_image'] / 1e12:.4g}",
        f"{found['compile_seconds']:.0f}",
    ]


def curves(found: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """What chips hold and send, of those reports that fit, over the number of chips."""
    fitting = [report for report in found if report["fits"]]
    if not fitting:
        return {}
    return {
        "GiB of memory": [(r["chips"], r["memory_per_chip_bytes"] / 2**30) for r in fitting],
        "GB sent in a step": [(r["chips"], r["collective_bytes"] / 1e9) for r in fitting],
    }


def compile_program(built: Program) -> Compiled:
    """Compiles a program's step for its mesh."""
    memory = _of_state(built)
    start = time.monotonic()
    lowered = built.lower()
    try:
        made = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        used = _used(str(error), sum(memory.values()))
        if used is None:
            raise
        return Compiled(memory | {"total": used}, None, time.monotonic() - start)
    seconds = time.monotonic() - start
    stats = made.memory_analysis()
    memory |= {
        "batch": stats.argument_size_in_bytes - sum(memory.values()),
        "activations": stats.temp_size_in_bytes,
        "results": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "program": stats.generated_code_size_in_bytes,
    }
    memory["total"] = sum(memory.values())
    sent = collectives.traffic(made.as_text(), built.mesh.size)
    return Compiled(memory, {kind: row._asdict() for kind, row in sent.items()}, seconds)


def _of_state(built: Program) -> dict[str, int]:
    """Bytes of the training state on a chip."""

    def share(shapes: Any, shardings: Any) -> int:
        sizes = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(s.shard_shape(x.shape), x.dtype), shapes, shardings
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(sizes))

    parts = zip(built.state._fields, built.state, built.shardings, strict=True)
    sizes = {name: share(shapes, shardings) for name, shapes, shardings in parts}
    names = {"params": "parameters", "optimizer": "optimizer", "ema": "average"}
    found = {names[part]: sizes[part] for part in names}
    return found | {"other state": sum(sizes.values()) - sum(found.values())}


def _used(message: str, state: int) -> int | None:
    """How much memory the compiler would have needed, by its complaint that there is too little.

    It tells of all, or where one part alone is too much, of what is beside the training state.
    """
    every = re.search(r"Used ([\d.]+)([KMG]) of [\d.]+[KMG] hbm", message)
    beside = re.search(r"required for HLO temporaries \(([\d.]+)([KMG])\)", message)
    used = every or beside
    if not used:
        return None
    return round(float(used[1]) * UNITS[used[2]]) + (0 if every else state)
