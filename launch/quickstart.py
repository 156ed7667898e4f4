"""Trains a tiny model on text, label and audio, and shows whether its pictures obey all three.

python launch/quickstart.py --workdir=runs/quickstart

Leaves `report.json` (joint satisfaction of every subset of the inputs) and `samples.png`.
"""

import time
from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.storage import write_json

CONFIG = cli.define_config("configs/flow.py:data=shapes,modalities=text+label+audio,size=tiny")
WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Folder of the run.")
COUNT = flags.DEFINE_integer("count", 512, "Scenes that each subset is judged on.", lower_bound=1)


def main() -> None:
    config.validate(CONFIG.value)
    workdir = Path(WORKDIR.value)

    from mmgen_jax import gallery  # imports jax: after the config is known to be good
    from mmgen_jax.metrics.evaluation import Asked, table
    from mmgen_jax.metrics.satisfaction import satisfaction
    from mmgen_jax.training import loop, run

    begin = time.monotonic()
    loop.train(CONFIG.value, workdir)
    seconds = time.monotonic() - begin
    found = satisfaction(Asked(run.load(workdir), COUNT.value, seed=0))
    report = {"satisfaction": found.numbers, "train_seconds": seconds}
    write_json(workdir / "report.json", report)
    gallery.save_png(workdir / "samples.png", gallery.stack(found.sections))
    print(table(found.numbers, "all satisfied"))
    print(f"trained in {seconds:.0f} s; see {workdir}/samples.png and {workdir}/report.json")


if __name__ == "__main__":
    cli.run(main)
