"""What a data set holds, in numbers."""

import numpy as np
import pytest

from mmgen_jax import config as configs
from mmgen_jax.data import BadRecord, OneOf, Record, SourceInfo
from mmgen_jax.data.pipeline import training_batches
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Extent, Modality, statistics

MOST = configs.Key(1, "of all", configs.at_least(1))


class Zoo:
    """Every second record has a label, every third two captions, every fifth cannot be read."""

    info = SourceInfo(("text", "label", "audio"), ("train",), {"label": ("ape", "bee")})
    bad = ()

    def __len__(self):
        return 30

    def where(self, index):
        return f"record {index}"

    def __getitem__(self, index):
        if index % 5 == 4:
            raise BadRecord(self.where(index), "it is torn")
        values = {"audio": np.zeros(16_000 * (1 + index % 2), np.float32)}
        if index % 2 == 0:
            values["label"] = "ape" if index % 4 == 0 else "bee"
        if index % 3 == 0:
            values["text"] = OneOf(("an ape", "an ape and a bee"))
        return Record(np.zeros((2, 2, 3), np.uint8), values)


def modality(cut, show=lambda value: value["raw"], extent=lambda raw: None):
    """One that is fed `cut(raw)`."""
    return Modality(lambda raw: {"raw": cut(raw)}, {}, None, None, None, str, show, extent=extent)


def words(raw):
    return Extent(len(raw.split()), 3, "words", "", "modalities.text.max_words", MOST)


NAMES = {
    "text": modality(str),
    "label": modality(str),
    "audio": modality(np.asarray),
}


def nothing(record, index):
    """What training does to a record, here."""


def test_all_is_counted():
    found = statistics.inspect(Zoo(), NAMES, nothing, 1000)
    assert (found.records, found.bad) == (30, 6)
    text, label, audio = found.modalities.values()
    assert (text.present, text.values, text.unit) == (8, 16, "words")
    assert sorted(text.sizes) == [2] * 8 + [5] * 8
    assert (label.present, label.unit) == (12, "class")
    assert (label.sizes.count("ape"), label.sizes.count("bee")) == (6, 6)
    assert (audio.present, audio.unit) == (24, "seconds")
    assert sorted(set(audio.sizes)) == [1.0, 2.0]
    assert statistics.describe(found) == [
        "text: 8 of 24 records, 66.7% missing, 2.0 values a record, 2 to 5 words, median 3.5",
        "label: 12 of 24 records, 50.0% missing, 2 classes, most often ape (6), least bee (6)",
        "audio: 24 of 24 records, 0.0% missing, 1 to 2 seconds, median 1.5",
        "6 of 30 records cannot be read",
    ]


def test_fewer_records_are_spread_over_the_source():
    found = statistics.inspect(Zoo(), NAMES, nothing, 10)
    assert found.records == 10
    assert found.modalities["audio"].present == 10 - found.bad
    # Every second record has a label, whatever a stride of three would meet.
    assert set(found.modalities["label"].sizes) == {"ape", "bee"}


def test_what_is_fed_is_counted_and_what_is_cut_is_said():
    """Captions of 2 and 5 words, 3 of them fed; sounds of 1 and 2 s, half a second of them."""
    fed = {
        "text": modality(lambda raw: " ".join(raw.split()[:3]), extent=words),
        "audio": modality(
            lambda raw: raw[:8_000],
            extent=lambda raw: Extent(
                len(raw) / 16_000, 0.5, "seconds", "", "a.b", MOST, blank=True
            ),
        ),
    }
    found = statistics.inspect(Zoo(), fed, nothing, 1000)
    assert sorted(found.modalities["text"].sizes) == [2] * 8 + [3] * 8
    assert statistics.describe(found)[:2] == [
        "text: 8 of 24 records, 66.7% missing, 2.0 values a record, 2 to 3 words, median 2.5;"
        " 8 of 16 (50.0%) are cut to 3 words; --config.modalities.text.max_words=5 would hold all",
        "audio: 24 of 24 records, 0.0% missing, 0.5 to 0.5 seconds, median 0.5; 24 of 24 (100.0%)"
        " are cut to 0.5 seconds, 24 of them to what is blank; --config.a.b=2 would hold all",
    ]


