"""Reports: some metrics of a run, of its checkpoints, or of several runs beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmgen_jax.errors import writing
from mmgen_jax.evaluation.metrics import COLUMNS, EVALUATIONS, Asked, Section, table
from mmgen_jax.media import gallery, plots
from mmgen_jax.media.outputs import Output
from mmgen_jax.storage import write_json

Numbers = dict[str, dict[str, dict[str, Any]]]  # metric -> row -> number -> value

# What stands for a row where there is room for one number; the first that it has.
HEADLINES = ("rate", "psnr", "distance", "score", "recall", "within", "elbo", "usage", "first")


def evaluate(asked: Asked, metrics: Sequence[str]) -> tuple[Numbers, list[Section]]:
    """What the metrics find, by their titles, and pictures of it; prints a table of each.

    Raises:
      InputError: if one of them does not fit the run, before any is evaluated.
    """
    numbers, sections = {}, []
    for name in metrics:
        EVALUATIONS[name].check(asked)
    for name in metrics:
        found = EVALUATIONS[name].evaluate(asked)
        title = (found.title or name).lower()
        numbers[title] = found.numbers
        sections += found.sections
        print(table(found.numbers, found.title or name), flush=True)
    return numbers, sections


def curves(steps: Mapping[int, Numbers]) -> list[Section]:
    """A plot of each metric over the checkpoints of a run."""
    sections = []
    for metric, headline in _headlines(next(iter(steps.values()))).items():
        lines: dict[str, list[tuple[int, float]]] = {}
        for step, numbers in steps.items():
            for row, values in numbers[metric].items():
                lines.setdefault(row, []).append((step, values[headline]))
        sections.append((metric, plots.curves(lines, "step", COLUMNS[headline][0])))
    return sections


def side_by_side(runs: Mapping[str, Numbers]) -> list[Section]:
    """A plot of each metric that all runs have, and a table of it on the terminal."""
    sections = []
    for metric, headline in _headlines(next(iter(runs.values()))).items():
        having = {name: numbers[metric] for name, numbers in runs.items()}
        rows = dict.fromkeys(row for found in having.values() for row in found)
        joined = {
            f"{row}: {name}": found[row]
            for row in rows
            for name, found in having.items()
            if row in found
        }
        print(table(joined, metric), flush=True)
        groups = {n: {r: v[headline] for r, v in found.items()} for n, found in having.items()}
        sections.append((metric, plots.bars(groups, COLUMNS[headline][0])))
    return sections


def write(out: Output, report: dict[str, Any], sections: Sequence[Section]) -> None:
    """Writes the numbers to a JSON file, and the pictures beside it as PNG."""
    picture = out.beside(".png")
    if sections:
        gallery.save_png(picture.path, gallery.stack(sections), picture.software)
    with writing(out.path):
        write_json(out.path, out.marked(report))
    print(f"{out}, {picture}" if sections else f"{out}")


def _headlines(numbers: Numbers) -> dict[str, str]:
    """By metric, the number that stands for a row; of metrics that have rows."""
    return {
        metric: next(name for name in HEADLINES if name in next(iter(rows.values())))
        for metric, rows in numbers.items()
        if rows
    }
