"""Does a picture say all that it was asked for?

The joint satisfaction rate of a set S of modalities is the share of pictures that satisfy every
input in S at once. It stands beside chance and beside the product of the single rates, which it
equals when inputs are satisfied independently. A data set brings a `metrics.Judge` of its own.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from mmgen_jax.data import SOURCES
from mmgen_jax.metrics import JUDGES, Judge
from mmgen_jax.metrics.drawing import SHOWN, Drawing, Part, subsets
from mmgen_jax.metrics.evaluation import Asked, Evaluation
from mmgen_jax.metrics.rates import rate


def satisfaction(asked: Asked) -> Evaluation:
    """Joint satisfaction of every subset of the inputs, on unseen scenes.

    For each non-empty subset (or those that are asked for) `count` records spread over split `test`
    are drawn from that subset alone and judged on all of it; the same for split `heldout`,
    combinations never trained on, under keys "heldout:...". See `report` for the numbers; with a
    judge that finds them, "binding_errors" is the share of pictures that show everything, but on
    several objects. What is shown are failures, the worst first, and the first pictures.

    Raises:
      InputError: if nobody judges this data set.
    """
    data = asked.trained.config.data
    JUDGES.check(data.name)
    chosen = asked.subsets(subsets)
    judge, draw = JUDGES[data.name](data), asked.drawing
    print(f"judge: {judge.accuracy:.2%} right on the data set's own pictures", flush=True)
    numbers, sections = {}, []
    for split in SOURCES[data.name].describe(data).splits:
        if split == data.split:
            continue
        source = draw.open(split)
        found = {subset: _Found() for subset in chosen}
        for part in draw.parts(source, min(asked.count, len(source))):
            for subset in chosen:
                images = draw(part.given(subset))
                found[subset].add(judge, images, part.given(subset), subset)
        for subset in chosen:
            name = "+".join(subset)
            title = ("" if split == "test" else f"{split}:") + name
            numbers[title] = found[subset].numbers(partial(judge.chance, split=split))[name]
            heading = f"given {title}: {numbers[title]['rate']:.1%} satisfied"
            print(heading, flush=True)
            sections.append((heading, found[subset].grid(draw)))
    return Evaluation(numbers, sections)


class _Found:
    """What the judge found of one subset's pictures, part by part."""

    def __init__(self) -> None:
        self._hits: list[dict[str, Bool[np.ndarray, "rows"]]] = []
        self._misbound: list[Bool[np.ndarray, "rows"]] = []
        self._worst: list[_Row] = []
        self._first: list[_Row] = []

    def add(self, judge: Judge, images: np.ndarray, part: Part, subset: Sequence[str]) -> None:
        hits = judge.satisfied(images, part.records, subset)
        self._hits.append(hits)
        misses: Int[np.ndarray, "rows"] = sum((~right).astype(int) for right in hits.values())
        if judge.misbound is not None:
            self._misbound.append(judge.misbound(images, part.records, subset))

        def row_at(row: int) -> _Row:
            missed = [name for name in subset if not hits[name][row]]
            own = jax.tree.map(lambda x: x[row], (part.values, part.has))
            return _Row(missed, images[row], *own)

        worst = np.argsort(-misses, kind="stable")[: min(SHOWN, (misses > 0).sum())]
        self._worst += [row_at(int(row)) for row in worst]
        self._worst.sort(key=lambda row: -len(row.missed))
        del self._worst[SHOWN:]
        room = min(SHOWN - len(self._first), len(images))
        self._first += [row_at(row) for row in range(room)]

    def numbers(self, chance: Callable[[Sequence[str]], float]) -> dict[str, dict[str, Any]]:
        hits = {m: np.concatenate([part[m] for part in self._hits]) for m in self._hits[0]}
        found = report(hits, chance)
        if self._misbound:
            share = float(np.concatenate(self._misbound).mean())
            for row in found.values():
                row["binding_errors"] = share
        return found

    def grid(self, draw: Drawing) -> Any:
        rows = self._worst + self._first
        joined = jax.tree.map(
            lambda *parts: np.stack(parts), *[(row.image, row.values, row.has) for row in rows]
        )
        part = Part(0, [], joined[0], *joined[1:])
        notes = [f"wrong: {', '.join(row.missed)}" if row.missed else "" for row in rows]
        return draw.grid(joined[0], part, rows=range(2 * SHOWN), notes=notes)


class _Row(NamedTuple):
    missed: list[str]
    image: np.ndarray
    values: Any
    has: Any


def report(
    results: Mapping[str, np.ndarray], chance: Callable[[Sequence[str]], float]
) -> dict[str, dict[str, Any]]:
    """Joint satisfaction rates of all sets of modalities.

    Args:
      results: modality -> bool [n], from a judge, n > 0.
      chance: modalities -> the rate by chance.

    Returns:
      "text+label" and so on, in the order of `results` -> rate; count, the number of images;
      chance; interval, Wilson's at 95%; marginals, the rate of each modality alone; and
      product_of_marginals. Ready for JSON.
    """
    marginals = {modality: float(np.mean(hits)) for modality, hits in results.items()}
    sizes = range(1, len(results) + 1)
    subsets = itertools.chain.from_iterable(itertools.combinations(results, k) for k in sizes)
    table = {}
    for subset in subsets:
        hits = np.all([results[modality] for modality in subset], axis=0)
        table["+".join(subset)] = rate(hits, chance(subset)) | {
            "marginals": {modality: marginals[modality] for modality in subset},
            "product_of_marginals": float(np.prod([marginals[m] for m in subset])),
        }
    return table
