"""Do a model's pictures vary, as the real ones do?"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmgen_jax.evaluation.judges import classifier
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import SHOWN, Drawing, Part, all_and_each
from mmgen_jax.evaluation.statistics.manifold import precision_recall

K = 3  # neighbours
MOST = 50_000  # pictures whose distances are measured
OTHERS = 9  # rows that each one is set beside
AGAIN = 1 << 30  # rows on: other noise than any that is drawn besides
Pictures = UInt8[np.ndarray, "rows height width 3"]


def diversity(asked: Asked) -> Evaluation:
    """How pictures of one condition vary, and how all of them do beside real ones.

    `count` records of the split `eval.split`, chosen by hash, are drawn from all of their inputs,
    and from each one alone (or from what is asked for), twice. "within" is how far apart the two
    pictures of a record are, as a share of how far pictures of different records are (root mean
    squares): 0 if the condition says it all, 1 if it says nothing. Of more pictures than fit in
    memory it is that of as many as do.

    Of data sets with a classifier also precision and recall against the records' own pictures, by
    features of its last hidden layer and 3 neighbours; "classes", the share of the classes that it
    finds among the pictures; and "rarest", that of the rarest class, of an equal share.

    Raises:
      InputError: if such a data set's classifier was not trained.
    """
    config, draw = asked.trained.config, asked.drawing
    judge = classifier.of_data(asked.data) if classifier.is_judged(asked.data) else None
    source, numbers, sections = draw.open(config.eval.split), {}, []
    subsets = asked.subsets(all_and_each)
    found = {given: _Found(judge, draw) for given in subsets}
    for whole in draw.parts(source, asked.count, again=False):
        for given in subsets:
            found[given].add(whole.given(given))
    for given in subsets:
        title = "+".join(given)
        numbers[title] = found[given].numbers()
        said = ", ".join(f"{k} {v:.3f}" for k, v in numbers[title].items() if k != "count")
        print(f"given {title}: {said}", flush=True)
        sections.append((f"given {title}: {said}; each twice", found[given].grid))
    return Evaluation(numbers, sections)


class _Found:
    """What is found of the pictures of one subset of inputs, part by part.

    Attributes:
      grid: the first pictures, each twice.
    """

    def __init__(self, judge: Any, draw: Drawing):
        self._judge, self._draw, self.grid = judge, draw, None
        self._pairs: list[tuple[Pictures, Pictures]] = []
        self._read: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count, self._room = 0, draw.held(MOST) // 2

    def add(self, part: Part) -> None:
        """Draws a part, twice."""
        images, again = self._draw(part), self._draw(part._replace(first=part.first + AGAIN))
        if self.grid is None:
            pairs = np.concatenate([images, again], axis=2)
            self.grid = self._draw.grid(pairs, part, rows=range(2 * SHOWN))
        if self._count < self._room:
            left = self._room - self._count
            self._pairs.append((images[:left], again[:left]))
        if self._judge is not None:
            own = [self._draw.picture(record) for record in part.records]
            real, _ = classifier.read(self._judge, own)
            self._read.append((real, *classifier.read(self._judge, images)))
        self._count += len(images)

    def numbers(self) -> dict[str, Any]:
        """Of all parts together."""
        pairs = (np.concatenate(pictures) for pictures in zip(*self._pairs, strict=True))
        numbers: dict[str, Any] = {"within": within(*pairs), "count": self._count}
        if self._judge is None:
            return numbers
        real, features, logits = map(np.concatenate, zip(*self._read, strict=True))
        precision, recall = precision_recall(real, features, K)
        shown = np.bincount(logits.argmax(-1), minlength=len(self._judge.names))
        return numbers | {
            "precision": precision,
            "recall": recall,
            "classes": float((shown > 0).mean()),
            "rarest": float(shown.min() * len(self._judge.names) / self._count),
        }


def within(images: Pictures, again: Pictures) -> float:
    """How far the pictures of the same rows are apart, over how far those of different rows are.

    Each row is set beside a few others. Where none differ, or there is but one, it is 1.
    """
    order = np.random.default_rng(0).permutation(len(images))  # records may stand by class

    def apart(shift: int) -> float:
        pairs = zip(order, np.roll(order, shift), strict=True)
        squares = (np.square(images[a].astype(np.float32) - again[b]).mean() for a, b in pairs)
        return float(np.mean(list(squares)))

    own, *others = [apart(shift) for shift in range(min(len(images), 1 + OTHERS))]
    return float(np.sqrt(own / np.mean(others))) if any(others) else 1.0
