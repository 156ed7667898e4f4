"""What a trained run is worth: each function gives numbers, and pictures to look at."""

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mmgen_jax import gallery
from mmgen_jax.data import SOURCES, Record, Source
from mmgen_jax.data.pipeline import drawn, fixed_batch, prepare_example, spread
from mmgen_jax.errors import InputError
from mmgen_jax.images import quantise, resize
from mmgen_jax.metrics import JUDGES
from mmgen_jax.metrics.nearest import distinct, nearest
from mmgen_jax.metrics.satisfaction import report, wilson
from mmgen_jax.registry import Registry
from mmgen_jax.sampling import Sampler, describe, in_batches, reconstruct
from mmgen_jax.training.run import Trained, sample_options

SHOWN = 8  # pictures in a row of a report
BATCH = 128  # pictures drawn at once
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

    For each non-empty subset `count` records spread over split `test` are drawn from that subset
    alone and judged on all of it; the same for split `heldout`, combinations never trained on,
    under keys "heldout:...". See `satisfaction.report` for the numbers.

    Raises:
      InputError: if nobody judges this data set.
    """
    name = trained.config.data.name
    JUDGES.check(name)
    judge, draw = JUDGES[name](trained.config.data), Drawing(trained, seed)
    print(f"judge: {judge.accuracy:.2%} right on the data set's own pictures", flush=True)
    numbers, sections = {}, []
    for split in SOURCES[name].describe(trained.config.data).splits:
        if split == trained.config.data.split:
            continue
        source = draw.open(split)
        records, batch = draw.conditions(source, draw.usable(source, spread(source, count)))
        for subset in subsets(tuple(trained.model.modalities)):
            has = {m: there & (m in subset) for m, there in batch["has"].items()}
            images = draw(batch["values"], has)
            hits = judge.satisfied(images, records, subset)
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
    the nearest training picture has the record's label. Given all inputs; given each one alone
    under keys "train:text", "test:text" and so on.
    """
    draw = Drawing(trained, seed)
    config = trained.config
    training = draw.open(config.data.split)
    usable = draw.usable(training, range(len(training)))
    seen = [(draw.picture(record), _label(record)) for record in map(training.__getitem__, usable)]
    pictures, labels = np.stack([picture for picture, _ in seen]), [label for _, label in seen]
    identity = distinct(pictures)
    rng = np.random.default_rng(seed)
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        source = draw.open(split)
        own = split == config.data.split
        candidates = usable if own else draw.usable(source, range(len(source)))
        chosen = rng.choice(len(candidates), min(count, len(candidates)), replace=False)
        records, batch = draw.conditions(source, [candidates[k] for k in chosen])
        for given in all_and_each(tuple(trained.model.modalities)):
            has = {m: there & (m in given) for m, there in batch["has"].items()}
            images = draw(batch["values"], has)
            found = nearest(images, pictures)
            if own:
                right = identity[found] == identity[chosen]
                chance = 1 / len(np.unique(identity))
            else:
                wanted = [_label(record) for record in records]
                right = np.array([labels[f] == w for f, w in zip(found, wanted, strict=True)])
                chance = float(np.mean([labels.count(w) / len(labels) for w in wanted]))
            title = split if len(given) == len(has) else f"{split}:{'+'.join(given)}"
            numbers[title] = _rate(right, chance)
            heading = f"{title}: nearest training picture is right for {right.mean():.1%}"
            print(heading, flush=True)
            # What was drawn, and beside it the training picture that is nearest to it.
            grid = draw.grid(images, batch["values"], has, pictures[found], 4 * SHOWN)
            sections.append((heading, grid))
    return Evaluation(numbers, sections)


