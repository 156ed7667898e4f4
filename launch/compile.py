"""Compiles the training step of a recipe for a TPU pod that is not there: does it fit, what moves?

    python launch/compile.py --config=configs/flow.py:size=xl --topology=v5e:16x16 --out=pod.json

What it finds is a JSON file and a Markdown table beside it. Several topologies, at the same batch
for each chip, give a plot of how it scales; a table of many recipes is made by `tools/scaling.py`:

    python launch/compile.py --config=configs/flow.py:size=xl --topology=v5e:4x4,v5e:16x16 \
        --batch_per_chip=16 --out=scaling.json

The compiler is libtpu, which needs no TPU. In a folder of its own it does not disturb other
programs, of which only one at a time may use it:

    pip install --no-deps --target=.venv/tpu-compile libtpu==0.0.52
    PYTHONPATH=.venv/tpu-compile python launch/compile.py ...

The data set is read for what modalities learn of it: vocabulary, names of classes.
"""

import os
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections.config_flags import get_config_filename

from mmgen_jax import cli
from mmgen_jax import config as configs
from mmgen_jax.cli.bounds import define_names

CONFIG = cli.define_config()
flags.mark_flag_as_required("config")
TOPOLOGY = define_names(
    "topology",
    None,
    "Of each slice, such as v4:2x2x4, v5e:4x4, v5p:4x4x4, v6e:16x16.",
    required=True,
)
SLICES = flags.DEFINE_integer("slices", 1, "How many there are.", lower_bound=1, upper_bound=1_000)
BATCH_PER_CHIP = flags.DEFINE_integer(
    "batch_per_chip",
    None,
    "Examples for each chip that shares out the batch; default: config.train.batch_size in all.",
    lower_bound=1,
    upper_bound=100_000,
)
output = cli.define_out(
    "compile",
    ".json",
    beside=(".md", ".png"),
    help="JSON file to write; a table and a plot go beside it.",
)

# libtpu is the compiler alone: it must not look for a TPU, nor keep other programs from one.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # it cannot read what is for no device
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # It asks for these, and warns where they are missing; a topology that is named needs neither.
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def main() -> None:
    out = output()
    configs.validate(CONFIG.value)
    os.environ |= ENVIRONMENT

    # These import jax: after the environment is set.
    from mmgen_jax import model as models
    from mmgen_jax.evaluation.report import write
    from mmgen_jax.media import plots
    from mmgen_jax.performance import aot
    from mmgen_jax.training import start

    asked = SLICES.value, BATCH_PER_CHIP.value
    plans = [aot.plan(CONFIG.value, topology, *asked) for topology in TOPOLOGY.value]
    assets = models.fit(CONFIG.value, start.opened(CONFIG.value))
    file, colon, argument = get_config_filename(flags.FLAGS["config"]).partition(":")
    found, recipe = [], Path(file).name + colon + argument
    for planned in plans:
        print(f"compiling for {planned.slices} x {planned.topology}", flush=True)
        found.append(aot.report(planned, assets))
        print(describe(found[-1]), flush=True)
        rows = [(recipe, report) for report in found]
        out.beside(".md").write_markdown(aot.table(rows) + "\n")
        lines = aot.curves(found) if len(found) > 1 else {}
        sections = [("how it scales", plots.curves(lines, "chips", "per chip"))] if lines else []
        write(out, found[0] if len(plans) == 1 else {"topologies": found}, sections)


def describe(found: dict[str, Any]) -> str:
    """One topology's numbers, for people."""
    gib = lambda size: f"{size / 2**30:.2f} GiB"  # noqa: E731
    lines = [
        f"{found['chips']} x {found['device']}, mesh {found['mesh']}, batch {found['batch_size']}: "
        + ("fits" if found["fits"] else "does not fit"),
        f"  memory of a chip: {gib(found['memory_per_chip_bytes'])}"
        + (f" of {gib(found['hbm_bytes'])}" if found["hbm_bytes"] else ""),
    ]
    lines += [f"    {part}: {gib(size)}" for part, size in found["memory"].items()]
    if found["fits"]:
        lines += [f"  sent by a chip in a step: {found['collective_bytes'] / 1e9:.3f} GB"]
        lines += [
            f"    {kind}: {sent['count']}, {sent['bytes'] / 1e9:.3f} GB"
            for kind, sent in found["collectives"].items()
        ]
    lines += [
        f"  model FLOPs per image: {found['model_flops_per_image']:.4g}",
        f"  compiled in {found['compile_seconds']:.0f} s",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
