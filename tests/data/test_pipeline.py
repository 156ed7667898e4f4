"""The input pipeline: examples, the stream's order, its position, and bad records."""

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mmgen_jax.data import BadRecord, Lazy, OneOf, Record, SourceInfo, choose, values_of
from mmgen_jax.data.pipeline import (
    drawn,
    fixed_batch,
    spread,
    training_batches,
)
from mmgen_jax.errors import Failure, InputError
from mmgen_jax.modalities import Modality
from mmgen_jax.modalities.examples import prepare_example


def _prepare_number(raw):
    if raw < 0:
        raise InputError(f"number: {raw}; allowed: 0 and more")
    return {"number": np.int32(raw), "pair": np.full(2, raw, np.float32)}


NUMBER = Modality(
    prepare=_prepare_number,
    absent={"number": np.int32(0), "pair": np.zeros(2, np.float32)},
    init=None,
    encode=None,
    recover=None,
    parse=int,
    show=str,
)
PREPARE = functools.partial(prepare_example, modalities={"number": NUMBER}, image_shape=(2, 2))


class Numbers:
    """Record i is a picture of brightness i; odd ones have a number; some are unreadable."""

    info = SourceInfo(modalities=("number",), splits=("train",))
    bad = ()

    def __init__(self, length, unreadable=(), negative=()):
        self.length, self.unreadable, self.negative = length, unreadable, negative

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.unreadable:
            raise BadRecord(self.where(index), "it is not there")
        value = -1 if index in self.negative else index
        values = {"number": value} if index % 2 else {}
        return Record(np.full((2, 2, 3), index, np.uint8), values)

    def where(self, index):
        return f"numbers.txt, line {index + 1}"


def _stream(length=11, batch_size=4, seed=7, source=None, **options):
    return training_batches(source or Numbers(length), PREPARE, batch_size, seed, **options)


def _records(batch):
    return np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def _skipped(batches):
    """Lines of the bad records that were passed over."""
    return sorted(int(where.rpartition(" ")[2]) for where in batches.skipped)


def _assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if isinstance(value, dict):
            _assert_equal(value, theirs[key])
        else:
            assert value.dtype == theirs[key].dtype
            np.testing.assert_array_equal(value, theirs[key])


def test_an_example_has_its_values_or_says_that_it_lacks_them():
    batch = fixed_batch(Numbers(256), PREPARE, [3, 255, 0])
    assert batch["index"].dtype == np.uint32
    assert batch["index"].tolist() == [3, 255, 0]
    assert batch["image"].dtype == np.float32
    assert batch["image"].shape == (3, 2, 2, 3)
    np.testing.assert_array_equal(batch["image"][1:, 0, 0, 0], [1, -1])
    assert batch["has"]["number"].tolist() == [True, True, False]
    assert batch["values"]["number"]["number"].tolist() == [3, 255, 0]
    assert batch["values"]["number"]["pair"].shape == (3, 2)


def test_a_picture_is_cropped_to_its_centre_and_averaged():
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:2, 1:3] = [[[0], [100]], [[100], [200]]]
    picture[:, [0, 5]] = 255  # outside the crop
    image = prepare_example(Record(picture, {}), 0, {}, (2, 2))["image"]
    np.testing.assert_allclose((image[..., 0] + 1) * 127.5, [[100, 0], [0, 0]], atol=1e-4)


def test_refuses_a_picture_without_three_channels():
    with pytest.raises(InputError, match=r"image: uint8 \[4, 4\]; allowed"):
        prepare_example(Record(np.zeros((4, 4), np.uint8), {}), 0, {}, (2, 2))


