"""Does a model draw pictures of its own, or those that it was trained on?"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import SHOWN, Shelf
from mmgen_jax.evaluation.statistics.nearest import distinct, neighbours
from mmgen_jax.evaluation.statistics.rates import rate, wilson
from mmgen_jax.media.images import resize

AROUND = 50  # other neighbours, that a distance is set against
EXPECTED = 0.01  # share of unseen pictures that count as copies
SIDE = 32  # pixels: pictures are compared at this size, at most
UNSEEN = 5_000  # unseen pictures that set the bar, at most
MOST = 50_000  # training pictures that are looked at; of more, as many chosen by hash
Pictures = UInt8[np.ndarray, "rows height width 3"]


def memorization(asked: Asked) -> Evaluation:
    """How many pictures are copies of training pictures, beside how many unseen ones would count.

    A picture's closeness is the L2 distance of its nearest training picture over the mean one of
    the next 50 (Carlini et al. 2023, "Extracting training data from diffusion models", section
    5): 0 is a copy, 1 like nothing in particular. A copy is closer than all but 1% of the real
    pictures of split `eval.split` are. "chance" is the share of these that are, "copied" whether
    the drawn ones are so more often, by the 95% intervals. All inputs are given, unless others are
    asked for; the closest are shown, each above its training picture. Of more than 50,000 training
    pictures as many are looked at ("training" says how many), and copies of others not found.

    Raises:
      InputError: if there are too few training pictures.
    """
    config, draw = asked.trained.config, asked.drawing
    train = draw.open(config.data.split)
    chosen = draw.usable(train, spread(train, MOST))
    print(f"looking at {len(chosen)} of {len(train)} training pictures", flush=True)
    training = np.stack([small(draw.picture(train[i])) for i in chosen])
    test = draw.open(config.eval.split)
    others = draw.usable(test, spread(test, UNSEEN))
    bar = Bar(training, np.stack([small(draw.picture(test[i])) for i in others]))
    numbers, sections = {}, []
    for given in asked.subsets(lambda names: [names]):
        closest, found = Shelf(2 * SHOWN), []
        for part in draw.parts(test, asked.count, again=False):
            part = part.given(given)
            images = draw(part)
            closeness, nearest = bar.closeness(np.stack([small(image) for image in images]))
            notes = [f"closeness: {value:.2f}" for value in closeness]
            closest.add(closeness, images, part, notes, bar.training[nearest])
            found.append(closeness)
        title = "+".join(given)
        numbers[title] = bar.row(np.concatenate(found))
        heading = f"given {title}: {numbers[title]['rate']:.1%} copies; the closest"
        print(heading, flush=True)
        sections.append((heading, closest.grid(draw)))
    return Evaluation(numbers, sections, "copies")


def small(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """A picture as it is compared: of `SIDE` pixels a side, at most."""
    height, width = (min(SIDE, side) for side in picture.shape[:2])
    return resize(picture, (height, width))


class Bar:
    """What counts as a copy.

    Args:
      training: pictures that a model was trained on; equal ones count once.
      unseen: real ones that it was not trained on.

    Raises:
      InputError: if there are too few training pictures.
    """

    def __init__(self, training: Pictures, unseen: UInt8[np.ndarray, "others height width 3"]):
        first = np.unique(distinct(training), return_index=True)[1]
        self.training = training[np.sort(first)]
        if len(self.training) <= AROUND:
            raise InputError(
                f"{len(self.training)} different training pictures; allowed: more than {AROUND}"
            )
        known = np.sort(self.closeness(unseen)[0])
        self._limit = known[int(EXPECTED * len(known))]
        self._unseen = self._close(known)

    def _close(self, closeness: Float[np.ndarray, "rows"]) -> Bool[np.ndarray, "rows"]:
        # A copy to the last bit counts, even where unseen pictures are such copies too.
        return (closeness < self._limit) | (closeness == 0)

    def closeness(
        self, images: Pictures
    ) -> tuple[Float[np.ndarray, "rows"], Int[np.ndarray, "rows"]]:
        """(closeness, index of the nearest of `training`) of each picture."""
        distances, found = neighbours(images, self.training, 1 + AROUND)
        return distances[:, 0] / distances[:, 1:].mean(axis=1), found[:, 0]

    def row(self, closeness: Float[np.ndarray, "rows"]) -> dict[str, Any]:
        """The numbers of some pictures, JSON-able."""
        found = rate(self._close(closeness), float(self._unseen.mean()))
        most = wilson(int(self._unseen.sum()), len(self._unseen))[1]
        return found | {
            "copied": bool(found["interval"][0] > most),
            "closeness": float(np.median(closeness)),
            "training": len(self.training),
        }
