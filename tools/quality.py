"""Trains every family for the same minutes, evaluates them, and writes docs/quality.md.

    python -m tools.quality --minutes=5 --workdir=runs/quality --out=docs/quality.md

For each data set and family: a few steps to measure the speed of this machine, as many as fill the
minutes, then `launch/compare.py`. A tokenizer takes a third of the minutes of the family on it.
What is done already in --workdir is not done again, so that an interrupted table goes on. Digits
must be built before, and their judge trained (README.md).
"""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

import mmgen_jax
from mmgen_jax import cli
from mmgen_jax.cli.bounds import define_names, define_number
from mmgen_jax.data import SOURCES
from mmgen_jax.errors import InputError
from mmgen_jax.media.outputs import Output, check_folder
from mmgen_jax.performance import tables
from mmgen_jax.storage import read_json, read_text
from tools.stages import ROOT, once, run

MINUTES = define_number("minutes", 5.0, "Of training, each family.", 0.01, 1e6)
DATA = define_names("data", ["shapes", "digits"], "Data sets.")
FAMILIES = define_names(
    "families",
    ["flow", "dalle", "vae", "gan", "stylegan", "vqvae", "autoencoder"],
    "Families, by the names of their recipes.",
)
MODALITIES = flags.DEFINE_string("modalities", "text+label+audio", "What they are given.")
COUNT = flags.DEFINE_integer(
    "count", 256, "Pictures per row.", lower_bound=1, upper_bound=cli.MOST_PICTURES
)
WORKDIR = flags.DEFINE_string("workdir", "runs/quality", "Folder of the runs.")
output = cli.define_out(
    "quality",
    ".md",
    default="docs/quality.md",
    help="Markdown file to write; a picture of each data set beside it.",
)

PACE = 40  # steps that measure the speed; the first is left out, for it compiles


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
    for data in DATA.value:
        if data not in SOURCES:
            raise InputError(f"--data: {data!r}; allowed: {', '.join(sorted(SOURCES))}")
    stem = Path(flags.FLAGS.out).stem
    pictures = {data: f"{stem}-{data}.png" for data in DATA.value}
    out = output(names=tuple(pictures.values()))
    check_folder(f"--workdir={WORKDIR.value}", Path(WORKDIR.value))
    recipes = {path.stem for path in (ROOT / "configs").glob("*.py")}
    for family in FAMILIES.value:
        if family not in recipes:
            raise InputError(f"--families: {family!r}; allowed: {', '.join(sorted(recipes))}")
    check()
    sections = []
    for data in DATA.value:
        top = Path(WORKDIR.value) / data
        top.mkdir(parents=True, exist_ok=True)
        trained = {f: [train(stage, top) for stage in stages(f, data, top)] for f in FAMILIES.value}
        sections.append(section(data, trained, compared(data, top), out.named(pictures[data])))
    out.write_markdown("\n".join([heading(), *sections]))
    print(out)


def check() -> None:
    """Raises InputError for a data set that is not there, or has no judge, before any training."""
    from mmgen_jax.data import DataOptions
    from mmgen_jax.evaluation.judges import JUDGES

    for name in DATA.value:
        options = DataOptions(name)
        options.describe()
        JUDGES[name](options)


def stages(family: str, data: str, top: Path) -> list[Stage]:
    """The trainings of one family."""
    recipe = f"{ROOT}/configs/{family}.py:data={data},modalities={MODALITIES.value}"
    if family != "dalle":
        return [Stage(family, recipe, 1.0)]
    tokenizer = Stage("tokenizer", f"{ROOT}/configs/vqvae.py:data={data}", 1 / 3)
    return [tokenizer, Stage(family, f"{recipe},tokenizer={top / tokenizer.name}", 2 / 3)]


