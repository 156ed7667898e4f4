"""Which of two inputs wins where they ask for different things?"""

import itertools

import numpy as np

from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.metrics.evaluation import Asked, Evaluation
from mmgen_jax.metrics.nearest import nearest

MOST = 20_000  # training pictures


def contradictions(asked: Asked) -> Evaluation:
    """For each two modalities, whose class is drawn: the first one's or the second one's?

    `count` training records at random; the first modality has a record's own value, the second one
    that of another record at random, of another class (`label`). What is drawn has the class of the
    training picture that is nearest to it (L2 at the model's size), of at most `MOST`. "first" and
    "second" are how often it is that of the one and of the other, "neither" the rest. Two
    modalities that no record has both are left out.

    It says something where all inputs name the class; a label that is but one of several facts, as
    the position is in `shapes`, contradicts nothing.

    Raises:
      InputError: if the run has one modality alone, its data set no two classes, or no record two
        of the modalities.
    """
    names, config = tuple(asked.trained.model.modalities), asked.trained.config
    if len(names) < 2:
        raise InputError(f"metric 'contradictions' needs two modalities, not {names[0]!r} alone")
    draw, rng = asked.drawing, np.random.default_rng(asked.seed)
    source = draw.open(config.data.split)
    read = {i: source[i] for i in draw.usable(source, spread(source, MOST))}
    read = {i: record for i, record in read.items() if "label" in record.values}
    usable = list(read)
    labels = np.array([record.values["label"] for record in read.values()])
    if len(set(labels)) < 2:
        raise InputError("metric 'contradictions' needs a data set with labels of two classes")
    pictures = np.stack([draw.picture(record) for record in read.values()])
    chosen = rng.choice(len(usable), min(asked.count, len(usable)), replace=False)
    others = np.array([rng.choice(np.flatnonzero(labels != labels[row])) for row in chosen])
    one, other = (draw.whole(source, [usable[k] for k in rows]) for rows in (chosen, others))
    numbers, sections = {}, []
    for first, second in itertools.combinations(names, 2):
        values = one.values | {second: other.values[second]}
        both = one.has[first] & other.has[second]
        if not both.any():
            continue
        has = {name: both & (name in (first, second)) for name in names}
        part = one._replace(values=values, has=has)
        images = draw(part)
        found = labels[nearest(images, pictures)][both]
        shares = [float((found == labels[rows][both]).mean()) for rows in (chosen, others)]
        title = f"{first} against {second}"
        numbers[title] = {
            "first": shares[0],
            "second": shares[1],
            "neither": 1 - sum(shares),
            "count": int(both.sum()),
        }
        heading = f"{title}: {shares[0]:.1%} as {first} says, {shares[1]:.1%} as {second} does"
        print(heading, flush=True)
        sections.append((heading, draw.grid(images, part)))
    if not numbers:
        raise InputError("metric 'contradictions' needs records that have two of the modalities")
    return Evaluation(numbers, sections)
