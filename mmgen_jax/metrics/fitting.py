"""Has a model learned its training pictures by their inputs, and what does it draw for others?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mmgen_jax.data import SOURCES, Record
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.metrics.drawing import SHOWN, all_and_each
from mmgen_jax.metrics.evaluation import Asked, Evaluation, Metric
from mmgen_jax.metrics.nearest import distinct, nearest
from mmgen_jax.metrics.rates import rate

MOST = 50_000  # training pictures that are looked at; of more, as many chosen by hash
OWN, LABEL = "is the record's own picture", "has the record's label"


def fitting(asked: Asked) -> Evaluation:
    """Which training picture is nearest to what the model draws for the inputs of a record.

    "train": `count` training records at random; right if the nearest picture (L2 at the model's
    size) is the record's own. This measures fitting, not generalisation. Pictures that stand
    twice count as one. "test": `count` records of the test split (all, if it has fewer); right if
    the nearest training picture has the record's label. "judged" says which of the two. Given all
    inputs; given each one alone under keys "train:text", "test:text" and so on. Of more than
    `MOST` training pictures, or than fit in memory at the model's size, as many are looked at.
    """
    FITTING.check(asked)
    draw, trained, count = asked.drawing, asked.trained, asked.count
    config = trained.config
    training = draw.open(config.data.split)
    usable = draw.usable(training, spread(training, draw.held(MOST)))
    seen = [(draw.picture(record), _label(record)) for record in map(training.__getitem__, usable)]
    known = _Known([picture for picture, _ in seen], [label for _, label in seen])
    del seen
    rng = np.random.default_rng(asked.seed)
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        source = draw.open(split)
        own = split == config.data.split
        candidates = usable if own else draw.usable(source, range(len(source)))
        chosen = rng.choice(len(candidates), min(count, len(candidates)), replace=False)
        subsets = asked.subsets(all_and_each)
        right, shown = {given: [] for given in subsets}, {}
        chances = []
        for whole in draw.split(source, [candidates[k] for k in chosen]):
            rows = chosen[whole.first : whole.first + len(whole.records)]
            labels = None if own else [_label(record) for record in whole.records]
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


def _label(record: Record) -> Any:
    if "label" not in record.values:
        raise InputError("metric 'fitting' needs a data set with labels")
    return record.values["label"]


def _lacks(asked: Asked) -> str | None:
    data = asked.trained.config.data
    if "label" in SOURCES[data.name].describe(data).modalities:
        return None
    return f"metric 'fitting' needs a data set with labels, which {data.name!r} does not have"


FITTING = Metric(fitting, _lacks, choice=2)
