"""Compares several runs: the same metrics, conditions and seeds, in one table and one picture.

python launch/compare.py --workdirs=runs/flow,runs/gan --metrics=satisfaction --out=compare.json

The runs are of one data set; where they differ in inputs, rows stand for those that have them.
"""

from functools import partial
from pathlib import Path

from mmgen_jax import cli
from mmgen_jax.cli.bounds import define_names
from mmgen_jax.errors import InputError
from mmgen_jax.media.outputs import check_folder

WORKDIRS = define_names("workdirs", None, "Folders of the runs.", required=True)
NAMES = cli.define_metrics()
chosen = cli.define_evaluation()
located = cli.define_data_path()
output = cli.define_out(
    "compare", ".json", beside=(".png",), help="JSON file to write; pictures go beside it."
)


def main() -> None:
    out, parts = output(), output().path.with_suffix(".parts")
    check_folder(f"--out={out}", parts)

    # Imports jax: after the flags are known to be good.
    from mmgen_jax.evaluation import report
    from mmgen_jax.evaluation.cache import Memo
    from mmgen_jax.evaluation.features import Extraction
    from mmgen_jax.evaluation.metrics import METRICS
    from mmgen_jax.evaluation.request import Asked
    from mmgen_jax.evaluation.run_sampler import SHOWN
    from mmgen_jax.training import run

    for name in NAMES.value or ():
        METRICS.check(name)
    runs = {Path(workdir).name: run.load(Path(workdir)) for workdir in WORKDIRS.value}
    if len(runs) < len(WORKDIRS.value):
        raise InputError("--workdirs: two folders have one name; allowed: names that differ")
    for trained in runs.values():
        located(trained.config)
    for key in ("data.name", "data.path", "data.split", "eval.split"):
        group, name = key.split(".")
        values = sorted({repr(trained.config[group][name]) for trained in runs.values()})
        if len(values) > 1:
            raise InputError(f"--workdirs: {key} is {', '.join(values)}; allowed: one for all runs")
    options = chosen()
    check_folder(f"--references={options['references']}", options["references"])
    extraction = Extraction(*options.pop("extraction"))
    memo, reports, shown = Memo(parts), {}, []
    ask = partial(Asked, **options, extraction=extraction, memo=memo)
    metrics = NAMES.value or report.usual(list(map(ask, runs.values())))
    for name, trained in runs.items():
        print(f"{name}: {trained.config.generator.name}, step {trained.step}", flush=True)
        asked = ask(trained)
        reports[name] = report.evaluate(asked, metrics)
        draw = asked.drawing
        part = draw.spread(draw.open(trained.config.eval.split), SHOWN)
        shown.append((name, draw.grid(draw(part), part)))
    facts = {
        name: {"family": trained.config.generator.name, "step": trained.step}
        | report.numbers(reports[name])
        for name, trained in runs.items()
    }
    sections = report.side_by_side(reports) + shown
    report.write(out, {"seed": options["seed"], "runs": facts}, sections)
    memo.clear()


if __name__ == "__main__":
    cli.run(main)
