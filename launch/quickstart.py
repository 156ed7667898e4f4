"""Trains a tiny model on text, label and audio, and shows whether its pictures obey all three.

python launch/quickstart.py --workdir=runs/quickstart

Leaves `report.json` (joint satisfaction of every subset of the inputs) and `samples.png`.
"""

import time
from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.media.outputs import Output, check, check_workdir
from mmgen_jax.storage import write_json

CONFIG = cli.define_config("configs/flow.py:data=shapes,modalities=text+label+audio,size=tiny")
WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Folder of the run.")
COUNT = flags.DEFINE_integer(
    "count",
    512,
    "Scenes that each subset is judged on.",
    lower_bound=1,
    upper_bound=cli.MOST_PICTURES,
)

OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Replace a report and pictures in --workdir that this command did not make."
)


def main() -> None:
    config.validate(CONFIG.value)
    workdir, software = Path(WORKDIR.value), "mmgen_jax quickstart"
    check_workdir(workdir)
    report, picture = (Output(workdir / n, software) for n in ("report.json", "samples.png"))
    if workdir.is_dir():
        check(f"--workdir={workdir}", (report, picture), OVERWRITE.value)

    from mmgen_jax.evaluation.metrics import METRICS
    from mmgen_jax.evaluation.report import table
    from mmgen_jax.evaluation.request import Asked
    from mmgen_jax.media import gallery  # imports jax: after the config is known to be good
    from mmgen_jax.training import loop, run

    begin = time.monotonic()
    loop.train(CONFIG.value, workdir)
    seconds = time.monotonic() - begin
    metric = METRICS["satisfaction"]
    found = metric.evaluate(Asked(run.load(workdir), COUNT.value, seed=0))
    numbers = {"satisfaction": found.numbers, "train_seconds": seconds}
    write_json(report.path, report.marked(numbers))
    gallery.save_png(picture.path, gallery.stack(found.sections), software)
    print(table(metric, found.numbers, "all satisfied"))
    print(f"trained in {seconds:.0f} s; see {picture} and {report}")


if __name__ == "__main__":
    cli.run(main)
