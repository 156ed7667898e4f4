"""From a data source to the batches that a model is fed: shuffled, prepared, split by rows.

Importing this module does not import jax: grain, which does, is loaded with the first stream.
"""

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, TypedDict

import numpy as np
from absl import flags

from mmgen_jax.data import BadRecord, Lazy, OneOf, Record, Source, choose
from mmgen_jax.errors import Failure, InputError

# With on_bad_record="skip": so many bad records in a row are no accident but a broken data set.
MOST_BAD_IN_A_ROW = 100
# A choice of n records is stratified among so many times n, where these are not too many to read.
STRATIFIED, MOST_LOOKED_UP = 8, 2_048
_SHARED = 2**16  # bytes of an array from which on processes hand it over in shared memory
_DEATH = "process was terminated unexpectedly"  # as grain says it, in a RuntimeError
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_ATTEMPTS = {"raise": 1, "skip": MOST_BAD_IN_A_ROW}


class Example(TypedDict):
    """One record, ready for a model. A batch is the same with a leading axis on every array.

    Attributes:
      index: uint32 scalar, from which all of the example's randomness comes: its position in the
        endless stream of training examples (modulo 2^32), so that it differs between epochs.
      image: float32 [height, width, 3] in [-1, 1]; or the record's latents, if it has some.
      values: for each modality the arrays of its `prepare`, or of its `absent`.
      has: for each modality a bool scalar, whether the record has it.
    """

    index: Any
    image: Any
    values: dict[str, dict[str, Any]]
    has: dict[str, Any]


def drawn(record: Record, index: int) -> Record:
    """The record with one raw value for each modality that has several (`OneOf`).

    The choice follows from the example's index and the modality's name alone. Parts are decoded
    when they are asked for.
    """

    def one(name: str) -> Any:
        return drawn_value(record.values[name], index, name)

    return Record(lambda: record.image, Lazy({name: partial(one, name) for name in record.values}))


def drawn_value(value: Any, index: int, name: str) -> Any:
    """One raw value of a modality, of several; see `drawn`."""
    if not isinstance(value, OneOf):
        return value
    # The finaliser of SplitMix64 (Steele et al. 2014): neighbouring indices, unrelated choices.
    bits = (index + 1) * 0x9E3779B97F4A7C15 + zlib.crc32(name.encode())
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % 2**64
    return value[(bits ^ (bits >> 31)) % len(value)]


Prepare = Callable[[Record, int], Example]  # `Model.prepare`


def fixed_batch(
    source: Source, prepare: Prepare, indices: Sequence[int], on_bad_record: str = "raise"
) -> Example:
    """The batch of these records, in this order; each example's `index` is its record's number.

    Args:
      source: read from.
      prepare: (record, index) -> Example, see `Model.prepare`.
      indices: numbers of records.
      on_bad_record: "raise", or "skip": the next good record takes its place.

    Raises:
      InputError: if one of the records is bad, and is not skipped, naming it.
    """
    attempts = min(_ATTEMPTS[on_bad_record], len(source))
    reads = [
        _read_first_good(
            source, prepare, ((i + ahead) % len(source) for ahead in range(attempts)), i
        )
        for i in indices
    ]
    return _collate_reads(reads).example


def spread(source: Source, count: int) -> list[int]:
    """Chooses the numbers of at most `count` records by hash; see `data.choose`.

    A small choice from a source with classes is stratified: of some more records, that are chosen
    so and whose class is looked up, every class gives its share.
    """
    total = len(source)
    looked_up = min(STRATIFIED * count, total)
    if count >= total or looked_up > MOST_LOOKED_UP or not source.info.label_names:
        return choose(count, total)
    members: dict[Any, list[int]] = {}
    for index in choose(looked_up, total):
        members.setdefault(_class(source, index), []).append(index)
    # The k-th of n records stands in the middle of the k-th of n equal parts of [0, 1]: up to
    # wherever the choice ends, it holds the same part of every class.
    places = [
        ((k + 0.5) / len(indices), order, index)
        for order, indices in enumerate(members.values())
        for k, index in enumerate(indices)
    ]
    return [index for _, _, index in sorted(places)[:count]]


