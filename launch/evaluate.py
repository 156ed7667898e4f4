"""Evaluates a trained run, or a folder of pictures: a table, a JSON file and a picture report.

python launch/evaluate.py --workdir=runs/flow --metrics=satisfaction --out=report.json

Pictures of any origin, here by the FID; docs/scores.md says where its weights come from:

python launch/evaluate.py --images=samples --reference=photos --metrics=fid,kid \
    --weights=inception.safetensors --out=report.json

An interrupted evaluation goes on where it was, if it is started again with the same flags.
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.errors import InputError
from mmgen_jax.media.outputs import check_folder

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
IMAGES = flags.DEFINE_string("images", None, "Folder of pictures to score, instead of a run's.")
REFERENCE = flags.DEFINE_string(
    "reference", None, "With --images: folder of real pictures, or a file in --references."
)
NAMES = cli.define_metrics()
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
ALL_CHECKPOINTS = flags.DEFINE_bool(
    "all_checkpoints", False, "Evaluate every checkpoint that the run keeps, with curves over them."
)
chosen = cli.define_evaluation()
located = cli.define_data_path()
output = cli.define_out(
    "evaluate", ".json", beside=(".png",), help="JSON file to write; pictures go beside it."
)


def main() -> None:
    out, parts = output(), output().path.with_suffix(".parts")
    check_folder(f"--out={out}", parts)
    check()

    # Imports jax: after the flags are known to be good.
    from mmgen_jax.evaluation import report
    from mmgen_jax.evaluation.cache import Memo
    from mmgen_jax.evaluation.features import EXTRACTORS, Extraction, build, references
    from mmgen_jax.evaluation.metrics import METRICS, scores
    from mmgen_jax.evaluation.request import Asked
    from mmgen_jax.training import checkpoints, run

    for name in NAMES.value or ():
        METRICS.check(name)
    options = chosen()
    check_folder(f"--references={options['references']}", options["references"])
    extraction = Extraction(*options.pop("extraction"))
    if extraction.name:
        EXTRACTORS.check(extraction.name)
    memo = Memo(parts)

    def of_run(step: int | None) -> tuple[int, report.Report]:
        trained = run.load(Path(WORKDIR.value), step)
        located(trained.config)
        asked = Asked(trained, **options, extraction=extraction, memo=memo)
        return trained.step, report.evaluate(asked, NAMES.value or report.usual([asked]))

    if IMAGES.value:
        extractor = build(extraction, None)
        reference = Path(REFERENCE.value) if REFERENCE.value else None
        numbers, sections = {"images": IMAGES.value}, []
        names = NAMES.value
        if not names:
            count = len(references.picture_files(Path(IMAGES.value)))
            names = scores.usual(count, reference is not None, extractor)
            report.tell(names)
        for name in names:
            inputs = Path(IMAGES.value), reference, extractor, options["references"], memo
            found = scores.of_folder(name, *inputs)
            numbers[found.title.lower()] = found.numbers
            sections += found.sections
            print(report.table(METRICS[name], found.numbers, found.title))
    elif ALL_CHECKPOINTS.value:
        reports, last = {}, 0
        for step in checkpoints.whole_steps(WORKDIR.value) or [None]:
            print(f"checkpoint {step}", flush=True)
            last, reports[step] = of_run(step)
        found = {step: report.numbers(each) for step, each in reports.items()}
        numbers = {"step": last, "seed": options["seed"]} | found[last]
        numbers["checkpoints"] = found
        sections = report.curves(reports) + report.sections(reports[last])
    else:
        step, found = of_run(STEP.value)
        numbers = {"step": step, "seed": options["seed"]} | report.numbers(found)
        sections = report.sections(found)
    report.write(out, numbers, sections)
    memo.clear()


def check() -> None:
    """Raises InputError for flags that do not go together."""
    if (WORKDIR.value is None) == (IMAGES.value is None):
        raise InputError("--workdir or --images: one of them must be given; allowed: not both")
    if REFERENCE.value and not IMAGES.value:
        raise InputError("--reference goes with --images; a run is compared with its own data set")
    if IMAGES.value and flags.FLAGS.data_path is not None:
        raise InputError("--data_path goes with --workdir; allowed: not with --images")
    if IMAGES.value:
        for flag, value in (("step", STEP.value), ("given", chosen()["given"])):
            if value is not None:
                raise InputError(f"--{flag} goes with --workdir; allowed: not with --images")
    if ALL_CHECKPOINTS.value and (STEP.value is not None or IMAGES.value):
        raise InputError("--all_checkpoints goes with neither --step nor --images")


if __name__ == "__main__":
    cli.run(main)
