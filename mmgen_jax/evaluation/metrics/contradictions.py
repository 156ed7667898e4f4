"""Which of two inputs wins where they ask for different things?"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmgen_jax.data import Source
from mmgen_jax.data.pipeline import drawn, spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import READINGS, Reading
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.evaluation.statistics.nearest import nearest

MOST = 20_000  # training pictures
FEW = 256  # records to choose opposites from, at least, where a picture is read by a judge
AT_ONCE = 64  # records that are decoded at a time
Facts = dict[str, np.ndarray]  # attribute -> what each row says of it


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
    `MOST`, and as many as fit in memory.

    Raises:
      InputError: if the run has one modality alone, no two that contradict each other, its data set
        no two classes, or no record two of the modalities.
    """
    METRICS["contradictions"].check(asked)
    names, config = tuple(asked.trained.model.modalities), asked.trained.config
    draw = asked.drawing
    source = draw.open(config.data.split)
    if config.data.name in READINGS:
        some = min(MOST, max(FEW, 4 * asked.count))
        reading, rows = (
            READINGS[asked.data.name](asked.data),
            draw.usable(source, spread(source, some)),
        )
        said = _said(source, rows, reading, names)
    else:
        usable = draw.usable(source, spread(source, draw.held(MOST)))
        reading, rows, classes = _classes(draw, source, usable)
        said = {name: {"class": classes} for name in names}
    draw.say_if_short(source, len(rows), asked.count)
    numbers, sections = {}, []
    for first, second in itertools.combinations(names, 2):
        opposed = _opposed(said[first], said[second], len(rows), asked)
        if opposed is None:
            continue
        found = _Won()
        for start in range(0, len(opposed[0]), draw.size):
            one, other = (
                draw.whole(source, [rows[k] for k in chosen[start : start + draw.size]], start)
                for chosen in opposed
            )
            both = one.has[first] & other.has[second]
            has = {name: both & (name in (first, second)) for name in names}
            part = one._replace(values=one.values | {second: other.values[second]}, has=has)
            if both.any():
                images = draw(part)
                says = reading.says(one.records, first), reading.says(other.records, second)
                found.add(*says, reading.shows(images), both)
                found.grid = draw.grid(images, part) if found.grid is None else found.grid
        if not found:
            continue
        title = f"{first} against {second}"
        numbers[title] = found.numbers()
        won = numbers[title]["first"], numbers[title]["second"]
        heading = f"{title}: {won[0]:.1%} as {first} says, {won[1]:.1%} as {second} does"
        print(heading, flush=True)
        sections.append((heading, found.grid))
    if not numbers:
        raise InputError(
            "metric 'contradictions' needs records that have two of the modalities, which speak of"
            f" the same; the run has {', '.join(names)}"
        )
    return Evaluation(numbers, sections)


def _said(
    source: Source, rows: Sequence[int], reading: Reading, names: Sequence[str]
) -> dict[str, Facts]:
    """What each modality of these records says; few of them are decoded at a time."""
    found: dict[str, list[Facts]] = {name: [] for name in names}
    for start in range(0, len(rows), AT_ONCE):
        records = [drawn(source[i], i) for i in rows[start : start + AT_ONCE]]
        for name in names:
            found[name].append(reading.says(records, name))
    return {
        name: {fact: np.concatenate([part[fact] for part in parts]) for fact in parts[0]}
        for name, parts in found.items()
    }


def _opposed(own: Facts, theirs: Facts, total: int, asked: Asked) -> tuple[list, list] | None:
    """Rows, and rows that contradict them; None if the two speak of nothing common."""
    rng = np.random.default_rng(asked.seed)
    common = own.keys() & theirs.keys()
    if not common:
        return None
    rows = rng.choice(total, min(asked.count, total), replace=False)
    others = []
    for row in rows:
        differ = np.any([theirs[fact] != own[fact][row] for fact in common], axis=0)
        others.append(int(rng.choice(np.flatnonzero(differ))))
    return rows.tolist(), others


class _Won:
    """How often what is shown is what the one says, and the other, where the two differ.

    Attributes:
      grid: the first pictures; None before there are any.
    """

    def __init__(self) -> None:
        self.grid: np.ndarray | None = None
        self._won: list[np.ndarray] = []

    def __bool__(self) -> bool:
        return bool(self._won)

    def add(self, first: Facts, second: Facts, shown: Facts, both: np.ndarray) -> None:
        """Counts a part's rows, those that have both inputs."""
        common = first.keys() & second.keys()

        def agrees(said: Facts) -> np.ndarray:
            found = [(first[fact] == second[fact]) | (shown[fact] == said[fact]) for fact in common]
            return np.all(found, axis=0)[both]

        self._won.append(np.stack([agrees(first), agrees(second)]))

    def numbers(self) -> dict[str, Any]:
        """Of all parts together."""
        won = np.concatenate(self._won, axis=1)
        first, second = (float(share) for share in won.mean(axis=1))
        numbers = {"first": first, "second": second, "neither": 1 - (first + second)}
        return numbers | {"count": won.shape[1]}


def _classes(
    draw: Drawing, source: Source, usable: Sequence[int]
) -> tuple[Reading, list[int], np.ndarray]:
    """Whatever an input is, it says the class; a picture shows that of the nearest one.

    Returns:
      the reading, the numbers of the records that have a class, and their classes.
    """
    rows, labels, pictures = [], [], []
    for index in usable:
        record = drawn(source[index], index)
        if "label" in record.values:
            rows.append(index)
            labels.append(record.values["label"])
            pictures.append(draw.picture(record))
    if len(set(labels)) < 2:
        raise InputError("metric 'contradictions' needs a data set with labels of two classes")
    if len(rows) < len(usable):
        without = len(usable) - len(rows)
        print(f"contradictions: {without} records without a label are passed over", flush=True)
    known, classes = np.stack(pictures), np.array(labels)
    reading = Reading(
        lambda asked, _: {"class": np.array([record.values["label"] for record in asked])},
        lambda images: {"class": classes[nearest(images, known)]},
    )
    return reading, rows, classes


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    names = tuple(asked.trained.model.modalities)
    if len(names) > 1:
        return None
    return f"metric 'contradictions' needs two modalities, not {names[0]!r} alone"
