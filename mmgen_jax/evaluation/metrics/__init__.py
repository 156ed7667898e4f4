"""What a trained run is worth: each metric gives numbers, and pictures to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.cache import Memo
from mmgen_jax.evaluation.features import Extraction
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.registry import Registry
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


class Metric(NamedTuple):
    """A metric, and what it fits.

    Attributes:
      evaluate: (Asked) -> Evaluation.
      lacks: (Asked) -> why it does not fit the run, in one line; None if it does. Reads no record.
      choice: 1 for what is run where nobody names a metric, 2 for what is run instead where nothing
        of choice 1 fits; None for what is run by name only.
    """

    evaluate: Callable[[Asked], Evaluation]
    lacks: Callable[[Asked], str | None] = lambda asked: None
    choice: int | None = None

    def check(self, asked: Asked) -> None:
        """Raises InputError if it does not fit the run."""
        reason = self.lacks(asked)
        if reason is not None:
            raise InputError(reason)


EVALUATIONS = Registry(
    "metric",
    {
        "satisfaction": "mmgen_jax.evaluation.metrics.satisfaction:SATISFACTION",
        "fitting": "mmgen_jax.evaluation.metrics.fitting:FITTING",
        "languages": "mmgen_jax.evaluation.metrics.languages:LANGUAGES",
        "reconstruction": "mmgen_jax.evaluation.metrics.reconstruction:RECONSTRUCTION",
        "diversity": "mmgen_jax.evaluation.metrics.diversity:DIVERSITY",
        "codes": "mmgen_jax.evaluation.metrics.codes:CODES",
        "contradictions": "mmgen_jax.evaluation.metrics.contradictions:CONTRADICTIONS",
        "likelihood": "mmgen_jax.evaluation.metrics.likelihood:LIKELIHOOD",
        "memorisation": "mmgen_jax.evaluation.metrics.memorization:MEMORISATION",
        "fid": "mmgen_jax.evaluation.metrics.scores:FID",
        "kid": "mmgen_jax.evaluation.metrics.scores:KID",
        "is": "mmgen_jax.evaluation.metrics.scores:IS",
        "prdc": "mmgen_jax.evaluation.metrics.scores:PRDC",
    },
)
"""By name: its Metric."""


def tell(names: Sequence[str]) -> None:
    """Says which metrics are run where none was named."""
    print(f"metrics: {', '.join(names)}, which fit; --metrics names others", flush=True)


def usual(asked: Sequence[Asked]) -> tuple[str, ...]:
    """The metrics that are run where nobody names any: those that fit all of these runs.

    Says which they are, where they are not the first choice.

    Raises:
      InputError: if none does.
    """
    found = {name: EVALUATIONS[name] for name in EVALUATIONS}
    fits = {n: m for n, m in found.items() if all(m.lacks(each) is None for each in asked)}
    for choice in (1, 2):
        names = tuple(name for name, metric in fits.items() if metric.choice == choice)
        if names:
            if choice > 1:
                tell(names)
            return names
    raise InputError(f"no metric fits by itself; allowed by --metrics: {', '.join(fits)}")


# What a table shows of a metric's rows, where they have it: its heading, and how it is written.
COLUMNS = {
    "rate": ("rate", "{:.1%}"),
    "psnr": ("PSNR", "{:.2f} dB"),
    "interval": ("95% interval", "{0[0]:.1%} - {0[1]:.1%}"),
    "psnr_interval": ("95% interval", "{0[0]:.2f} - {0[1]:.2f}"),
    "chance": ("chance", "{:.2%}"),
    "product_of_marginals": ("if independent", "{:.1%}"),
    "binding_errors": ("binding errors", "{:.1%}"),
    "copied": ("copied", "{}"),
    "closeness": ("closeness", "{:.2f}"),
    "distance": ("distance", "{:.4g}"),
    "score": ("score", "{:.3f}"),
    "deviation": ("+-", "{:.2g}"),
    "elbo": ("ELBO, bits/dim", "{:.4f}"),
    "elbo_error": ("+-", "{:.4f}"),
    "iwae": ("IWAE, bits/dim", "{:.4f}"),
    "iwae_error": ("+-", "{:.4f}"),
    "within": ("within a condition", "{:.3f}"),
    "precision": ("precision", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "density": ("density", "{:.3f}"),
    "coverage": ("coverage", "{:.3f}"),
    "classes": ("classes shown", "{:.0%}"),
    "rarest": ("rarest class", "{:.2f}"),
    "usage": ("codes used", "{:.1%}"),
    "perplexity": ("perplexity", "{:.0f}"),
    "first": ("the first", "{:.1%}"),
    "second": ("the second", "{:.1%}"),
    "neither": ("neither", "{:.1%}"),
    "count": ("count", "{:d}"),
    "judged": ("right if the nearest training picture", "{}"),
    "extractor": ("by", "{}"),
}


def table(numbers: dict[str, dict[str, Any]], metric: str) -> str:
    """A metric's numbers as lines of text, under its name."""
    shown = [name for name in COLUMNS if all(name in row for row in numbers.values())]
    lines = [[metric, *(COLUMNS[name][0] for name in shown)]]
    lines += [
        [title, *(COLUMNS[name][1].format(row[name]) for name in shown)]
        for title, row in numbers.items()
    ]
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        title.ljust(first) + "".join(f"  {x:>{w}}" for x, w in zip(cells, widths, strict=True))
        for title, *cells in lines
    )