def all_and_each(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All names together, then each one alone."""
    return list(dict.fromkeys([names, *((name,) for name in names)]))


def languages(trained: Trained, count: int, seed: int) -> Evaluation:
    """Whether a caption gives the same picture in every language of `data.languages`.

    `count` training records, in random order, whose caption in the first language alone gives their
    own picture: the nearest training picture (L2 at the model's size) is theirs. For each other
    language the share of those that have a caption in it and give the same picture by it.

    Raises:
      InputError: if the run has no two languages, or no caption is right in the first one.
    """
    config = trained.config
    first, *others = config.data.languages or ("",)
    if not others or "text" not in trained.model.modalities:
        raise InputError(
            "metric 'languages' needs a run with text in several config.data.languages"
        )
    draw = Drawing(trained, seed)
    source = draw.open(config.data.split, languages=(first,))
    usable = draw.usable(source, range(len(source)))
    pictures = np.stack([draw.picture(source[i]) for i in usable])
    identity = distinct(pictures)
    places = [source.where(i) for i in usable]
    order = np.random.default_rng(seed).permutation(len(usable))

    def right(language: str, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, Section]:
        """(those that have a caption, which give their own picture, some of the pictures)."""
        spoken = draw.open(config.data.split, languages=(language,))
        # By place: a record that is bad in one language need not be so in another.
        at = {spoken.where(i): i for i in range(len(spoken))}
        rows = {k: at[places[k]] for k in chosen.tolist() if places[k] in at}
        rows = {
            k: i
            for k, i in rows.items()
            if draw.is_usable(spoken, i) and "text" in spoken[i].values
        }
        if not rows:
            raise InputError(f"none of {len(chosen)} records has a caption in {language!r}")
        kept = np.array(list(rows))
        _, batch = draw.conditions(spoken, list(rows.values()))
        has = {m: there & (m == "text") for m, there in batch["has"].items()}
        images = draw(batch["values"], has)
        found = nearest(images, pictures)
        grid = draw.grid(images, batch["values"], has, pictures[found])
        return kept, identity[found] == identity[kept], (language, grid)

    kept, hits, section = right(first, order[: 4 * count])
    print(f"{first}: {hits.mean():.1%} of {len(hits)}; the first {count} of these:", flush=True)
    chosen = kept[hits][:count]
    if not len(chosen):
        raise InputError(f"no caption in {first!r} gives its own picture: nothing to compare with")
    numbers, sections = {}, [section]
    for language in others:
        _, hits, section = right(language, chosen)
        numbers[language] = _rate(hits, 1 / len(np.unique(identity)))
        sections.append(section)
        print(f"{language}: {hits.mean():.1%} of {len(hits)}", flush=True)
    return Evaluation(numbers, sections)


def reconstruction(trained: Trained, count: int, seed: int) -> Evaluation:
    """How well the model's own code gives pictures back, that it was trained on and that not.

    For splits `data.split` and `eval.split` the mean peak signal-to-noise ratio, in dB, of `count`
    pictures spread over the split, with the inputs that their records have.

    Raises:
      InputError: if the run's family has no code.
    """
    config, model = trained.config, trained.model
    if model.generator.reconstruct is None:
        raise InputError(
            f"metric 'reconstruction' needs a family that reconstructs; {config.generator.name!r}"
            " does not"
        )
    draw = Drawing(trained, seed)
    numbers, sections = {}, []
    for split in dict.fromkeys((config.data.split, config.eval.split)):
        source = draw.open(split)
        _, batch = draw.conditions(source, draw.usable(source, spread(source, count)))
        originals = quantise(batch["image"])
        images = draw.reconstruct(batch["image"], batch["values"], batch["has"])
        numbers[split] = _level(peak_signal_to_noise(originals, images))
        heading = f"{split}: {numbers[split]['psnr']:.1f} dB; originals beside reconstructions"
        print(heading, flush=True)
        pairs = np.concatenate([originals, images], axis=2)
        sections.append((heading, draw.grid(pairs, batch["values"], batch["has"], shown=4 * SHOWN)))
    return Evaluation(numbers, sections)


def peak_signal_to_noise(
    originals: UInt8[np.ndarray, "rows height width 3"],
    images: UInt8[np.ndarray, "rows height width 3"],
) -> Float[np.ndarray, "rows"]:
    """PSNR of each picture, in dB: 10 log10(255^2 / mean squared error).

    One without any error counts as if one value were off by 1, so that means are finite.
    """
    error = np.square(originals.astype(np.float64) - images).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1 / originals[0].size))


EVALUATIONS = Registry(
    "metric",
    {
        "satisfaction": "mmgen_jax.metrics.evaluation:satisfaction",
        "fitting": "mmgen_jax.metrics.evaluation:fitting",
        "languages": "mmgen_jax.metrics.evaluation:languages",
        "reconstruction": "mmgen_jax.metrics.evaluation:reconstruction",
        "diversity": "mmgen_jax.metrics.diversity:diversity",
        "codes": "mmgen_jax.metrics.codes:codes",
        "contradictions": "mmgen_jax.metrics.contradictions:contradictions",
        "likelihood": "mmgen_jax.metrics.likelihood:likelihood",
    },
)


class Drawing:
    """Draws a run's records' conditions."""

    def __init__(self, trained: Trained, seed: int):
        config, model = trained.config, trained.model
        self._trained, self._seed = trained, seed
        self._sampler = Sampler(model, sample_options(config), batch_size=BATCH)
        self._weights = {name: config.modalities[name].guidance for name in model.modalities}
        self.prepare = partial(
            prepare_example, modalities=model.modalities, image_shape=model.shared.image_shape
        )

    def open(self, split: str, languages: tuple[str, ...] | None = None) -> Source:
        """A split of the run's data set, with captions in its languages or in these."""
        data = self._trained.config.data.copy_and_resolve_references()
        if languages is not None:
            data.languages = languages
        return SOURCES[data.name].open(data, split)

    def usable(self, source: Source, indices: Iterable[int]) -> list[int]:
        """Those of these records that are not bad: all, unless bad ones are to be skipped.

        Raises:
          InputError: if there is none.
        """
        kept = [i for i in indices if self.is_usable(source, i)]
        if not kept:
            raise InputError(f"data set {self._trained.config.data.name!r} has no good record here")
        return kept

    def is_usable(self, source: Source, index: int) -> bool:
        """Whether a record need not be skipped; what is not to be skipped is not read here."""
        if self._trained.config.data.on_bad_record == "raise":
            return True
        try:
            self.prepare(source[index], index)
        except InputError:
            return False
        return True

    def picture(self, record: Record) -> UInt8[np.ndarray, "height width 3"]:
        """A record's own picture, in the model's size."""
        return resize(record.image, self._trained.model.shared.image_shape)

    def conditions(self, source: Source, indices: Sequence[int]) -> tuple[list[Record], Any]:
        """Records as they are drawn for, and as a batch; all must be usable."""
        return [drawn(source[i], i) for i in indices], fixed_batch(source, self.prepare, indices)

    def __call__(self, values: Any, has: dict[str, Bool[np.ndarray, "rows"]]) -> np.ndarray:
        """uint8 [rows, height, width, 3], one for each row."""
        return self._sampler(
            self._trained.params, self._trained.state, values, has, self._weights, self._seed
        )

    def reconstruct(
        self,
        images: Float[np.ndarray, "rows height width 3"],
        values: Any,
        has: dict[str, Bool[np.ndarray, "rows"]],
    ) -> UInt8[np.ndarray, "rows height width 3"]:
        """Pictures as the model's code gives them back."""
        trained = self._trained
        compiled = jax.jit(partial(reconstruct, trained.model))
        bound = partial(compiled, trained.params, trained.state)
        return in_batches(bound, min(BATCH, len(images)), images, values, has)

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


# What a table shows of a metric's rows, where they have it: its heading, and how it is written.
COLUMNS = {
    "rate": ("rate", "{:.1%}"),
    "psnr": ("PSNR", "{:.2f} dB"),
    "interval": ("95% interval", "{0[0]:.1%} - {0[1]:.1%}"),
    "psnr_interval": ("95% interval", "{0[0]:.2f} - {0[1]:.2f}"),
    "chance": ("chance", "{:.2%}"),
    "elbo": ("ELBO, bits/dim", "{:.4f}"),
    "elbo_error": ("+-", "{:.4f}"),
    "iwae": ("IWAE, bits/dim", "{:.4f}"),
    "iwae_error": ("+-", "{:.4f}"),
    "precision": ("precision", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "classes": ("classes shown", "{:.0%}"),
    "rarest": ("rarest class", "{:.2f}"),
    "usage": ("codes used", "{:.1%}"),
    "perplexity": ("perplexity", "{:.0f}"),
    "first": ("the first", "{:.1%}"),
    "second": ("the second", "{:.1%}"),
    "neither": ("neither", "{:.1%}"),
    "count": ("count", "{:d}"),
}


def table(numbers: dict[str, dict[str, Any]], metric: str) -> str:
    """A metric's numbers as lines of text, under its name."""
    shown = [name for name in COLUMNS if all(name in row for row in numbers.values())]
    lines = [[metric, *(COLUMNS[name][0] for name in shown)]]
    lines += [
        [title, *(COLUMNS[name][1].format(row[name]) for name in shown)]
        for title, row in numbers.items()
    ]
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        title.ljust(first) + "".join(f"  {x:>{w}}" for x, w in zip(cells, widths, strict=True))
        for title, *cells in lines
    )


def _rate(right: Bool[np.ndarray, "rows"], chance: float) -> dict[str, Any]:
    return {
        "rate": float(right.mean()),
        "count": len(right),
        "chance": chance,
        "interval": list(wilson(int(right.sum()), len(right))),
    }


def _level(decibels: Float[np.ndarray, "rows"]) -> dict[str, Any]:
    mean, error = float(decibels.mean()), float(decibels.std() / len(decibels) ** 0.5)
    interval = [mean - 1.96 * error, mean + 1.96 * error]
    return {"psnr": mean, "count": len(decibels), "psnr_interval": interval}


def _label(record: Record) -> Any:
    if "label" not in record.values:
        raise InputError("metric 'fitting' needs a data set with labels")
    return record.values["label"]
