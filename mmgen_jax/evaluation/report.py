"""Reports: some metrics of a run, of its checkpoints, or of several runs beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmgen_jax.errors import InputError, writing
from mmgen_jax.evaluation.metrics import METRICS, MetricSpec
from mmgen_jax.evaluation.request import Asked, Section
from mmgen_jax.media import gallery, plots
from mmgen_jax.media.outputs import Output
from mmgen_jax.storage import write_json

Rows = dict[str, dict[str, Any]]  # row -> number -> value


class Found(NamedTuple):
    """What one metric found of one run.

    Attributes:
      metric: its spec.
      rows: its numbers.
      sections: pictures of it.
    """

    metric: MetricSpec
    rows: Rows
    sections: list[Section]

    @property
    def headline(self) -> str:
        """The number that stands for a row where there is room for one."""
        first = next(iter(self.rows.values()))
        return next(name for name in self.metric.headline if name in first)


Report = dict[str, Found]  # by the metrics' titles


def tell(names: Sequence[str]) -> None:
    """Says which metrics are run where none was named."""
    print(f"metrics: {', '.join(names)}, which fit; --metrics names others", flush=True)


def usual(asked: Sequence[Asked]) -> tuple[str, ...]:
    """The metrics that are run where nobody names any: those that fit all of these runs.

    Says which they are, where they are not the first choice.

    Raises:
      InputError: if none does.
    """
    fits = {n: m for n, m in METRICS.items() if all(m.lacks(each) is None for each in asked)}
    for choice in (1, 2):
        names = tuple(name for name, metric in fits.items() if metric.choice == choice)
        if names:
            if choice > 1:
                tell(names)
            return names
    raise InputError(f"no metric fits by itself; allowed by --metrics: {', '.join(fits)}")


def evaluate(asked: Asked, metrics: Sequence[str]) -> Report:
    """What the metrics find, by their titles; prints a table of each.

    Raises:
      InputError: if one of them does not fit the run, before any is evaluated.
    """
    report: Report = {}
    for name in metrics:
        METRICS[name].check(asked)
    for name in metrics:
        found = METRICS[name].evaluate(asked)
        title = found.title or name
        report[title.lower()] = Found(METRICS[name], found.numbers, found.sections)
        print(table(METRICS[name], found.numbers, title), flush=True)
    return report


def numbers(report: Report) -> dict[str, Rows]:
    """A report's numbers, for JSON."""
    return {title: found.rows for title, found in report.items()}


def sections(report: Report) -> list[Section]:
    """A report's pictures."""
    return [section for found in report.values() for section in found.sections]


def curves(steps: Mapping[int, Report]) -> list[Section]:
    """A plot of each metric over the checkpoints of a run."""
    plotted = []
    for title, of_first in _with_rows(next(iter(steps.values()))).items():
        headline = of_first.headline
        lines: dict[str, list[tuple[int, float]]] = {}
        for step, report in steps.items():
            for row, values in report[title].rows.items():
                lines.setdefault(row, []).append((step, values[headline]))
        axis = of_first.metric.columns[headline].title
        plotted.append((title, plots.curves(lines, "step", axis)))
    return plotted


def side_by_side(runs: Mapping[str, Report]) -> list[Section]:
    """A plot of each metric that all runs have, and a table of it on the terminal."""
    plotted = []
    for title, of_first in _with_rows(next(iter(runs.values()))).items():
        having = {name: report[title].rows for name, report in runs.items()}
        rows = dict.fromkeys(row for found in having.values() for row in found)
        joined = {
            f"{row}: {name}": found[row]
            for row in rows
            for name, found in having.items()
            if row in found
        }
        print(table(of_first.metric, joined, title), flush=True)
        headline = of_first.headline
        groups = {n: {r: v[headline] for r, v in found.items()} for n, found in having.items()}
        plotted.append((title, plots.bars(groups, of_first.metric.columns[headline].title)))
    return plotted


def table(metric: MetricSpec, rows: Rows, title: str) -> str:
    """A metric's numbers as lines of text, under its title."""
    shown = {
        name: column
        for name, column in metric.columns.items()
        if all(name in row for row in rows.values())
    }
    lines = [[title, *(column.title for column in shown.values())]]
    lines += [
        [name, *(column.form.format(row[number]) for number, column in shown.items())]
        for name, row in rows.items()
    ]
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        name.ljust(first) + "".join(f"  {x:>{w}}" for x, w in zip(cells, widths, strict=True))
        for name, *cells in lines
    )


def write(out: Output, facts: dict[str, Any], pictures: Sequence[Section]) -> None:
    """Writes the numbers to a JSON file, and the pictures beside it as PNG."""
    picture = out.beside(".png")
    if pictures:
        gallery.save_png(picture.path, gallery.stack(pictures), picture.software)
    with writing(out.path):
        write_json(out.path, out.marked(facts))
    print(f"{out}, {picture}" if pictures else f"{out}")


def _with_rows(report: Report) -> Report:
    return {title: found for title, found in report.items() if found.rows}
