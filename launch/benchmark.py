"""Measures how fast a recipe trains and draws on the devices that are here.

    python launch/benchmark.py --config=configs/flow.py:size=tiny --steps=20 --out=bench.json

Images a second of the step alone (one batch over and over; for each device too), of the input
pipeline alone, of both, and of the training loop; time to compile; share of the device's peak
(MFU), from the multiply-adds of the model; memory; pictures drawn a second. A JSON file, a Markdown
table and a plot beside it. What is counted, without running anything:

    python launch/benchmark.py --config=configs/flow.py:size=xl --analytic --out=bench.json

The same command on every machine of a TPU pod or a Slurm job measures all of them together; the
first process writes --out, whose folder must be there on every machine:

    launch/tpu_pod.sh --name=pod --zone=us-west4-a --workers=4 --launcher=benchmark.py -- \
        --config=configs/flow.py:size=xl --out=/shared/bench.json
"""

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mmgen_jax import cli
from mmgen_jax import config as configs
from mmgen_jax.cli.bounds import define_names, whole_numbers
from mmgen_jax.errors import InputError
from mmgen_jax.media.outputs import Output, check_folder
from mmgen_jax.performance import tables

MOST_EXAMPLES = 1_000_000  # of a batch
CONFIG = cli.define_config()
flags.mark_flag_as_required("config")
STEPS = flags.DEFINE_integer(
    "steps",
    20,
    "That are timed, of each part and in each of three rounds.",
    lower_bound=2,
    upper_bound=100_000,
)
BATCH_SIZES = define_names(
    "batch_sizes", None, "Several batch sizes to measure; default: config.train.batch_size."
)
ANALYTIC = flags.DEFINE_bool("analytic", False, "Count parameters and multiply-adds; run nothing.")
PROFILE = flags.DEFINE_string("profile", None, "Folder for a trace of the steps, for xprof.")
output = cli.define_out(
    "benchmark",
    ".json",
    beside=(".md", ".png"),
    help="JSON file to write; a table and a plot go beside it.",
)


def main() -> None:
    out, sizes = output(), [CONFIG.value.train.batch_size]
    if BATCH_SIZES.value:
        sizes = whole_numbers("batch_sizes", BATCH_SIZES.value, MOST_EXAMPLES)
    if PROFILE.value is not None:
        check_folder(f"--profile={PROFILE.value}", Path(PROFILE.value))
    if len(sizes) > 1 and (PROFILE.value or ANALYTIC.value):
        raise InputError("--batch_sizes: --profile and --analytic go with one; allowed: one size")
    if PROFILE.value and ANALYTIC.value:
        raise InputError("--profile goes with what is run; allowed: not with --analytic")
    asked = []
    for size in sizes:
        asked.append(CONFIG.value.copy_and_resolve_references())
        asked[-1].train.batch_size = size
        configs.validate(asked[-1])

    from mmgen_jax.training import processes  # jax: after the flags are known to be good

    with processes.joined():
        count(asked[0], out) if ANALYTIC.value else measure(asked, out)


def count(config: ConfigDict, out: Output) -> None:
    from mmgen_jax import model as models
    from mmgen_jax.evaluation.report import write
    from mmgen_jax.performance import flops
    from mmgen_jax.performance.benchmark import versions
    from mmgen_jax.training import processes, start

    found = flops.analytic(config, models.fit(config, start.opened(config)))
    if processes.is_main():
        write(out, found | {"versions": versions()}, [])


def measure(asked: list[ConfigDict], out: Output) -> None:
    """All processes measure, together; one writes."""
    from mmgen_jax import model as models
    from mmgen_jax.evaluation.report import write
    from mmgen_jax.performance.benchmark import Benchmark
    from mmgen_jax.training import processes, start

    for config in asked:
        start.check_devices(config)
    source = start.opened(asked[0])
    assets = models.fit(asked[0], source)
    profile = Path(PROFILE.value) if PROFILE.value else None
    found = []
    for config in asked:
        found.append(Benchmark(config, source, assets, STEPS.value).report(profile))
        if not processes.is_main():
            continue
        print(table(found[-1:]), flush=True)
        out.beside(".md").write_markdown(table(found) + "\n")
        report = found[0] if len(asked) == 1 else {"batch_sizes": found}
        write(out, report, [(where(found[0]), plot(found))])


def table(found: list[dict[str, Any]]) -> str:
    """What was measured, in Markdown: a line for each batch size."""
    first = found[0]
    titles = [
        *("batch", "images/s per device", "step, ms (median)", "p90", "TFLOP/s per device", "MFU"),
        *(
            "peak memory",
            "compile, s",
            "from cache, s",
            *(f"{n}, images/s" for n in first["parts"]),
        ),
        "drawn, images/s",
    ]
    rows = [
        [
            str(row["batch_size"]),
            f"{row['images_per_second_per_device']:.4g}",
            f"{1e3 * row['step_seconds']['median']:.4g}",
            f"{1e3 * row['step_seconds']['p90']:.4g}",
            f"{row['tflops_per_second_per_device']:.4g}",
            "unknown device" if row["mfu"] is None else f"{row['mfu']:.1%}",
            "unknown"
            if row["peak_memory_bytes"] is None
            else f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
            f"{row['compile_seconds']['cold']:.1f}",
            f"{row['compile_seconds']['cached']:.1f}",
            *(f"{speed:.4g}" for speed in row["parts"].values()),
            f"{row['sampling_images_per_second']:.4g}",
        ]
        for row in found
    ]
    return f"{where(first)}\n\n{tables.markdown(titles, rows)}"


def where(found: dict[str, Any]) -> str:
    return f"{found['devices']} x {found['device']}, {found['dtype']}; {tables.versions(found)}"


def plot(found: list[dict[str, Any]]) -> Any:
    from mmgen_jax.media import plots

    if len(found) == 1:
        return plots.bars({"images/s": found[0]["parts"]}, "images a second")
    lines = {
        part: [(row["batch_size"], row["parts"][part]) for row in found]
        for part in found[0]["parts"]
    }
    return plots.curves(lines, "batch size", "images a second")


if __name__ == "__main__":
    cli.run(main)
