"""What is on the disk of a run, for comparing runs bit for bit."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.training import checkpoints, run, sharding


def everything(workdir: Path, step: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The bits of a checkpoint's every array, by name, and its position in the data."""
    config = configs.load(workdir / "config.json")
    model = models.build(config, run.read_assets(workdir, config))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = run.state_shapes(config, model)
    like = sharding.placed(shapes, jax.tree.map(lambda _: device, shapes))
    restored = checkpoints.restore(workdir, step, like)
    leaves = jax.tree_util.tree_leaves_with_path(restored.state)
    bits = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
    return bits, restored.data


def logged(workdir: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl holds, but for the times and how long it took to start."""
    lines = [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    ]
    return [
        {k: v for k, v in line.items() if not re.search("per_second|startup", k)} for line in lines
    ]