def test_as_training_begins_it_is_said_what_is_cut_and_what_was_chosen():
    config = configs.default()
    fed = {"text": modality(str, extent=words), "label": modality(str)}
    (line,) = statistics.extents(config, fed, Zoo())
    assert line == (
        "text: 8 of 16 (50.0%) are cut to 3 words; --config.modalities.text.max_words=5 would hold"
        " all"
    )
    held = {"text": modality(str, extent=lambda raw: words(raw)._replace(room=8))}
    chosen = "text: 8 words, chosen for this data, hold all of 16 values"
    assert statistics.extents(config, held, Zoo()) == [chosen]
    config.modalities.text.max_tokens = 12
    assert statistics.extents(config, held, Zoo()) == []


def test_a_record_in_place_of_a_bad_one_is_shown_twice_and_counted_once():
    """Every fifth of the 30 records is bad: 24 are shown, though there are 30 pictures."""
    shown = statistics.Shown(Zoo(), lambda record, index: {"length": len(record.values["audio"])})
    batches = training_batches(shown, shown.prepare, 30, 0, threads=0, on_bad_record="skip")
    next(batches)
    assert shown.records(30) == 24
    assert shown.records(1) == 1


@pytest.mark.parametrize(
    ("key", "longest", "advice"),
    [
        ("text.max_tokens", 1234, "--config.modalities.text.max_tokens=1234 would hold all"),
        (
            "text.max_tokens",
            5_000_000,
            "no allowed value of --config.modalities.text.max_tokens would hold all: the longest"
            " needs 5000000; allowed: at least 0, at most 4096",
        ),
        ("audio.seconds", 123.4561, "--config.modalities.audio.seconds=123.5 would hold all"),
        ("audio.seconds", 600, "--config.modalities.audio.seconds=600 would hold all"),
        (
            "audio.seconds",
            1_000_000.5,
            "no allowed value of --config.modalities.audio.seconds would hold all: the longest"
            " needs 1000000.5; allowed: 0, or at least 0.1, at most 600",
        ),
    ],
)
def test_only_a_value_that_may_be_typed_is_advised(key, longest, advice):
    extent = Extent(
        longest, 3, "words", "", f"modalities.{key}", configs.all_keys()[f"modalities.{key}"]
    )
    found = statistics.inspect(Zoo(), {"text": modality(str, extent=lambda _: extent)}, nothing, 9)
    assert statistics.describe(found)[0].endswith(f"are cut to 3 words; {advice}")


def test_a_modality_that_nobody_has():
    class Mute(Zoo):
        def __getitem__(self, index):
            return Record(np.zeros((2, 2, 3), np.uint8), {})

    found = statistics.inspect(Mute(), {"text": modality(str)}, nothing, 5)
    assert statistics.describe(found) == ["text: 0 of 5 records, 100.0% missing"]
    assert statistics.charts(found) == []


def test_what_training_could_not_use_is_bad():
    def prepare(record, index):
        if index == 6:
            raise InputError("its picture is torn")

    assert statistics.inspect(Zoo(), NAMES, prepare, 1000).bad == 7


def test_captions_that_are_names_of_classes_too_are_counted_by_words():
    class Short(Zoo):
        def __getitem__(self, index):
            text = "ape" if index % 2 else "a bee"
            return Record(np.zeros((2, 2, 3), np.uint8), {"text": text})

    found = statistics.inspect(Short(), {"text": modality(str)}, nothing, 1000)
    assert found.modalities["text"] == statistics.Counts(30, 30, "words", [2, 1] * 15, [])
    assert len(statistics.charts(found)) == 1


def test_bars_of_sizes_that_are_alike_stand_apart():
    counts = statistics.Counts(4, 4, "pixels", [1000, 1001, 1002, 2000], [])
    assert list(statistics._histogram(counts)) == ["1000", "1001", "1002", "2000"]
    many = statistics.Counts(40, 40, "pixels", list(range(1000, 1040)), [])
    assert sum(statistics._histogram(many).values()) == 40


def test_charts_are_as_long_as_the_counts():
    charts = dict(statistics.charts(statistics.inspect(Zoo(), NAMES, nothing, 1000)))
    assert list(charts) == [
        "text: records by words",
        "label: records by class",
        "audio: records by seconds",
    ]
    picture = charts["label: records by class"]  # two bars of one length
    blue = (picture[..., 2] > 200) & (picture[..., 0] < 100)
    lengths = sorted(set(blue.sum(axis=1)) - {0})
    assert len(lengths) == 1 and lengths[0] > 100