def _class(source: Source, index: int) -> Any:
    try:
        return source[index].values.get("label")
    except BadRecord:
        return None


def training_batches(
    source: Source,
    prepare: Prepare,
    batch_size: int,
    seed: int,
    *,
    shuffle: bool = True,
    rows: Sequence[int] | None = None,
    threads: int = 2,
    workers: int = 0,
    on_bad_record: str = "raise",
) -> "TrainingBatches":
    """These rows of an endless stream of batches; every epoch is in another order.

    Row r of the k-th global batch is position k * batch_size + r of the stream, whatever the number
    of processes and whichever of them reads it.

    Args:
      source: read from several threads at once; pickled for other processes.
      prepare: (record, index) -> Example, see `Model.prepare`; pickled likewise.
      batch_size: examples in a global batch, that is over all processes.
      seed: of the order; in [0, 2^32).
      shuffle: False for the order of the source.
      rows: which rows of every global batch this process is fed; None for all.
      threads: how many batches a process prepares at once, ahead of their use; 0 prepares each one
        when it is asked for.
      workers: how many other processes prepare batches; 0 leaves it to this one, whose threads
        share one interpreter lock. The batches are the same.
      on_bad_record: "raise", or "skip": the next good record in the stream takes its place, under
        the same `index`, and it is noted.

    Raises:
      InputError: if the source is empty, an argument cannot work, or, while iterating, a record
        is bad (and is not skipped, or too many in a row are), naming it.
      Failure: while iterating, if one of the other processes has died.
    """
    import grain

    mine = range(batch_size) if rows is None else rows
    if not mine:
        raise InputError(f"rows {rows} of a batch of {batch_size}: allowed is at least one")
    if on_bad_record not in _ATTEMPTS:
        raise InputError(f"data.on_bad_record is {on_bad_record!r}; allowed: raise, skip")
    if not len(source):
        raise InputError("the data set is empty: training needs at least one record")

    records = grain.MapDataset.range(len(source)).seed(seed)
    stream = (records.shuffle() if shuffle else records).repeat()
    reader = _Reader(source, prepare, stream, batch_size, mine, _ATTEMPTS[on_bad_record])
    numbers = grain.MapDataset.range(1).repeat().map_with_index(reader)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)

    def begin(position: int) -> Any:
        batches = numbers.slice(slice(position, None)).to_iter_dataset(options)
        return iter(_prepared_elsewhere(batches, workers) if workers else batches)

    return TrainingBatches(begin, source.bad, _interrupts_held if workers else nullcontext)


def _prepared_elsewhere(batches: Any, workers: int) -> Any:
    import grain

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # not in a launcher; grain asks for flags of its own
    share = grain.experimental.DatasetOptions(min_shm_size=_SHARED)
    batches = grain.experimental.WithOptionsIterDataset(batches, share)
    processes = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
    return batches.mp_prefetch(processes, worker_init_fn=_begin_worker)


