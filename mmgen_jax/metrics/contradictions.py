"""Which of two inputs wins where they ask for different things?"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmgen_jax.data import Record
from mmgen_jax.data.pipeline import drawn, spread
from mmgen_jax.errors import InputError
from mmgen_jax.metrics import READINGS, Reading
from mmgen_jax.metrics.drawing import Drawing
from mmgen_jax.metrics.evaluation import Asked, Evaluation, Metric
from mmgen_jax.metrics.nearest import nearest

MOST = 20_000  # training pictures


def contradictions(asked: Asked) -> Evaluation:
    """For each two modalities that speak of the same, what is drawn if they do not agree?

    `count` training records at random; the first modality has a record's own value, the second one
    that of another record at random, which says something else of what both speak of. "first" and
    "second" are how often the picture shows what the one and the other says there, "neither" the
    rest. Two modalities that no record has both are left out, and two that never contradict each
    other, as the caption and the label of `shapes` do.

    Of a data set in `READINGS` (`shapes`) each input says some attributes, and its judge reads them
    from the picture. Elsewhere each input says the record's class, and a picture shows the class
    (`label`) of the training picture that is nearest to it (L2 at the model's size), of at most
    `MOST`.

    Raises:
      InputError: if the run has one modality alone, no two that contradict each other, its data set
        no two classes, or no record two of the modalities.
    """
    CONTRADICTIONS.check(asked)
    names, config = tuple(asked.trained.model.modalities), asked.trained.config
    draw = asked.drawing
    source = draw.open(config.data.split)
    usable = draw.usable(source, spread(source, MOST))
    read = {i: drawn(source[i], i) for i in usable}
    if config.data.name in READINGS:
        reading = READINGS[config.data.name]()
    else:
        read = {i: record for i, record in read.items() if "label" in record.values}
        reading = _classes(draw, list(read.values()))
    numbers, sections = {}, []
    for first, second in itertools.combinations(names, 2):
        opposed = _opposed(list(read.values()), reading, first, second, asked)
        if opposed is None:
            continue
        one, other = (draw.whole(source, np.array(list(read))[rows].tolist()) for rows in opposed)
        both = one.has[first] & other.has[second]
        if not both.any():
            continue
        has = {name: both & (name in (first, second)) for name in names}
        part = one._replace(values=one.values | {second: other.values[second]}, has=has)
        images, title = draw(part), f"{first} against {second}"
        says = reading.says(one.records, first), reading.says(other.records, second)
        numbers[title] = _shares(*says, reading.shows(images), both)
        won = numbers[title]["first"], numbers[title]["second"]
        heading = f"{title}: {won[0]:.1%} as {first} says, {won[1]:.1%} as {second} does"
        print(heading, flush=True)
        sections.append((heading, draw.grid(images, part)))
    if not numbers:
        raise InputError(
            "metric 'contradictions' needs records that have two of the modalities, which speak of"
            f" the same; the run has {', '.join(names)}"
        )
    return Evaluation(numbers, sections)


def _opposed(
    records: Sequence[Record], reading: Reading, first: str, second: str, asked: Asked
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of records, and rows that contradict them; None if the two speak of nothing common."""
    rng = np.random.default_rng(asked.seed)
    own, theirs = reading.says(records, first), reading.says(records, second)
    common = own.keys() & theirs.keys()
    if not common:
        return None
    rows = rng.choice(len(records), min(asked.count, len(records)), replace=False)
    others = []
    for row in rows:
        differ = np.any([theirs[fact] != own[fact][row] for fact in common], axis=0)
        others.append(rng.choice(np.flatnonzero(differ)))
    return rows, np.array(others)


def _shares(
    first: dict[str, np.ndarray],
    second: dict[str, np.ndarray],
    shown: dict[str, np.ndarray],
    both: np.ndarray,
) -> dict[str, Any]:
    """How often what is shown is what the one says, and the other, where the two differ."""
    common = first.keys() & second.keys()

    def share(said: dict[str, np.ndarray]) -> float:
        agrees = [(first[fact] == second[fact]) | (shown[fact] == said[fact]) for fact in common]
        return float(np.all(agrees, axis=0)[both].mean())

    won = share(first), share(second)
    numbers = {"first": won[0], "second": won[1], "neither": 1 - sum(won)}
    return numbers | {"count": int(both.sum())}


def _classes(draw: Drawing, records: Sequence[Record]) -> Reading:
    """Whatever an input is, it says the class; a picture shows that of the nearest one."""
    labels = np.array([record.values["label"] for record in records])
    if len(set(labels)) < 2:
        raise InputError("metric 'contradictions' needs a data set with labels of two classes")
    pictures = np.stack([draw.picture(record) for record in records])
    return Reading(
        lambda asked, _: {"class": np.array([record.values["label"] for record in asked])},
        lambda images: {"class": labels[nearest(images, pictures)]},
    )


def _lacks(asked: Asked) -> str | None:
    names = tuple(asked.trained.model.modalities)
    if len(names) > 1:
        return None
    return f"metric 'contradictions' needs two modalities, not {names[0]!r} alone"


CONTRADICTIONS = Metric(contradictions, _lacks)
