"""Does a picture say all that it was asked for?

The joint satisfaction rate of a set S of modalities is the share of pictures that satisfy every
input in S at once. It stands beside chance and beside the product of the single rates, which it
equals when inputs are satisfied independently. A data set brings a `metrics.Judge` of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import JUDGES, Judge
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import SHOWN, Drawing, Part, Shelf, subsets
from mmgen_jax.evaluation.statistics.rates import rate


def satisfaction(asked: Asked) -> Evaluation:
    """Joint satisfaction of every subset of the inputs, on unseen scenes.

    For each non-empty subset (or those that are asked for) `count` records of split `test`, chosen
    by hash, are drawn from that subset alone and judged on all of it; the same for split `heldout`,
    combinations never trained on, under keys "heldout:...". See `joint` for the numbers; with a
    judge that finds them, "binding_errors" is the share of pictures that show everything, but on
    several objects. Records without one of the inputs do not count, nor do those of which the
    judge says nothing. What is shown are failures, the worst first, and the first pictures.

    Raises:
      InputError: if nobody judges this data set, or no record has the inputs.
    """
    METRICS["satisfaction"].check(asked)
    data = asked.data
    chosen = asked.subsets(subsets)
    judge, draw = JUDGES[data.name](data), asked.drawing
    print(f"judge: {judge.accuracy:.2%} right on the data set's own pictures", flush=True)
    numbers, sections = {}, []
    for split in data.describe().splits:
        if split == data.split:
            continue
        found = {subset: _Found() for subset in chosen}
        passed = 0
        for part in draw.parts(draw.open(split), asked.count, again=False):
            passed += sum(not judge.judges(record) for record in part.records)
            for subset in chosen:
                found[subset].add(judge, draw, part.given(subset), subset)
        if passed:
            unjudged = f"{passed} records of which the judge says nothing are passed over"
            print(f"{split}: {unjudged}", flush=True)
        for subset in chosen:
            title = ("" if split == "test" else f"{split}:") + "+".join(subset)
            numbers[title] = found[subset].numbers(judge.chance(subset, split))
            heading = f"given {title}: {numbers[title]['rate']:.1%} satisfied"
            print(heading, flush=True)
            sections.append((f"{heading}; failures, and others", found[subset].grid(draw)))
    return Evaluation(numbers, sections)


class _Found:
    """What the judge found of one subset's pictures, part by part."""

    def __init__(self) -> None:
        self._hits: list[dict[str, Bool[np.ndarray, "rows"]]] = []
        self._misbound: list[Bool[np.ndarray, "rows"]] = []
        self._worst, self._others = Shelf(SHOWN), Shelf(SHOWN)

    def add(self, judge: Judge, draw: Drawing, part: Part, subset: Sequence[str]) -> None:
        """Draws a part and judges it: what has all of these inputs, and is judged."""
        images = draw(part)
        judged = [judge.judges(record) for record in part.records]
        there = np.flatnonzero(np.all([judged, *(part.has[name] for name in subset)], axis=0))
        if not len(there):
            return
        values, has = jax.tree.map(lambda x: np.asarray(x)[there], (part.values, part.has))
        records = [part.records[row] for row in there]
        part = part._replace(records=records, values=values, has=has)
        images = images[there]
        hits = judge.satisfied(images, records, subset)
        self._hits.append(hits)
        if judge.misbound is not None:
            self._misbound.append(judge.misbound(images, records, subset))
        missed = [[name for name in subset if not hits[name][row]] for row in range(len(images))]
        misses = np.array([len(names) for names in missed], np.float64)
        notes = [f"wrong: {', '.join(names)}" if names else "" for names in missed]
        self._worst.add(np.where(misses > 0, -misses, np.inf), images, part, notes)
        self._others.add(part.first + there.astype(np.float64), images, part, notes)

    def numbers(self, chance: float) -> dict[str, Any]:
        """See `joint`.

        Raises:
          InputError: if no record had the inputs.
        """
        if not self._hits:
            raise InputError("metric 'satisfaction' needs records that have the inputs given")
        hits = {m: np.concatenate([part[m] for part in self._hits]) for m in self._hits[0]}
        found = joint(hits, chance)
        if self._misbound:
            found["binding_errors"] = float(np.concatenate(self._misbound).mean())
        return found

    def grid(self, draw: Drawing) -> Any:
        """Failures, the worst first, above the first pictures."""
        shelves = [shelf.grid(draw) for shelf in (self._worst, self._others) if len(shelf)]
        width = max(grid.shape[1] for grid in shelves)
        pad = lambda x: ((0, 0), (0, width - x.shape[1]), (0, 0))  # noqa: E731
        return np.concatenate([np.pad(x, pad(x), constant_values=255) for x in shelves])


def joint(hits: Mapping[str, Bool[np.ndarray, "rows"]], chance: float) -> dict[str, Any]:
    """The joint satisfaction rate of some inputs; JSON-able.

    Args:
      hits: modality -> whether each picture satisfies it.
      chance: the rate by chance.

    Returns:
      see `rates.rate`; marginals, the rate of each modality alone; and product_of_marginals.
    """
    marginals = {modality: float(np.mean(right)) for modality, right in hits.items()}
    return rate(np.all(list(hits.values()), axis=0), chance) | {
        "marginals": marginals,
        "product_of_marginals": float(np.prod(list(marginals.values()))),
    }


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    name = asked.trained.config.data.name
    if name in JUDGES:
        return None
    return (
        f"metric 'satisfaction': nobody judges pictures of data set {name!r}; allowed:"
        f" {', '.join(JUDGES)}, or another of --metrics"
    )