def test_every_epoch_holds_every_record_once_in_another_order():
    batches = _stream(length=12)
    epochs = [[r for _ in range(3) for r in _records(next(batches))] for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_comes_from_the_seed():
    first, same, other = (_records(next(_stream(length=200, seed=s))) for s in (1, 1, 2))
    assert first == same != other


def test_without_shuffling_the_order_is_the_sources():
    batches = _stream(length=5, shuffle=False)
    assert [_records(next(batches)) for _ in range(2)] == [[0, 1, 2, 3], [4, 0, 1, 2]]


def test_the_index_counts_on_across_epochs():
    batches = _stream(length=3)
    assert [next(batches)["index"].tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_index_wraps_at_32_bits():
    batches = _stream(length=3)
    batches.set_state({"position": 2**30})
    assert next(batches)["index"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shares", [([0, 1], [2, 3]), ([0], [1], [2], [3]), ([3, 0], [1, 2, 3])])
def test_rows_of_a_batch_are_the_rows_of_the_whole(shares):
    alone, parts = _stream(), [_stream(rows=rows) for rows in shares]
    for _ in range(7):
        whole = next(alone)
        for rows, part in zip(shares, parts, strict=True):
            _assert_equal(next(part), jax.tree.map(lambda x, rows=rows: x[rows], whole))


@pytest.mark.parametrize("threads", [0, 2])
def test_resumes_exactly_from_json(threads):
    batches = _stream(threads=threads)
    for _ in range(5):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    assert state == {"position": 5}
    expected = [next(batches) for _ in range(4)]
    for restored in (_stream(threads=threads), batches):
        restored.set_state(state)
        for batch in expected:
            _assert_equal(next(restored), batch)


def test_the_position_holds_for_other_rows():
    pair = [_stream(rows=rows) for rows in ([0, 1], [2, 3])]
    for _ in range(3):
        states = [next(share) and share.get_state() for share in pair]
    assert states == [{"position": 3}] * 2
    alone = _stream()
    alone.set_state(states[0])
    index = np.concatenate([next(share)["index"] for share in pair])
    assert index.tolist() == next(alone)["index"].tolist() == [12, 13, 14, 15]


@pytest.mark.parametrize("state", [{}, {"position": -1}, {"position": 1, "epoch": 0}])
def test_refuses_a_state_that_is_none(state):
    with pytest.raises(InputError, match="position in the data"):
        _stream().set_state(state)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bad_record_is_named_every_time_it_is_asked_for(threads):
    source = Numbers(8, unreadable={5})
    batches = _stream(source=source, shuffle=False, threads=threads)
    next(batches)
    for _ in range(2):
        with pytest.raises(InputError) as error:
            next(batches)
        assert str(error.value) == "numbers.txt, line 6: it is not there"
        assert batches.get_state() == {"position": 1}


@pytest.mark.parametrize(
    ("image_size", "workers"),
    [
        pytest.param(2, 2, marks=pytest.mark.slow, id="by pipe"),
        pytest.param(80, 1, id="in shared memory"),
        pytest.param(80, 2, marks=pytest.mark.slow, id="in shared memory, of two"),
    ],
)
def test_other_processes_prepare_the_same_batches(image_size, workers):
    prepare = functools.partial(PREPARE, image_shape=(image_size, image_size))
    alone, helped = (
        training_batches(Numbers(11), prepare, 4, 7, workers=count) for count in (0, workers)
    )
    expected = [next(alone) for _ in range(6)]
    try:
        for batch in expected[:4]:
            _assert_equal(next(helped), batch)
        assert helped.get_state() == {"position": 4}
        helped.set_state({"position": 1})
        for batch in expected[1:]:
            _assert_equal(next(helped), batch)
    finally:
        helped.close()
    assert not multiprocessing.active_children()


def test_bad_records_of_other_processes_are_named_and_noted():
    source = Numbers(12, unreadable={5, 9})
    batches = _stream(source=source, shuffle=False, workers=1)
    next(batches)
    for _ in range(2):
        with pytest.raises(BadRecord) as error:
            next(batches)
        assert str(error.value) == "numbers.txt, line 6: it is not there"
        assert batches.get_state() == {"position": 1}
    assert not multiprocessing.active_children()

    batches = _stream(source=source, shuffle=False, workers=1, on_bad_record="skip")
    for _ in range(2):
        next(batches)
    batches.close()
    assert _skipped(batches) == [6]


def test_the_death_of_another_process_is_one_line():
    batches = _stream(workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(Failure, match=r"a process of config\.data\.workers died"):
        for _ in range(100):  # those that were ready may come first
            next(batches)
    assert not multiprocessing.active_children()


# Ctrl-C and SIGTERM reach every process of a group; batches are wanted until the run has saved.
_FEEDS_ON = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
import test_pipeline
batches = test_pipeline._stream(workers=2)
caught = []
for interrupt in (signal.SIGINT, signal.SIGTERM):
    signal.signal(interrupt, lambda number, _: caught.append(number))
# Some come while processes begin, some while they work.
interrupting = threading.Timer(0.5, os.killpg, (0, signal.SIGINT))
interrupting.start()
next(batches)
interrupting.join()
os.killpg(0, signal.SIGTERM)
for _ in range(9):
    next(batches)
print("fed", *caught, flush=True)
signal.pause()
"""


def test_other_processes_live_as_long_as_the_run():
    command = [sys.executable, "-c", _FEEDS_ON, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout.readline() == b"fed 2 15\n"
        run.kill()
        run.communicate(timeout=60)  # ends when the last process has closed its output


def test_a_bad_value_is_named():
    source = Numbers(8, negative={3})
    with pytest.raises(InputError) as error:
        next(_stream(source=source, shuffle=False))
    assert str(error.value) == "numbers.txt, line 4: number: -1; allowed: 0 and more"


def test_skipping_takes_the_next_good_record_and_counts():
    source = Numbers(8, unreadable={1, 2}, negative={5})
    batches = _stream(source=source, shuffle=False, on_bad_record="skip")
    first = next(batches)
    assert _records(first) == [0, 3, 3, 3]
    assert first["index"].tolist() == [0, 1, 2, 3]
    assert _skipped(batches) == [2, 3]
    assert _records(next(batches)) == [4, 6, 6, 7]
    assert _skipped(batches) == [2, 3, 6]
    assert batches.skipped["numbers.txt, line 6"].reason == "number: -1; allowed: 0 and more"


def test_skipping_does_not_depend_on_the_rows():
    source = Numbers(8, unreadable={1, 2}, negative={5})
    alone, *pair = (
        _stream(source=source, rows=rows, on_bad_record="skip") for rows in (None, [0, 2], [1, 3])
    )
    for _ in range(4):
        expected = _records(next(alone))
        assert [_records(next(share)) for share in pair] == [expected[::2], expected[1::2]]
    assert _skipped(alone) == sorted({*_skipped(pair[0]), *_skipped(pair[1])}) == [2, 3, 6]


def test_what_the_source_has_left_out_counts_as_skipped():
    source = Numbers(8)
    source.bad = (BadRecord("numbers.txt, line 9", "it is torn"),)
    assert _skipped(_stream(source=source)) == [9]


def test_skipping_ends_where_no_record_is_good():
    batches = _stream(source=Numbers(3, unreadable={0, 1, 2}), shuffle=False, on_bad_record="skip")
    with pytest.raises(InputError, match="100 bad records in a row, the last of them: numbers"):
        next(batches)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "the data set is empty"),
        ({"rows": []}, "rows .. of a batch of 4: allowed is at least one"),
        ({"on_bad_record": "ignore"}, "on_bad_record is 'ignore'; allowed: raise, skip"),
    ],
)
def test_refuses_what_cannot_work(options, message):
    with pytest.raises(InputError, match=message):
        _stream(**options)


def test_importing_it_does_not_import_jax():
    code = "import sys, mmgen_jax.data.pipeline; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Striped(Numbers):
    """Classes that alternate, or in which every eighth record is of another one."""

    info = SourceInfo(("label",), ("train",), {"label": ("a", "b")})

    def __init__(self, length, rare=2):
        super().__init__(length)
        self.rare = rare

    def __getitem__(self, index):
        label = "b" if index % self.rare == 0 else "a"
        return Record(np.zeros((2, 2, 3), np.uint8), {"label": label})


@pytest.mark.parametrize("count", [4, 16, 20, 50])
@pytest.mark.parametrize("length", [40, 64, 1000, 4096])
def test_a_choice_of_records_does_not_follow_the_order_of_the_data(length, count):
    """Classes that alternate with any period have their share, whatever is chosen."""
    for period in (2, 4, 5, 8):
        source = Striped(length, period)
        labels = [source[i].values["label"] for i in spread(source, count)]
        assert len(labels) == min(count, length)
        assert abs(labels.count("b") - len(labels) / period) <= max(1, 0.1 * len(labels))


def test_a_choice_is_stratified_by_a_few_reads():
    read = []

    class Watched(Striped):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    source = Watched(100_000, 8)
    chosen, looked_up = spread(source, 16), list(read)
    assert [source[i].values["label"] for i in chosen].count("b") == 2
    assert len(looked_up) <= 8 * 16


def test_a_choice_is_the_same_everywhere_and_the_beginning_of_a_larger_one():
    assert choose(4, 1_000) == [410, 821, 366, 503]
    assert choose(9, 1_000)[:4] == choose(4, 1_000)
    assert len(set(choose(999, 1_000))) == 999
    assert choose(7, 7) == choose(9, 7) == list(range(7))
    assert choose(0, 5) == []
    # More numbers than are hashed at once.
    many = choose(50, 3_000_000)
    assert many == choose(60, 3_000_000)[:50] and max(many) > 2 * 2**20


def test_values_are_taken_from_records_of_every_kind():
    source = Striped(1_000, 2)
    values = list(values_of(source, "label", 100))
    assert len(values) == 100 and 35 < values.count("a") < 65


def test_one_value_is_drawn_and_nothing_else_is_decoded():
    def fail():
        raise AssertionError("decoded")

    record = Record(fail, Lazy({"text": lambda: OneOf(("a", "b")), "audio": fail}))
    assert drawn(record, 3).values["text"] in ("a", "b")
