"""Plots as pictures: curves over training, and runs side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Picture = UInt8[np.ndarray, "_height _width 3"]
INCHES, DOTS = (9.6, 4.2), 110


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], across: str, upwards: str) -> Picture:
    """Draws one curve for each name, of its points (x, y).

    Args:
      lines: at least one, each with at least one point.
      across: what x is.
      upwards: what y is.
    """

    def draw(axes: Axes) -> None:
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set_xlabel(across)
        axes.set_ylabel(upwards)

    return _drawn(draw)


def bars(groups: Mapping[str, Mapping[str, float]], upwards: str) -> Picture:
    """Draws a group of bars for each row, a bar for each name in it, so that names can be compared.

    Args:
      groups: name -> row -> height; a name need not have all rows.
      upwards: what the height is.
    """
    rows = list(dict.fromkeys(row for group in groups.values() for row in group))
    width = 0.8 / len(groups)

    def draw(axes: Axes) -> None:
        for number, (name, group) in enumerate(groups.items()):
            places = [rows.index(row) - 0.4 + width * (number + 0.5) for row in group]
            axes.bar(places, list(group.values()), width, label=name)
        axes.set_xticks(range(len(rows)), rows, rotation=25, ha="right", fontsize=8)
        axes.set_ylabel(upwards)
        if all(height >= 0 for group in groups.values() for height in group.values()):
            axes.set_ylim(bottom=0)

    return _drawn(draw)


def _drawn(draw: Callable[[Axes], None]) -> Picture:
    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))  # beside: it hides nothing
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
