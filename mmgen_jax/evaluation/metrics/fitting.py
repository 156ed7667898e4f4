"""Has a model learned its training pictures by their inputs, and what does it draw for others?"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mmgen_jax.data import Source
from mmgen_jax.data.pipeline import drawn, spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import SHOWN, Drawing, all_and_each
from mmgen_jax.evaluation.statistics.nearest import distinct, nearest
from mmgen_jax.evaluation.statistics.rates import rate

MOST = 50_000  # training pictures that are looked at; of more, as many chosen by hash
_NEEDS = "metric 'fitting' needs a data set with labels"
OWN, LABEL = "is the record's own picture", "has the record's label"


def fitting(asked: Asked) -> Evaluation:
    """Which training picture is nearest to what the model draws for the inputs of a record.

    "train": `count` training records at random; right if the nearest picture (L2 at the model's
    size) is the record's own. This measures fitting, not generalisation. Pictures that stand
    twice count as one. "test": `count` records of the test split (all, if it has fewer); right if
    the nearest training picture has the record's label. "judged" says which of the two. Given all
    inputs; given each one alone under keys "train:text", "test:text" and so on. Of more than
    `MOST` training pictures, or than fit in memory at the model's size, as many are looked at.
    Records without a label are passed over, as is a test split in which none has one.

    Raises:
      InputError: if no training record has a label.
    """
    METRICS["fitting"].check(asked)
    draw, trained, count = asked.drawing, asked.trained, asked.count
    config = trained.config
    training = draw.open(config.data.split)
    usable, known = _known(draw, training)
    rng = np.random.default_rng(asked.seed)
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        source = draw.open(split)
        own = split == config.data.split
        candidates = usable if own else draw.usable(source, range(len(source)))
        draw.say_if_short(source, len(candidates), count)
        chosen = rng.choice(len(candidates), min(count, len(candidates)), replace=False)
        if not own:
            chosen = _labelled(source, candidates, chosen, rng)
            if not len(chosen):
                print(f"{split}: no record has a label", flush=True)
                continue
        subsets = asked.subsets(all_and_each)
        right, shown = {given: [] for given in subsets}, {}
        chances = []
        for whole in draw.split(source, [candidates[k] for k in chosen]):
            rows = chosen[whole.first : whole.first + len(whole.records)]
            labels = None if own else [record.values["label"] for record in whole.records]
            chances += [known.chance()] if own else map(known.chance, labels)
            for given in subsets:
                part = whole.given(given)
                images = draw(part)
                found = nearest(images, known.pictures)
                right[given].append(known.right(found, rows if own else labels))
                if given not in shown:
                    # What was drawn, and beside it the training picture that is nearest to it.
                    beside = known.pictures[found]
                    shown[given] = draw.grid(images, part, beside, range(4 * SHOWN))
        judged = OWN if own else LABEL
        for given in subsets:
            hits = np.concatenate(right[given])
            all_of_them = len(given) == len(trained.model.modalities)
            title = split if all_of_them else f"{split}:{'+'.join(given)}"
            numbers[title] = rate(hits, float(np.mean(chances))) | {"judged": judged}
            heading = f"{title}: the nearest training picture {judged} for {hits.mean():.1%}"
            print(heading, flush=True)
            sections.append((heading, shown[given]))
    return Evaluation(numbers, sections)


class _Known:
    """The training pictures that are looked at, with their labels."""

    def __init__(self, pictures: Sequence[np.ndarray], labels: list[Any]):
        self.pictures, self._labels = np.stack(pictures), labels
        self._identity = distinct(self.pictures)

    def right(
        self, found: Int[np.ndarray, "rows"], wanted: Int[np.ndarray, "rows"] | list[Any]
    ) -> np.ndarray:
        """Whether these pictures are those of other numbers, or have these labels."""
        if isinstance(wanted, np.ndarray):
            return self._identity[found] == self._identity[wanted]
        return np.array([self._labels[f] == w for f, w in zip(found, wanted, strict=True)])

    def chance(self, label: Any = None) -> float:
        """That a picture at random is one certain picture; or that it has a label."""
        if label is None:
            return 1 / len(np.unique(self._identity))
        return self._labels.count(label) / len(self._labels)


def _known(draw: Drawing, source: Source) -> tuple[list[int], _Known]:
    """The numbers of training records that are usable and have a label, and their pictures."""
    usable = draw.usable(source, spread(source, draw.held(MOST)))
    rows, pictures, labels = [], [], []
    for index in usable:
        record = drawn(source[index], index)
        if "label" in record.values:
            rows.append(index)
            pictures.append(draw.picture(record))
            labels.append(record.values["label"])
    if not rows:
        raise InputError(f"{_NEEDS}; no training record has one")
    _tell("training", len(usable) - len(rows))
    return rows, _Known(pictures, labels)


def _labelled(
    source: Source,
    candidates: Sequence[int],
    chosen: Int[np.ndarray, "rows"],
    rng: np.random.Generator,
) -> np.ndarray:
    """Those chosen candidates that have a label; others, at random, in place of those without."""
    others = rng.permutation(np.setdiff1d(np.arange(len(candidates)), chosen))
    kept, without = [], 0
    for k in itertools.chain(chosen, others):
        if len(kept) == len(chosen):
            break
        if "label" in source[candidates[k]].values:
            kept.append(k)
        else:
            without += 1
    _tell("test", without)
    return np.array(kept, int)


def _tell(what: str, without: int) -> None:
    if without:
        print(f"fitting: {without} {what} records without a label are passed over", flush=True)


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    data = asked.data
    if "label" in data.describe().modalities:
        return None
    return f"{_NEEDS}, which {data.name!r} does not have"
