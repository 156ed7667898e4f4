"""Do a model's pictures vary, as the real ones do?"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmgen_jax.metrics import classifier
from mmgen_jax.metrics.drawing import SHOWN, Drawing, Part, all_and_each
from mmgen_jax.metrics.evaluation import Asked, Evaluation, Metric
from mmgen_jax.metrics.manifold import precision_recall

K = 3  # neighbours
OTHERS = 9  # rows that each one is set beside
AGAIN = 1 << 30  # rows on: other noise than any that is drawn besides
Pictures = UInt8[np.ndarray, "rows height width 3"]


def diversity(asked: Asked) -> Evaluation:
    """How pictures of one condition vary, and how all of them do beside real ones.

    `count` records spread over the split `eval.split` are drawn from all of their inputs, and from
    each one alone (or from what is asked for), twice. "within" is how far apart the two pictures of
    a record are, as a share of how far pictures of different records are (root mean squares): 0 if
    the condition says it all, 1 if it says nothing.

    Of data sets with a classifier also precision and recall against the records' own pictures, by
    features of its last hidden layer and 3 neighbours; "classes", the share of the classes that it
    finds among the pictures; and "rarest", that of the rarest class, of an equal share.

    Raises:
      InputError: if such a data set's classifier was not trained.
    """
    config, draw = asked.trained.config, asked.drawing
    judge = classifier.of_data(config.data) if classifier.is_judged(config.data) else None
    whole = draw.spread(draw.open(config.eval.split), asked.count)
    numbers, sections = {}, []
    for given in asked.subsets(all_and_each):
        part = whole.given(given)
        images, again = draw(part), draw(part._replace(first=part.first + AGAIN))
        title = "+".join(given)
        numbers[title] = {"within": within(images, again), "count": len(images)}
        if judge is not None:
            numbers[title] |= beside(judge, draw, part, images)
        said = ", ".join(f"{k} {v:.3f}" for k, v in numbers[title].items() if k != "count")
        print(f"given {title}: {said}", flush=True)
        pairs = np.concatenate([images, again], axis=2)
        grid = draw.grid(pairs, part, rows=range(2 * SHOWN))
        sections.append((f"given {title}: {said}; each twice", grid))
    return Evaluation(numbers, sections)


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


def beside(judge: Any, draw: Drawing, part: Part, images: Pictures) -> dict[str, float]:
    """Precision, recall and classes, against the records' own pictures."""
    real, _ = classifier.read(judge, [draw.picture(record) for record in part.records])
    features, logits = classifier.read(judge, images)
    precision, recall = precision_recall(real, features, K)
    shown = np.bincount(logits.argmax(-1), minlength=len(judge.names))
    return {
        "precision": precision,
        "recall": recall,
        "classes": float((shown > 0).mean()),
        "rarest": float(shown.min() * len(judge.names) / len(images)),
    }


DIVERSITY = Metric(diversity, choice=2)
