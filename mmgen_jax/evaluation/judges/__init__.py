"""How good the images are, and whether they say what they were asked for."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmgen_jax.data import Record
from mmgen_jax.registry import Registry


class Judge(NamedTuple):
    """How images of one data set are judged, by something that no model was trained with.

    Attributes:
      satisfied: (images uint8 [n, height, width, 3], the n records whose inputs they were drawn
        for, modalities that were given) -> modality -> bool [n], whether the image satisfies that
        input. A record has one value of each of these modalities.
      chance: (modalities, split) -> the probability that the image of a random training example
        satisfies these inputs of a random example of the split.
      accuracy: how often the judge itself is right, on the data set's own pictures.
      misbound: (as `satisfied`) -> bool [n], whether the image shows all that was asked for, but
        not on one object; None: this judge sees no objects.
      judges: whether it can say anything of pictures that were drawn for a record.
    """

    satisfied: Callable[[np.ndarray, Sequence[Record], Sequence[str]], dict[str, np.ndarray]]
    chance: Callable[[Sequence[str], str], float]
    accuracy: float
    misbound: Callable[[np.ndarray, Sequence[Record], Sequence[str]], np.ndarray] | None = None
    judges: Callable[[Record], bool] = lambda record: True


class Reading(NamedTuple):
    """How inputs of one data set, and pictures, are read as facts that can be compared.

    Attributes:
      says: (n records, modality) -> attribute -> array [n], what an input asks a picture to show.
      shows: images uint8 [n, height, width, 3] -> attribute -> array [n]; what no input asks for
        where the picture shows nothing.
    """

    says: Callable[[Sequence[Record], str], dict[str, np.ndarray]]
    shows: Callable[[np.ndarray], dict[str, np.ndarray]]


JUDGES = Registry(
    "judge",
    {
        "shapes": "mmgen_jax.evaluation.judges.shapes:shapes_judge",
        "digits": "mmgen_jax.evaluation.judges.classifier:class_judge",
        "emoji": "mmgen_jax.evaluation.judges.retrieval:retrieval_judge",
    },
)
"""By data set: (DataOptions) -> its Judge."""

READINGS = Registry("reading", {"shapes": "mmgen_jax.evaluation.judges.shapes:reading"})
"""By data set whose inputs say several things: (DataOptions) -> Reading; others name a class."""
