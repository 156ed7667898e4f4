"""Has a model learned its training pictures by their inputs, and what does it draw for others?"""

from typing import Any

import numpy as np

from mmgen_jax.data import SOURCES, Record
from mmgen_jax.errors import InputError
from mmgen_jax.metrics.drawing import SHOWN, all_and_each
from mmgen_jax.metrics.evaluation import Asked, Evaluation, Metric
from mmgen_jax.metrics.nearest import distinct, nearest
from mmgen_jax.metrics.rates import rate


def fitting(asked: Asked) -> Evaluation:
    """Which training picture is nearest to what the model draws for the inputs of a record.

    "train": `count` training records at random; right if the nearest picture (L2 at the model's
    size) is the record's own. This measures fitting, not generalisation. Pictures that stand
    twice count as one. "test": `count` records of the test split (all, if it has fewer); right if
    the nearest training picture has the record's label. Given all inputs; given each one alone
    under keys "train:text", "test:text" and so on.
    """
    FITTING.check(asked)
    draw, trained, count = asked.drawing, asked.trained, asked.count
    config = trained.config
    training = draw.open(config.data.split)
    usable = draw.usable(training, range(len(training)))
    seen = [(draw.picture(record), _label(record)) for record in map(training.__getitem__, usable)]
    pictures, labels = np.stack([picture for picture, _ in seen]), [label for _, label in seen]
    identity = distinct(pictures)
    rng = np.random.default_rng(asked.seed)
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        source = draw.open(split)
        own = split == config.data.split
        candidates = usable if own else draw.usable(source, range(len(source)))
        chosen = rng.choice(len(candidates), min(count, len(candidates)), replace=False)
        whole = draw.whole(source, [candidates[k] for k in chosen])
        for given in asked.subsets(all_and_each):
            part = whole.given(given)
            images = draw(part)
            found = nearest(images, pictures)
            if own:
                right = identity[found] == identity[chosen]
                chance = 1 / len(np.unique(identity))
            else:
                wanted = [_label(record) for record in whole.records]
                right = np.array([labels[f] == w for f, w in zip(found, wanted, strict=True)])
                chance = float(np.mean([labels.count(w) / len(labels) for w in wanted]))
            title = split if len(given) == len(part.has) else f"{split}:{'+'.join(given)}"
            numbers[title] = rate(right, chance)
            heading = f"{title}: nearest training picture is right for {right.mean():.1%}"
            print(heading, flush=True)
            # What was drawn, and beside it the training picture that is nearest to it.
            grid = draw.grid(images, part, pictures[found], range(4 * SHOWN))
            sections.append((heading, grid))
    return Evaluation(numbers, sections)


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