def _begin_worker(*_: int) -> None:
    """Makes a process of `training_batches` live exactly as long as the run wants it."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # the accelerators are the run's
    for interrupt in _INTERRUPTS:
        signal.signal(interrupt, signal.SIG_IGN)  # the run still wants batches until it has saved
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    if (run := multiprocessing.parent_process()) is not None:
        run.join()
        os._exit(1)  # it was killed: nobody is left to stop this process


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds interrupts back: a process that begins meanwhile must not be ended by one.

    It inherits that until it takes care of itself, in `_begin_worker`.
    """
    resource_tracker.ensure_running()  # else it might begin meanwhile, and would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class TrainingBatches(Iterator[Example]):
    """Batches, with a position that can be saved and restored.

    Attributes:
      skipped: the bad records that the source has left out, and those that were passed over in the
        batches handed out by this object; each one once, by `BadRecord.where`.
    """

    def __init__(
        self,
        begin: Callable[[int], Any],
        bad: Iterable[BadRecord],
        beginning: Callable[[], AbstractContextManager[Any]],
    ):
        """`begin(position)` iterates over the batches after so many, and has a `close`.

        The first of them is waited for within the context `beginning()`.
        """
        self._begin, self._beginning = begin, beginning
        self._batches, self._position = None, 0
        self.skipped = {record.where: record for record in bad}

    def __next__(self) -> Example:
        try:
            if self._batches is None:
                with self._beginning():
                    self._batches = self._begin(self._position)
                    read = next(self._batches)
            else:
                read = next(self._batches)
        except Exception as error:
            self.close()  # grain has dropped the batch: asking again must fail again
            if isinstance(error, RuntimeError) and _DEATH in str(error):
                raise Failure("a process of config.data.workers died; out of memory?") from error
            raise
        self._position += 1
        self.skipped |= {bad.where: bad for bad in read.skipped}
        return read.example

    def get_state(self) -> dict[str, int]:
        """{"position": global batches handed out}: the same on every process, JSON-able.

        It holds for any rows, but only for the same source, seed and batch size.
        """
        return {"position": self._position}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues with the batch after the first `state["position"]` ones, without reading them.

        Raises:
          InputError: if the state is not one that `get_state` returns.
        """
        position = state["position"] if state.keys() == {"position"} else None
        if not isinstance(position, int) or position < 0:
            raise InputError(f'position in the data: {dict(state)}; allowed: {{"position": N}}')
        self.close()
        self._position = position

    def close(self) -> None:
        """Stops reading ahead, until another batch is asked for."""
        batches, self._batches = self._batches, None
        if batches is not None:
            batches.close()


def collate(examples: Sequence[Any]) -> Any:
    """Stacks equal trees of dicts, leaf by leaf, along a new first axis."""
    if isinstance(examples[0], dict):
        return {key: collate([example[key] for example in examples]) for key in examples[0]}
    return np.stack(examples)


class _Read(NamedTuple):
    """An example or a batch, and the bad records that were passed over to get it."""

    example: Example
    skipped: tuple[BadRecord, ...]


class _Reader(NamedTuple):
    """Reads batches by number; a class, so that another process can be given it.

    Attributes:
      stream: position in the endless stream -> number of the record.
      rows: of every batch, that are read.
      attempts: records that are tried, one after another, until one is good.
    """

    source: Source
    prepare: Prepare
    stream: Any
    batch_size: int
    rows: Sequence[int]
    attempts: int

    def __call__(self, number: int, _: int) -> _Read:
        return _collate_reads([self._read(number * self.batch_size + row) for row in self.rows])

    def _read(self, position: int) -> _Read:
        candidates = (self.stream[position + ahead] for ahead in range(self.attempts))
        return _read_first_good(self.source, self.prepare, candidates, position)


def _collate_reads(reads: Sequence[_Read]) -> _Read:
    skipped = tuple(bad for read in reads for bad in read.skipped)
    return _Read(collate([read.example for read in reads]), skipped)


def _read_first_good(source: Source, prepare: Prepare, records: Iterable[int], index: int) -> _Read:
    skipped: list[BadRecord] = []
    for record in records:
        try:
            return _Read(_read(source, prepare, record, index), tuple(skipped))
        except BadRecord as bad:
            skipped.append(bad)
    if len(skipped) > 1:
        raise InputError(f"{len(skipped)} bad records in a row, the last of them: {skipped[-1]}")
    raise skipped[0]


def _read(source: Source, prepare: Prepare, record: int, index: int) -> Example:
    raw = source[record]
    try:
        return prepare(raw, index)
    except BadRecord:
        raise
    except InputError as error:
        raise BadRecord(source.where(record), str(error)) from error
