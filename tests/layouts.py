"""Layouts of devices and processes, and training on each of them, in processes of its own."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from tests.launching import ROOT, Done


class Layout(NamedTuple):
    """How many devices there are, and what the config says of them."""

    devices: int
    processes: int = 1
    overrides: dict[str, Any] = {}  # noqa: RUF012, nobody changes it


LAYOUTS = {
    "one": Layout(1),
    "data": Layout(8),
    "fsdp": Layout(8, overrides={"sharding.data": 1, "sharding.fsdp": 8}),
    "cube": Layout(8, overrides={"sharding.fsdp": 2, "sharding.tensor": 2}),
    "cube of two": Layout(4, processes=2, overrides={"sharding.fsdp": 2, "sharding.tensor": 2}),
    "pmap": Layout(8, overrides={"train.strategy": "pmap"}),
    "processes": Layout(4, processes=2),
}


# What a run's config says of its layout, where the layout says nothing.
USUAL = {
    "sharding.data": -1,
    "sharding.fsdp": 1,
    "sharding.tensor": 1,
    "train.strategy": "jit",
}


def environment(layout: Layout) -> list[dict[str, str]]:
    """What every process of a layout needs to be one of it."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={layout.devices}"
    shared = {"XLA_FLAGS": flags, "JAX_NUM_PROCESSES": str(layout.processes)}
    if layout.processes == 1:
        return [shared]
    with socket.create_server(("127.0.0.1", 0)) as server:
        shared["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{server.getsockname()[1]}"
    return [shared | {"JAX_PROCESS_ID": str(number)} for number in range(layout.processes)]


def start(layout: Layout, *arguments: str | Path) -> list[subprocess.Popen]:
    """Starts Python in every process of a layout, in the repository's root."""
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for variables in environment(layout)
    ]


def finish(processes: list[subprocess.Popen], timeout: float = 900) -> list[Done]:
    """Waits for all of them, and kills them where that takes too long."""
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            # Where processes talk by gloo, stdout holds its chatter, of several threads at once.
            ended.append(Done(process.returncode, "" if len(processes) > 1 else out, err))
    finally:
        for process in processes:
            process.kill()
    return ended


def begin_in(workdir: Path, config: ConfigDict) -> None:
    """Writes the config of a run that is to be trained by `train_on`.

    With a place for checkpoints: a run whose folder of them is gone is not begun again.
    """
    (workdir / "checkpoints").mkdir(parents=True)
    configs.save(config, workdir / "config.json")


def train_on(name: str, *runs: Path | tuple[Path, Path]) -> dict[str, dict[str, Any]]:
    """Trains runs on a layout, one after the other in the same processes.

    Args:
      name: of the layout.
      runs: each a directory as `begin_in` makes it, or (directory, directory of a whole
        run): it goes on from that run's first checkpoint.

    Returns:
      What was seen, by directory: "fed", each step's records; "bytes", of parameters and optimizer
      state by device; "whole", of all of them; "donated", whether the first state was.
    """
    named = ["=".join(map(str, run)) if isinstance(run, tuple) else str(run) for run in runs]
    with tempfile.TemporaryDirectory() as folder:
        for process in finish(start(LAYOUTS[name], "-m", "tests.layouts", folder, name, *named)):
            assert process.code == 0, process.err
        first, *others = [
            json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).iterdir())
        ]
    for workdir, seen in first.items():
        for other in others:
            fed = zip(seen["fed"], other[workdir]["fed"], strict=True)
            seen["fed"] = [sorted(ours + theirs) for ours, theirs in fed]
            seen["bytes"] |= other[workdir]["bytes"]
    return first


def _train_and_note() -> None:
    from mmgen_jax.data.pipeline import TrainingBatches
    from mmgen_jax.training import loop, processes

    seen: dict[str, Any] = {}
    following, run = TrainingBatches.__next__, loop.Loop.run

    def note_batch(self: Any) -> Any:
        batch = following(self)
        rows = range(len(batch["index"]))
        seen["fed"].append([_checksum(jax.tree.map(lambda x, r=r: x[r], batch)) for r in rows])
        return batch

    def note_state(self: Any, state: Any, *others: Any) -> Any:
        leaves = jax.tree.leaves((state.params, state.optimizer))
        seen["whole"], seen["bytes"] = sum(leaf.nbytes for leaf in leaves), {}
        for shard in (shard for leaf in leaves for shard in leaf.addressable_shards):
            device = str(shard.device.id)
            seen["bytes"][device] = seen["bytes"].get(device, 0) + shard.data.nbytes
        after = run(self, state, *others)
        seen["donated"] = all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        return after

    TrainingBatches.__next__, loop.Loop.run = note_batch, note_state
    folder, name, *runs = sys.argv[1:]
    found = {}
    with processes.joined():
        for run_ in runs:
            workdir, _, whole = run_.partition("=")
            if whole:
                processes.on_main(partial(copy_first_half, Path(whole), Path(workdir)))
            config = configs.load(Path(workdir) / "config.json")
            config.update_from_flattened_dict(USUAL | LAYOUTS[name].overrides)
            seen = {"fed": []}
            loop.train(config, Path(workdir))
            found[workdir] = seen
        (Path(folder) / str(jax.process_index())).write_text(json.dumps(found), encoding="utf-8")


def copy_first_half(whole: Path, workdir: Path) -> None:
    """A run that has come to its first checkpoint."""
    shutil.copytree(whole, workdir)
    steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    for step in steps[1:]:
        shutil.rmtree(workdir / "checkpoints" / str(step))


def _checksum(example: Any) -> str:
    checksum = hashlib.sha256()
    for leaf in jax.tree.leaves(example):
        checksum.update(np.ascontiguousarray(leaf).tobytes())
    return f"{int(example['index']):08d}:{checksum.hexdigest()}"


if __name__ == "__main__":
    _train_and_note()
