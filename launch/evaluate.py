"""Evaluates a trained run: a table, a JSON file and a picture report.

python launch/evaluate.py --workdir=runs/flow --metrics=satisfaction --out=report.json
"""

import json
from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.errors import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
METRICS = flags.DEFINE_list(
    "metrics",
    ["satisfaction"],
    "satisfaction: do pictures say all they were asked for, for every subset of inputs;"
    " fitting: is the nearest training picture the right one;"
    " languages: does a caption give the same picture in every one of data.languages;"
    " reconstruction: how well does the family's own code give pictures back;"
    " diversity: do pictures vary as real ones do (precision, recall, classes shown);"
    " likelihood: how probable are unseen pictures (ELBO and IWAE, bits per dimension);"
    " codes: how much of its vocabulary does a tokenizer use;"
    " contradictions: which of two inputs wins where they name different classes."
    " satisfaction judges shapes and digits, diversity digits (after launch/train_judge.py);"
    " fitting and contradictions need labels, reconstruction an autoencoder, VAE or VQ-VAE,"
    " likelihood a VAE.",
)
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
COUNT = flags.DEFINE_integer("count", 512, "Pictures per row of the table.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the noise and of what is drawn.", lower_bound=0)
OUT = flags.DEFINE_string("out", None, "JSON file to write; pictures go beside it.", required=True)


def main() -> None:
    out = Path(OUT.value)
    if out.suffix != ".json" or not out.parent.is_dir():
        raise InputError(f"--out={out} must be a .json file in a folder that is there")

    from mmgen_jax import gallery  # imports jax: after the flags are known to be good
    from mmgen_jax.metrics.evaluation import EVALUATIONS, table
    from mmgen_jax.training import run

    for name in METRICS.value:
        EVALUATIONS.check(name)
    trained = run.load(Path(WORKDIR.value), STEP.value)
    report, sections = {"step": trained.step, "seed": SEED.value}, []
    for name in METRICS.value:
        found = EVALUATIONS[name](trained, COUNT.value, SEED.value)
        report[name] = found.numbers
        sections += found.sections
        print(table(found.numbers, name))
    out.write_text(json.dumps(report, indent=2) + "\n")
    gallery.save_png(out.with_suffix(".png"), gallery.stack(sections))
    print(f"{out}, {out.with_suffix('.png')}")


if __name__ == "__main__":
    cli.run(main)
