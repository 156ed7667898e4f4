"""Trains every family for the same minutes, evaluates them, and writes docs/quality.md.

    python launch/quality.py --minutes=5 --workdir=runs/quality --out=docs/quality.md

For each data set and family: a few steps to measure the speed of this machine, as many as fill the
minutes, then `launch/compare.py`. A tokenizer takes a third of the minutes of the family on it.
What is done already in --workdir is not done again, so that an interrupted table goes on. Digits
must be built before, and their judge trained (README.md).
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

import mmgen_jax
from mmgen_jax import cli
from mmgen_jax.errors import Failure, InputError

MINUTES = flags.DEFINE_float("minutes", 5.0, "Of training, each family.", lower_bound=0.01)
DATA = flags.DEFINE_list("data", ["shapes", "digits"], "Data sets.")
FAMILIES = flags.DEFINE_list(
    "families",
    ["flow", "dalle", "vae", "gan", "stylegan", "vqvae", "autoencoder"],
    "Families, by the names of their recipes.",
)
MODALITIES = flags.DEFINE_string("modalities", "text+label+audio", "What they are given.")
COUNT = flags.DEFINE_integer("count", 256, "Pictures per row.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", "runs/quality", "Folder of the runs.")
OUT = flags.DEFINE_string("out", "docs/quality.md", "Markdown file to write; a picture beside it.")

PACE = 40  # steps that measure the speed; the first is left out, for it compiles
ROOT = Path(__file__).parents[1]


class Stage(NamedTuple):
    """A training.

    Attributes:
      name: of its folder.
      recipe: of --config.
      share: of the minutes.
    """

    name: str
    recipe: str
    share: float


def main() -> None:
    out = cli.writable("out", OUT.value, ".md")
    recipes = {path.stem for path in (ROOT / "configs").glob("*.py")}
    for family in FAMILIES.value:
        if family not in recipes:
            raise InputError(f"--families: {family!r}; allowed: {', '.join(sorted(recipes))}")
    sections = []
    for data in DATA.value:
        top = Path(WORKDIR.value) / data
        top.mkdir(parents=True, exist_ok=True)
        steps = {}
        for family in FAMILIES.value:
            for stage in stages(family, data, top):
                steps[family] = train(stage, top)
        sections.append(section(data, steps, compared(data, top), out))
    out.write_text("\n".join([heading(), *sections]))
    print(out)


def stages(family: str, data: str, top: Path) -> list[Stage]:
    """The trainings of one family."""
    recipe = f"{ROOT}/configs/{family}.py:data={data},modalities={MODALITIES.value}"
    if family != "dalle":
        return [Stage(family, recipe, 1.0)]
    tokenizer = Stage("tokenizer", f"{ROOT}/configs/vqvae.py:data={data}", 1 / 3)
    return [tokenizer, Stage(family, f"{recipe},tokenizer={top / tokenizer.name}", 2 / 3)]


def train(stage: Stage, top: Path) -> int:
    """Trains as long as the stage may; returns how many steps that were."""
    workdir, pace = top / stage.name, top / f"{stage.name}-pace"
    done = workdir / "quality.json"
    if not done.exists():
        run_train(stage, pace, PACE, "--config.train.log_every=10")
        rates = [line["steps_per_second"] for line in logged(pace)[1:]]
        seconds = 60 * MINUTES.value * stage.share
        steps = max(PACE, round(seconds * sum(rates) / len(rates)))
        print(f"{workdir}: {steps} steps", flush=True)
        run_train(stage, workdir, steps)
        done.write_text(json.dumps({"steps": steps}) + "\n")
    return json.loads(done.read_text())["steps"]


def run_train(stage: Stage, workdir: Path, steps: int, *flags: str) -> None:
    """`launch/train.py`, in a process of its own."""
    options = (f"--config.train.steps={steps}", "--accept_config_change", *flags)
    run("train.py", f"--config={stage.recipe}", f"--workdir={workdir}", *options)


def run(script: str, *flags: str) -> None:
    """A launcher in a process of its own; its output is this one's."""
    command = [sys.executable, str(ROOT / "launch" / script), *flags]
    if code := subprocess.run(command, check=False).returncode:
        raise Failure(f"{script} ended with {code}; what is done stays in {WORKDIR.value}")


def logged(workdir: Path) -> list[dict[str, Any]]:
    """A run's metrics, each line with the steps a second."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    batch = json.loads((workdir / "config.json").read_text())["train"]["batch_size"]
    return [line | {"steps_per_second": line["images_per_second"] / batch} for line in lines]


def compared(data: str, top: Path) -> dict[str, Any]:
    """What `launch/compare.py` finds of all families, by family."""
    report = top / "compare.json"
    metrics = "satisfaction,diversity"
    if not report.exists():
        runs = ",".join(str(top / family) for family in FAMILIES.value)
        flags = (f"--workdirs={runs}", f"--metrics={metrics}", f"--count={COUNT.value}")
        run("compare.py", *flags, f"--out={report}")
    return json.loads(report.read_text())["runs"]


def section(data: str, steps: dict[str, int], found: dict[str, Any], out: Path) -> str:
    """A data set's table, in Markdown; its picture goes beside it."""
    picture = out.with_name(f"{out.stem}-{data}.png")
    source = Path(WORKDIR.value) / data / "compare.png"
    picture.write_bytes(source.read_bytes())
    names = MODALITIES.value.split("+")
    columns = [MODALITIES.value, *(names if len(names) > 1 else [])]
    held = f"heldout:{MODALITIES.value}"
    rows = []
    for family in FAMILIES.value:
        satisfied, varied = found[family]["satisfaction"], found[family]["diversity"]
        cells = [f"{satisfied[name]['rate']:.1%}" for name in columns]
        cells += [f"{satisfied[held]['rate']:.1%}"] if held in satisfied else []
        cells += [f"{varied[MODALITIES.value]['within']:.2f}"]
        if "recall" in varied[MODALITIES.value]:
            cells += [f"{varied[MODALITIES.value]['recall']:.2f}"]
        rows.append([f"`{family}`", f"{steps[family]:,}", *cells])
    titles = ["family", "steps", *columns]
    titles += ["combinations held out"] if held in found[FAMILIES.value[0]]["satisfaction"] else []
    titles += ["varies within a condition"]
    titles += ["recall"] if len(rows[0]) > len(titles) else []
    lines = [titles, ["---"] * len(titles), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {data}\n\n{table}\n\n![Samples of every family]({picture.name})\n"


def heading() -> str:
    """What the tables mean, and what they were made with."""
    return f"""# What the same minutes give

Every family, size tiny, trained for {MINUTES.value:g} minutes on one machine and evaluated by one
code: the share of {COUNT.value} unseen pictures that satisfy all that they were given
({MODALITIES.value} together, and each one alone), by a judge that no family was trained with.
"Varies within a condition" is how far two pictures of one condition are apart, as a share of how
far those of different ones are. Families differ in how long they want to be trained: the recipes'
docstrings say what more time gives. Regenerated by
`python launch/quality.py --minutes={MINUTES.value:g}`.

mmgen_jax {mmgen_jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU cores.
"""


if __name__ == "__main__":
    cli.run(main)
