"""A judge of data sets whose records are things of their own: which real picture is nearest?"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmgen_jax.data import DataOptions, Record
from mmgen_jax.evaluation.judges import Judge
from mmgen_jax.evaluation.statistics.nearest import distinct, nearest
from mmgen_jax.media.images import resize


def retrieval_judge(options: DataOptions) -> Judge:
    """An image satisfies a label if the nearest real picture has it, other inputs if it is theirs.

    Nearest by L2 at the config's size, of the pictures of all splits; a text or a sound names one
    thing, which only its own picture shows. The judge's accuracy is that of labels: how often the
    picture that is nearest to a real one, of all others, has its label.
    """
    pictures, labels, splits = _real(options)
    identity = distinct(pictures)
    shape = options.image_shape

    def satisfied(
        images: np.ndarray, records: Sequence[Record], modalities: Sequence[str]
    ) -> dict[str, np.ndarray]:
        found = nearest(images, pictures)
        own = nearest(np.stack([resize(record.image, shape) for record in records]), pictures)
        wanted = np.array([record.values.get("label", "") for record in records])
        right = {"label": labels[found] == wanted}
        return {m: right.get(m, identity[found] == identity[own]) for m in modalities}

    def chance(modalities: Sequence[str], split: str) -> float:
        # Where a picture is a record's own, it has its label too.
        shown = labels if set(modalities) == {"label"} else identity
        drawn, wanted = (Counter(shown[splits == name].tolist()) for name in ("train", split))
        pairs = sum(count * wanted[name] for name, count in drawn.items())
        return pairs / (drawn.total() * wanted.total())

    return Judge(satisfied, chance, _accuracy(pictures, identity, labels))


def _real(options: DataOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture, label, split) of every record of every split."""
    rows = []
    for split in options.describe().splits:
        source = options.open(split)
        for record in map(source.__getitem__, range(len(source))):
            picture = resize(record.image, options.image_shape)
            rows.append((picture, record.values.get("label", ""), split))
    pictures, labels, splits = zip(*rows, strict=True)
    return np.stack(pictures), np.array(labels), np.array(splits)


def _accuracy(pictures: np.ndarray, identity: np.ndarray, labels: np.ndarray) -> float:
    first = np.unique(identity, return_index=True)[1]
    pictures, labels = pictures[first], labels[first]
    return float((labels[nearest(pictures, pictures, apart=True)] == labels).mean())
