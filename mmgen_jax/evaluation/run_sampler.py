"""What a run draws for the records of its data set, part by part."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from mmgen_jax.data import DataOptions, Record, Source
from mmgen_jax.data.pipeline import Example, drawn, fixed_batch, spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.cache import Memo, digest
from mmgen_jax.media import gallery
from mmgen_jax.media.images import quantise, resize
from mmgen_jax.nn.layout import by_example, on_mesh
from mmgen_jax.sampling.inputs import describe
from mmgen_jax.sampling.sample import reconstruct
from mmgen_jax.sampling.sampler import Sampler, in_batches, pictures
from mmgen_jax.training.run import Trained, sample_options

SHOWN = 8  # pictures in a row of a report
BATCH = 128  # pictures that a device draws at once
PATIENCE = 20  # seconds, after which a line says how far it is
HELD = 1 << 30  # bytes of a data set's pictures, that are held to compare with


class Part(NamedTuple):
    """Some records, as a model is given them.

    Attributes:
      first: how many came before: noise differs from row to row.
      records: as they are drawn for, with one value of each modality, decoded when it is asked for;
        their pictures have the model's size.
      images: their own pictures, in [-1, 1].
      values, has: by modality, see `model.Batch`.
    """

    first: int
    records: list[Record]
    images: Float[np.ndarray, "rows height width 3"]
    values: dict[str, Any]
    has: dict[str, Bool[np.ndarray, "rows"]]

    def given(self, names: Sequence[str]) -> "Part":
        """The same with the inputs of these modalities alone."""
        return self._replace(has={m: there & (m in names) for m, there in self.has.items()})


class Drawing:
    """Draws a run's records' conditions.

    Args:
      trained: the run.
      seed: of the noise.
      memo: keeps what was drawn.
      most: rows that a device draws at once, at most.
    """

    def __init__(
        self, trained: Trained, seed: int, memo: Memo | None = None, most: int | None = None
    ):
        config, model = trained.config, trained.model
        self._trained, self._seed, self._memo = trained, seed, memo or Memo()
        self._options = sample_options(config)
        self._drawn, self._told = 0, time.monotonic()
        self._opened: tuple[Source | None, str] = None, ""  # the last one, and its split
        self._short = set[str]()  # splits of which it is said that they have too few records
        self._most = min(BATCH, most or BATCH)
        self.size = self._most * _devices(trained)  # rows of a part
        self._sampler = Sampler(model, self._options, self.size, trained.mesh)
        self._weights, self.prepare = model.guidance_weights, model.prepare

    def open(self, split: str, languages: tuple[str, ...] | None = None) -> Source:
        """A split of the run's data set, with captions in its languages or in these."""
        data = DataOptions.of(self._trained.config)
        if languages is not None:
            data = replace(data, languages=languages)
        source = data.open(split)
        self._opened = source, split
        return source

    def say_if_short(self, source: Source, records: int, count: int) -> None:
        """Says, once for each split, that it has fewer records than are asked for.

        Args:
          source: the one that was opened last; of others nothing is said.
          records: how many of it can be evaluated.
          count: how many are asked for.
        """
        opened, split = self._opened
        if records < count and opened is source and split not in self._short:
            self._short.add(split)
            has = f"split {split!r} has {records} records to evaluate"
            print(f"{has}, fewer than --count={count}", flush=True)

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

    def pictures(self, source: Source, indices: Iterable[int]) -> UInt8[np.ndarray, "rows _ _ 3"]:
        """The pictures of these records, in the model's size; one at a time is larger."""
        return np.stack([self.picture(source[i]) for i in indices])

    def held(self, most: int) -> int:
        """How many pictures of the model's size are held to compare with: `most`, if they fit."""
        height, width = self._trained.model.shared.image_shape
        return max(1, min(most, HELD // (3 * height * width)))

    def whole(self, source: Source, indices: Sequence[int], first: int = 0) -> Part:
        """These records, which must all be usable, at once; each is decoded once."""
        records: list[Record] = []

        def prepare(record: Record, index: int) -> Example:
            record = drawn(record, index)
            example = self.prepare(record, index)
            records.append(Record(quantise(example["image"]), record.values))
            return example

        batch = fixed_batch(source, prepare, indices)
        return Part(first, records, batch["image"], batch["values"], batch["has"])

    def spread(self, source: Source, count: int) -> Part:
        """At most so many usable records, chosen as `parts` does, at once."""
        return self.whole(source, self._chosen(source, count))

    def parts(self, source: Source, count: int, again: bool) -> Iterator[Part]:
        """So many records, chosen by `pipeline.spread`, as many at a time as are drawn at once.

        Where the source has fewer, and `again` is true, they come again: noise makes other pictures
        of them.
        """
        rows = self._chosen(source, count)
        if not again:
            self.say_if_short(source, len(rows), count)
        else:
            rows = list(itertools.islice(itertools.cycle(rows), count))
        return self.split(source, rows)

    def _chosen(self, source: Source, count: int) -> list[int]:
        rows = spread(source, count)
        if len(rows) == len(source):  # in its order: a sheet of the first would show one class
            rows = np.random.default_rng(0).permutation(rows).tolist()
        return self.usable(source, rows)

    def split(self, source: Source, rows: Sequence[int]) -> Iterator[Part]:
        """These usable records, as many at a time as are drawn at once."""
        for first in range(0, len(rows), self.size):
            yield self.whole(source, rows[first : first + self.size], first)

    def __call__(self, part: Part) -> UInt8[np.ndarray, "rows height width 3"]:
        """One picture for each record, of the inputs that the part gives."""
        found, rows = [], len(next(iter(part.has.values())))
        for start in range(0, rows, self.size):
            cut = jax.tree.map(lambda x, s=start: x[s : s + self.size], (part.values, part.has))
            compute = partial(self._draw, *cut, part.first + start)
            facts = partial(self._facts, *cut, part.first + start)
            found += self._memo(facts, compute)
        return np.concatenate(found)

    def _draw(self, values: Any, has: Any, first: int) -> list[np.ndarray]:
        trained = self._trained
        inputs = trained.params, trained.state, values, has, self._weights
        images = self._sampler(*inputs, self._seed, first=first)
        self._drawn += len(images)
        if time.monotonic() - self._told > PATIENCE:
            self._told = time.monotonic()
            print(f"{self._drawn} pictures drawn", flush=True)
        return [images]

    def _facts(self, values: Any, has: Any, first: int) -> Any:
        return self._identity, self._weights, self._seed, values, has, first

    @cached_property
    def _identity(self) -> str:
        trained = self._trained
        config = trained.config.to_json_best_effort(), asdict(self._options)
        return digest((trained.params, trained.state, config))

    def reconstruct(self, part: Part) -> UInt8[np.ndarray, "rows height width 3"]:
        """Pictures as the model's code gives them back, with the inputs that they have."""
        return self._reconstruct(part.images, part.values, part.has)

    @cached_property
    def _reconstruct(self) -> Callable[..., np.ndarray]:
        again = partial(reconstruct, self._trained.model)
        return over_devices(self._trained, again, finish=pictures, most=self._most)

    def grid(
        self,
        images: np.ndarray,
        part: Part,
        beside: np.ndarray | None = None,
        rows: Sequence[int] = range(SHOWN),
        notes: Sequence[str] | None = None,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Some pictures with what they were given.

        Args:
          images: a part's.
          part: what they were drawn for.
          beside: a small picture to add to each.
          rows: which are shown, of those that are there.
          notes: a line to add to the caption of each.
        """
        shown = [row for row in rows if row < len(images)]
        cut = jax.tree.map(lambda x: np.asarray(x)[shown], (part.values, part.has))
        captions, thumbnails = describe(self._trained.model, *cut)
        if beside is not None:
            thumbnails = [[*own, b] for own, b in zip(thumbnails, beside[shown], strict=True)]
        if notes is not None:
            captions = [f"{c}\n{notes[row]}" for c, row in zip(captions, shown, strict=True)]
        return gallery.grid(images[shown], captions, thumbnails=thumbnails)


def over_devices(
    trained: Trained,
    function: Callable[..., Any],
    *,
    finish: Callable[[np.ndarray], np.ndarray],
    most: int = BATCH,
) -> Callable[..., np.ndarray]:
    """What computes `function(params, state, *rows)` for all rows of host arrays, with a run's own.

    Args:
      trained: the run; its devices share the rows.
      function: of arrays, or trees of them, with one row for each example; traced once.
      finish: see `in_batches`.
      most: rows that a device has at once; it has as many however many devices there are.
    """

    def share(params: Any, state: Any, *inputs: Any) -> Any:
        return function(params, state, *jax.tree.map(by_example, inputs))

    compiled = jax.jit(on_mesh(trained.mesh, share) if trained.mesh else share)
    bound = partial(compiled, trained.params, trained.state)
    return partial(in_batches, bound, most * _devices(trained), finish=finish)


def _devices(trained: Trained) -> int:
    return trained.mesh.size if trained.mesh else 1


class Shelf:
    """The pictures of the lowest rank, of all parts that come by, with what they were given.

    Args:
      room: for how many.
    """

    def __init__(self, room: int):
        self._room, self._kept = room, []

    def add(
        self,
        ranks: np.ndarray,
        images: np.ndarray,
        part: Part,
        notes: Sequence[str],
        beside: np.ndarray | None = None,
    ) -> None:
        """A part's pictures: each with its rank, a line for its caption, a small picture or none.

        What has an infinite rank is not kept.
        """
        for row in np.argsort(ranks, kind="stable")[: self._room]:
            if np.isfinite(ranks[row]):
                arrays = (images, part.values, part.has, beside)
                own = jax.tree.map(lambda x, row=row: x[row], arrays)
                self._kept.append((ranks[row], notes[row], own))
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self._room :]

    def __len__(self) -> int:
        return len(self._kept)

    def grid(self, draw: Drawing) -> UInt8[np.ndarray, "height width 3"]:
        """What is kept, the lowest rank first."""
        rows = [own for _, _, own in self._kept]
        images, values, has, beside = jax.tree.map(lambda *x: np.stack(x), *rows)
        part, notes = Part(0, [], images, values, has), [note for _, note, _ in self._kept]
        return draw.grid(images, part, beside, range(self._room), notes)


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets but the empty one, the largest first."""
    sizes = range(len(names), 0, -1)
    return [chosen for size in sizes for chosen in itertools.combinations(names, size)]


def all_and_each(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All names together, then each one alone."""
    return list(dict.fromkeys([names, *((name,) for name in names)]))
