"""The means of metrics over an interval, which may be longer than a process lives."""

from collections.abc import Mapping
from typing import Any, SupportsFloat


class Means:
    """Sums metrics from one line of the log to the next.

    What it holds is a part of every checkpoint: a run that was stopped between two lines logs the
    same means as one that was not.

    Args:
      saved: what `to_json` returned; None for nothing yet.

    Attributes:
      newest: the means that `take` last returned.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None):
        self._count: int = saved["count"] if saved else 0
        self._sums: dict[str, float] = dict(saved["sums"]) if saved else {}
        self.newest: dict[str, float] = dict(saved["newest"]) if saved else {}

    def add(self, metrics: Mapping[str, SupportsFloat]) -> None:
        """The metrics of one step."""
        self._count += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def take(self) -> dict[str, float]:
        """The means since it was last asked, of which there must be some."""
        self.newest = {name: value / self._count for name, value in self._sums.items()}
        self._count, self._sums = 0, {}
        return dict(self.newest)

    def to_json(self) -> dict[str, Any]:
        """A copy of all that it holds; JSON keeps every bit of a float."""
        return {"count": self._count, "sums": dict(self._sums), "newest": dict(self.newest)}
