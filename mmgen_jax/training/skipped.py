"""The bad records that a run passes over (`data.on_bad_record=skip`): counted, and reported."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgen_jax.data import BadRecord
from mmgen_jax.errors import writing
from mmgen_jax.storage import write_json
from mmgen_jax.training import processes

FILE = "skipped_records.json"


class Skipped:
    """All bad records met so far in what is trained on, by any process, each one once.

    What it holds is a part of every checkpoint: an interrupted run reports what another one does.

    Args:
      saved: what `gather` returned; None at the start of a run.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None):
        self._reasons: dict[str, list[str]] = dict(saved or {})

    def gather(self, found: Mapping[str, BadRecord]) -> dict[str, list[str]]:
        """Adds what each process has met. A collective: all processes call it at the same step.

        Args:
          found: by place, all bad records that this process knows of.

        Returns:
          By place: [kind, reason], of all processes.
        """
        new = {w: [bad.kind, bad.reason] for w, bad in found.items() if w not in self._reasons}
        for theirs in processes.all_of(new):
            self._reasons |= theirs
        return dict(sorted(self._reasons.items()))

    def __len__(self) -> int:
        return len(self._reasons)

    def write(self, workdir: Path) -> None:
        """Writes `workdir`/skipped_records.json: how many, how many for each reason, and all.

        Raises:
          Failure: if the disk is full, or gone.
        """
        report = {
            "count": len(self),
            "by_reason": self._counts(),
            "records": {where: reason for where, (_, reason) in sorted(self._reasons.items())},
        }
        path = workdir / FILE
        with writing(path):
            write_json(path, report)

    def describe(self) -> str:
        """One line for people."""
        reasons = "; ".join(f"{count} x {kind}" for kind, count in self._counts().items())
        return f"skipped {len(self)} bad records, see {FILE}: {reasons}"

    def _counts(self) -> dict[str, int]:
        # In the order of the places, so that an interrupted run's report is the same.
        kinds = Counter(kind for _, (kind, _) in sorted(self._reasons.items()))
        return dict(kinds.most_common())
