"""What a trained run is worth: each function gives numbers, and pictures to look at."""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from mmgen_jax import gallery
from mmgen_jax.data import SOURCES, Record, Source
from mmgen_jax.data.pipeline import fixed_batch, prepare_example
from mmgen_jax.errors import InputError
from mmgen_jax.images import resize
from mmgen_jax.metrics import JUDGES
from mmgen_jax.metrics.nearest import distinct, nearest
from mmgen_jax.metrics.satisfaction import report, wilson
from mmgen_jax.registry import Registry
from mmgen_jax.sampling import Sampler, describe
from mmgen_jax.training.run import Trained, sample_options

SHOWN = 8  # pictures in a row of a report
Section = tuple[str, UInt8[np.ndarray, "height width 3"]]


class Evaluation(NamedTuple):
    """What one metric found.

    Attributes:
      numbers: JSON-able; the key is what the pictures were given.
      sections: (heading, captioned grid), for people.
    """

    numbers: dict[str, dict[str, Any]]
    sections: list[Section]


def satisfaction(trained: Trained, count: int, seed: int) -> Evaluation:
    """Joint satisfaction of every subset of the inputs, on unseen scenes.

    For each non-empty subset the first `count` records of split `test` are drawn from that subset
    alone and judged on all of it; the same for split `heldout`, combinations never trained on,
    under keys "heldout:...". See `satisfaction.report` for the numbers.

    Raises:
      InputError: if nobody judges this data set.
    """
    name = trained.config.data.name
    JUDGES.check(name)
    judge, draw = JUDGES[name], Drawing(trained, seed)
    numbers, sections = {}, []
    for split in SOURCES[name].describe(trained.config.data).splits:
        if split == trained.config.data.split:
            continue
        records, batch = draw.conditions(split, range(count))
        for subset in subsets(tuple(trained.model.modalities)):
            has = {m: there & (m in subset) for m, there in batch["has"].items()}
            images = draw(batch["values"], has)
            asked = [{m: record.values[m] for m in subset} for record in records]
            hits = judge.satisfied(images, asked)
            title = ("" if split == "test" else f"{split}:") + "+".join(subset)
            numbers[title] = report(hits, partial(judge.chance, split=split))["+".join(subset)]
            heading = f"given {title}: {numbers[title]['rate']:.1%} satisfied"
            print(heading, flush=True)
            sections.append((heading, draw.grid(images, batch["values"], has)))
    return Evaluation(numbers, sections)


def fitting(trained: Trained, count: int, seed: int) -> Evaluation:
    """Which training picture is nearest to what the model draws for the inputs of a record.

    "train": `count` training records at random; right if the nearest picture (L2 at the model's
    size) is the record's own. This measures fitting, not generalisation. Pictures that stand
    twice count as one. "test": `count` records of the test split (all, if it has fewer); right if
    the nearest training picture has the record's label.
    """
    draw = Drawing(trained, seed)
    config = trained.config
    source = SOURCES[config.data.name].open(config.data, config.data.split)
    training = [source[i] for i in range(len(source))]
    pictures = np.stack([resize(record.image, config.data.image_size) for record in training])
    identity = distinct(pictures)
    labels = [_label(record) for record in training]
    rng = np.random.default_rng(seed)
    numbers, sections = {}, []
    for split in (config.data.split, config.eval.split):
        total = len(draw.open(split))
        chosen = rng.choice(total, min(count, total), replace=False)
        records, batch = draw.conditions(split, chosen.tolist())
        images = draw(batch["values"], batch["has"])
        found = nearest(images, pictures)
        if split == config.data.split:
            right = identity[found] == identity[chosen]
            chance = 1 / len(np.unique(identity))
        else:
            wanted = [_label(record) for record in records]
            right = np.array([labels[f] == w for f, w in zip(found, wanted, strict=True)])
            chance = float(np.mean([labels.count(w) / len(labels) for w in wanted]))
        numbers[split] = {
            "rate": float(right.mean()),
            "count": len(right),
            "chance": chance,
            "interval": list(wilson(int(right.sum()), len(right))),
        }
        heading = f"{split}: nearest training picture is right for {right.mean():.1%}"
        print(heading, flush=True)
        # What was drawn, and beside it the training picture that is nearest to it.
        grid = draw.grid(images, batch["values"], batch["has"], pictures[found], 4 * SHOWN)
        sections.append((heading, grid))
    return Evaluation(numbers, sections)


EVALUATIONS = Registry(
    "metric",
    {
        "satisfaction": "mmgen_jax.metrics.evaluation:satisfaction",
        "fitting": "mmgen_jax.metrics.evaluation:fitting",
    },
)


class Drawing:
    """Draws a run's records' conditions."""

    def __init__(self, trained: Trained, seed: int):
        config, model = trained.config, trained.model
        self._trained, self._seed = trained, seed
        self._sampler = Sampler(model, sample_options(config, None), batch_size=128)
        self._weights = {name: config.modalities[name].guidance for name in model.modalities}
        self._prepare = partial(
            prepare_example, modalities=model.modalities, image_size=config.data.image_size
        )

    def open(self, split: str) -> Source:
        """A split of the run's data set."""
        data = self._trained.config.data
        return SOURCES[data.name].open(data, split)

    def conditions(self, split: str, indices: Any) -> tuple[list[Record], Any]:
        """Records as they are, and as a batch."""
        source = self.open(split)
        return [source[i] for i in indices], fixed_batch(source, self._prepare, indices)

    def __call__(self, values: Any, has: dict[str, Bool[np.ndarray, "rows"]]) -> np.ndarray:
        """uint8 [rows, height, width, 3], one for each row."""
        return self._sampler(
            self._trained.params, self._trained.state, values, has, self._weights, self._seed
        )

    def grid(
        self,
        images: np.ndarray,
        values: Any,
        has: dict[str, Bool[np.ndarray, "rows"]],
        beside: np.ndarray | None = None,
        shown: int = SHOWN,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The first pictures with what they were given; `beside` adds a small one to each."""
        cut = jax.tree.map(lambda x: x[:shown], (values, has))
        captions, thumbnails = describe(self._trained.model, *cut)
        if beside is not None:
            thumbnails = [[*own, b] for own, b in zip(thumbnails, beside[:shown], strict=True)]
        return gallery.grid(images[:shown], captions, thumbnails=thumbnails)


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets but the empty one, the largest first."""
    sizes = range(len(names), 0, -1)
    return [chosen for size in sizes for chosen in itertools.combinations(names, size)]


def table(numbers: dict[str, dict[str, Any]], right: str) -> str:
    """Rates as lines of text, under the heading `right`."""
    lines = [f"{'given':28s}{right:>16s}{'95% interval':>18s}{'chance':>9s}{'count':>7s}"]
    for title, row in numbers.items():
        low, high = row["interval"]
        interval = f"{low:.1%} - {high:.1%}"
        cells = f"{row['rate']:16.1%}{interval:>18s}{row['chance']:9.2%}{row['count']:7d}"
        lines.append(f"{title:28s}{cells}")
    return "\n".join(lines)


def _label(record: Record) -> Any:
    if "label" not in record.values:
        raise InputError("metric 'fitting' needs a data set with labels")
    return record.values["label"]
