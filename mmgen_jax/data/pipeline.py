"""From a data source to the batches that a model is fed: shuffled, prepared, split by rows.

Importing this module does not import jax: grain, which does, is loaded with the first stream.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from mmgen_jax.data import Record, Source
from mmgen_jax.errors import InputError
from mmgen_jax.images import normalise, resize
from mmgen_jax.modalities import Modality

# With on_bad_record="skip": so many bad records in a row are no accident but a broken data set.
MOST_BAD_IN_A_ROW = 100


class Example(TypedDict):
    """One record, ready for a model. A batch is the same with a leading axis on every array.

    Attributes:
      index: uint32 scalar, from which all of the example's randomness comes: its position in the
        endless stream of training examples (modulo 2^32), so that it differs between epochs.
      image: float32 [size, size, 3] in [-1, 1].
      values: for each modality the arrays of its `prepare`, or of its `absent`.
      has: for each modality a bool scalar, whether the record has it.
    """

    index: Any
    image: Any
    values: dict[str, dict[str, Any]]
    has: dict[str, Any]


def prepare_example(
    record: Record, index: int, modalities: Mapping[str, Modality], image_size: int
) -> Example:
    """Turns a record into arrays of fixed shapes.

    A picture that is not square is cropped to its centre; one of another size is resized
    (`images.resize`).

    Raises:
      InputError: if the picture, or the value of a modality, cannot be used.
    """
    picture = np.asarray(record.image)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(
            f"image: {picture.dtype} {list(picture.shape)}; allowed: uint8 [height, width, 3]"
        )
    return Example(
        index=np.uint32(index % 2**32),
        image=normalise(resize(picture, image_size)),
        values={
            name: modality.prepare(record.values[name])
            if name in record.values
            else modality.absent
            for name, modality in modalities.items()
        },
        has={name: np.bool_(name in record.values) for name in modalities},
    )


Prepare = Callable[[Record, int], Example]  # prepare_example with its last two arguments bound


def fixed_batch(source: Source, prepare: Prepare, indices: Sequence[int]) -> Example:
    """The batch of these records, in this order; each example's `index` is its record's number.

    Raises:
      InputError: if one of the records is bad, naming it.
    """
    return collate([_read(source, prepare, record, record) for record in indices])


def training_batches(
    source: Source,
    prepare: Prepare,
    batch_size: int,
    seed: int,
    *,
    shuffle: bool = True,
    rows: Sequence[int] | None = None,
    threads: int = 2,
    on_bad_record: str = "raise",
) -> "TrainingBatches":
    """These rows of an endless stream of batches; every epoch is in another order.

    Row r of the k-th global batch is position k * batch_size + r of the stream, whatever the number
    of processes and whichever of them reads it.

    Args:
      source: read from several threads at once.
      prepare: (record, index) -> Example, see `prepare_example`.
      batch_size: examples in a global batch, that is over all processes.
      seed: of the order; in [0, 2^32).
      shuffle: False for the order of the source.
      rows: which rows of every global batch this process is fed; None for all.
      threads: how many batches are prepared at once, ahead of their use; 0 prepares each one when
        it is asked for.
      on_bad_record: "raise", or "skip": the next good record in the stream takes its place, under
        the same `index`, and it is counted.

    Raises:
      InputError: if the source is empty, an argument cannot work, or, while iterating, a record
        is bad (and is not skipped, or too many in a row are), naming it.
    """
    import grain

    mine = range(batch_size) if rows is None else rows
    if not mine:
        raise InputError(f"rows {rows} of a batch of {batch_size}: allowed is at least one")
    if on_bad_record not in ("raise", "skip"):
        raise InputError(f"data.on_bad_record is {on_bad_record!r}; allowed: raise, skip")
    if not len(source):
        raise InputError("the data set is empty: training needs at least one record")

    records = grain.MapDataset.range(len(source)).seed(seed)
    stream = (records.shuffle() if shuffle else records).repeat()
    attempts = MOST_BAD_IN_A_ROW if on_bad_record == "skip" else 1

    def read(position: int) -> _Read:
        candidates = (stream[position + ahead] for ahead in range(attempts))
        return _read_first_good(source, prepare, candidates, position)

    def read_batch(number: int, _: int) -> _Read:
        return _collate_reads([read(number * batch_size + row) for row in mine])

    numbers = grain.MapDataset.range(1).repeat().map_with_index(read_batch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return TrainingBatches(iter(numbers.to_iter_dataset(options)))


class TrainingBatches(Iterator[Example]):
    """Batches, with a position that can be saved and restored.

    Attributes:
      skipped: how many bad records were left out of the batches handed out by this object.
    """

    def __init__(self, batches: Any):
        self._batches = batches
        self.skipped = 0

    def __next__(self) -> Example:
        state = self.get_state()
        try:
            read = next(self._batches)
        except Exception:
            self.set_state(state)  # grain has dropped the batch: asking again must fail again
            raise
        self.skipped += read.skipped
        return read.example

    def get_state(self) -> dict[str, int]:
        """{"position": global batches handed out}: the same on every process, JSON-able.

        It holds for any rows, but only for the same source, seed and batch size.
        """
        return {"position": self._batches.get_state()["next_index"]}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues with the batch after the first `state["position"]` ones, without reading them.

        Raises:
          InputError: if the state is not one that `get_state` returns.
        """
        position = state["position"] if state.keys() == {"position"} else None
        if not isinstance(position, int) or position < 0:
            raise InputError(f'position in the data: {dict(state)}; allowed: {{"position": N}}')
        self._batches.set_state({"next_index": position})

    def close(self) -> None:
        """Stops reading ahead."""
        self._batches.close()


def collate(examples: Sequence[Any]) -> Any:
    """Stacks equal trees of dicts, leaf by leaf, along a new first axis."""
    if isinstance(examples[0], dict):
        return {key: collate([example[key] for example in examples]) for key in examples[0]}
    return np.stack(examples)


class _Read(NamedTuple):
    """An example or a batch, and how many bad records were passed over to get it."""

    example: Example
    skipped: int


def _collate_reads(reads: Sequence[_Read]) -> _Read:
    return _Read(collate([read.example for read in reads]), sum(read.skipped for read in reads))


def _read_first_good(source: Source, prepare: Prepare, records: Iterable[int], index: int) -> _Read:
    for skipped, record in enumerate(records):
        try:
            return _Read(_read(source, prepare, record, index), skipped)
        except InputError as bad:
            error = bad
    if skipped:
        raise InputError(f"{skipped + 1} bad records in a row, the last of them: {error}")
    raise error


def _read(source: Source, prepare: Prepare, record: int, index: int) -> Example:
    raw = source[record]  # its InputError names the record already
    try:
        return prepare(raw, index)
    except InputError as error:
        raise InputError(f"record {record}: {error}") from error
