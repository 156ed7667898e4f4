"""What tells a data set from another in a second."""

import json

import numpy as np
import pytest

from mmgen_jax.data import BadRecord, OneOf, Record, SourceInfo, choose
from mmgen_jax.training import fingerprint

NAMES = ("text", "label", "audio")


class Scenes:
    """Records with all parts; `changes` are applied to the record of a number."""

    bad = ()

    def __init__(self, length=200, classes=("a", "b"), changes=None):
        self.info = SourceInfo(NAMES, ("train",), {"label": classes})
        self._length, self._changes = length, changes or {}

    def __len__(self):
        return self._length

    def where(self, index):
        return f"scenes.zip, record {index}"

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        sound = 0.1 * random.standard_normal(1000).astype(np.float32)
        values = {"text": OneOf((f"one {index}", f"uno {index}")), "label": "ab"[index % 2]}
        parts = {"image": image, "audio": sound} | values
        if index in self._changes:
            parts = self._changes[index](parts)
        return Record(parts.pop("image"), parts)


def compared(ours, theirs, modalities=NAMES):
    """What differs, through JSON, as a checkpoint holds it."""
    before = json.loads(json.dumps(fingerprint.take(ours, modalities)))
    now = fingerprint.retaken(theirs, modalities, before)
    return fingerprint.differences(before, now, theirs)


FIRST = sorted(choose(fingerprint.RECORDS, 200))[0]


def other(name, value):
    return Scenes(changes={FIRST: lambda parts: parts | {name: value(parts[name])}})


def quieter(sound):
    return sound * np.float32(0.9)


def with_other_last_digits(sound):
    return sound * np.float32(1 + 1e-6)


def test_equal_data_does_not_differ():
    assert compared(Scenes(), Scenes()) == []
    assert compared(Scenes(5), Scenes(5)) == []
    assert compared(Scenes(), other("audio", with_other_last_digits)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", lambda text: OneOf((*text, "un"))),
        ("label", lambda label: label + " "),
        ("image", lambda image: image ^ np.uint8(1)),
        ("audio", quieter),
        ("audio", lambda sound: sound[:-1]),
        ("audio", lambda sound: -sound),
    ],
)
def test_a_part_of_a_record_that_differs_is_named(name, value):
    (said,) = compared(Scenes(), other(name, value))
    assert said.startswith("1 of 3") and f"scenes.zip, record {FIRST} ({name})" in said


def test_what_is_not_trained_on_is_not_compared():
    assert compared(Scenes(), other("audio", quieter), ("text",)) == []


def test_lengths_and_names_that_differ():
    assert compared(Scenes(200), Scenes(201)) == ["201 records instead of 200"]
    (said,) = compared(Scenes(), Scenes(classes=("a", "b", "c")))
    assert said == "class names: 1 new ('c')"
    (said,) = compared(Scenes(), Scenes(classes=("b", "a")))
    assert said == "class names: in another order"
    (said,) = compared(Scenes(classes=("a", "b", "c", "d", "e")), Scenes(classes=("a",)))
    assert said == "class names: 4 gone ('b', 'c', 'd', ...)"


def test_data_that_has_shrunk_below_what_was_chosen():
    (said,) = compared(Scenes(40), Scenes(3))
    assert said == "3 records instead of 40"


def test_a_record_that_has_become_bad():
    def torn(parts):
        raise BadRecord("scenes.zip", "torn")

    (said,) = compared(Scenes(), Scenes(changes={FIRST: torn}))
    assert "it cannot be read" in said