def train(stage: Stage, top: Path) -> dict[str, Any]:
    """Trains as long as the stage may; returns its steps, and the seconds that they took."""
    workdir, pace = top / stage.name, top / f"{stage.name}-pace"
    wanted = 60 * MINUTES.value * stage.share

    def measure() -> dict[str, Any]:
        run_train(stage, pace, PACE, "--config.train.log_every=10")
        rates = [line["steps_per_second"] for line in logged(pace)[1:]]
        steps = max(PACE, round(wanted * sum(rates) / len(rates)))
        print(f"{workdir}: {steps} steps", flush=True)
        return {"steps": steps}

    def finish() -> dict[str, Any]:
        start = time.monotonic()
        run_train(stage, workdir, steps)
        return {"steps": steps, "seconds": time.monotonic() - start}

    facts = {"recipe": stage.recipe, "seconds": wanted}
    # Apart, so that a run that is interrupted goes on to the same number of steps.
    steps = once(top / f"{stage.name}-pace.json", facts, measure)["steps"]
    return once(top / f"{stage.name}.json", facts, finish)


def run_train(stage: Stage, workdir: Path, steps: int, *flags: str) -> None:
    """`launch/train.py`, in a process of its own."""
    options = (f"--config.train.steps={steps}", "--accept_config_change", *flags)
    run("train.py", f"--config={stage.recipe}", f"--workdir={workdir}", *options)


def logged(workdir: Path) -> list[dict[str, Any]]:
    """A run's metrics, each line with the steps a second."""
    lines = [json.loads(line) for line in read_text(workdir / "metrics.jsonl").splitlines()]
    batch = read_json(workdir / "config.json")["train"]["batch_size"]
    return [line | {"steps_per_second": line["images_per_second"] / batch} for line in lines]


def compared(data: str, top: Path) -> dict[str, Any]:
    """What `launch/compare.py` finds of all families, by family."""
    report = top / "compare.json"
    runs = ",".join(str(top / family) for family in FAMILIES.value)
    flags = (f"--workdirs={runs}", "--metrics=satisfaction,diversity", f"--count={COUNT.value}")

    def find() -> dict[str, Any]:
        run("compare.py", *flags, f"--out={report}")
        return read_json(report)["runs"]

    facts = {"flags": list(flags), "minutes": MINUTES.value, "modalities": MODALITIES.value}
    return once(top / "compared.json", facts, find)


def section(
    data: str, trained: dict[str, list[dict[str, Any]]], found: dict[str, Any], picture: Output
) -> str:
    """A data set's table, in Markdown; its picture goes beside it."""
    from mmgen_jax.media import gallery
    from mmgen_jax.media.images import read_image

    source = Path(WORKDIR.value) / data / "compare.png"
    gallery.save_png(picture.path, read_image(str(source)), picture.software)
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
        steps = " + ".join(f"{stage['steps']:,}" for stage in trained[family])
        seconds = sum(stage["seconds"] for stage in trained[family])
        rows.append([f"`{family}`", steps, f"{seconds:.0f}", *cells])
    titles = ["family", "steps", "seconds", *columns]
    titles += ["combinations held out"] if held in found[FAMILIES.value[0]]["satisfaction"] else []
    titles += ["varies within a condition"]
    titles += ["recall"] if len(rows[0]) > len(titles) else []
    samples = f"![Samples of every family]({picture.path.name})"
    return f"## {data}\n\n{tables.markdown(titles, rows)}\n\n{samples}\n"


def heading() -> str:
    """What the tables mean, and what they were made with."""
    return f"""# What the same minutes give

Every family, size tiny, trained for {MINUTES.value:g} minutes on one machine and evaluated by one
code: the share of {COUNT.value} unseen pictures that satisfy all that they were given
({MODALITIES.value} together, and each one alone), by a judge that no family was trained with.
"Varies within a condition" is how far two pictures of one condition are apart, as a share of how
far those of different ones are. Seconds are of the whole training, with its start; steps were as
many as fill the minutes at the speed of the first {PACE}. Families differ in how long they want to
be trained: the recipes' docstrings say what more time gives. Regenerated by
`python -m tools.quality --minutes={MINUTES.value:g}`.

mmgen_jax {mmgen_jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU cores.
"""


if __name__ == "__main__":
    cli.run(main)
