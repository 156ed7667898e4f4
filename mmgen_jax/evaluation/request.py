"""What is asked of a trained run, and what a metric answers: numbers, and pictures to look at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from mmgen_jax.data import DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.cache import Memo
from mmgen_jax.evaluation.features import Extraction
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained

Section = tuple[str, UInt8[np.ndarray, "_height _width 3"]]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated.

    Attributes:
      trained: the run.
      count: pictures for each row of a table.
      seed: of the noise, and of what is drawn at random.
      given: the subsets of inputs that pictures are drawn from; None: those that the metric names.
      extraction: how features are extracted, by metrics that compare them.
      references: folder where features of real pictures are kept from one call to the next.
      memo: keeps what takes long until the report is written.
    """

    trained: Trained
    count: int
    seed: int
    given: tuple[Names, ...] | None = None
    extraction: Extraction = field(default_factory=Extraction)
    references: Path = Path(".cache/references")
    memo: Memo = field(default_factory=Memo)

    @property
    def data(self) -> DataOptions:
        """The run's data set."""
        return DataOptions.of(self.trained.config)

    @cached_property
    def drawing(self) -> Drawing:
        """What draws the run's pictures, compiled once for all metrics."""
        # As many on each device, however many devices there are: other shapes round otherwise, and
        # where codes are drawn a rounding makes another picture.
        return Drawing(self.trained, self.seed, self.memo, most=self.count)

    def subsets(self, usual: Callable[[Names], list[Names]]) -> list[Names]:
        """Which subsets of the run's modalities pictures are drawn from.

        Raises:
          InputError: if the run has not all that are asked for.
        """
        names = tuple(self.trained.model.modalities)
        for name in (name for subset in self.given or () for name in subset):
            if name not in names:
                raise InputError(
                    f"--given: the run has no modality {name!r}; allowed: {', '.join(names)}"
                )
        if self.given is None:
            return usual(names)
        # In the run's order, each once.
        chosen = [tuple(n for n in names if n in subset) for subset in self.given]
        return list(dict.fromkeys(chosen))


class Evaluation(NamedTuple):
    """What one metric found.

    Attributes:
      numbers: JSON-able; the key is what the pictures were given.
      sections: (heading, captioned grid), for people.
      title: what the numbers are called; None: as the metric.
    """

    numbers: dict[str, dict[str, Any]]
    sections: list[Section]
    title: str | None = None
