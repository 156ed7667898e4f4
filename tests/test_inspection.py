"""What a data set holds, in numbers."""

import numpy as np

from mmgen_jax import inspection
from mmgen_jax.data import BadRecord, OneOf, Record, SourceInfo


class Zoo:
    """Every second record has a label, every third two captions, every fifth cannot be read."""

    info = SourceInfo(("text", "label", "audio"), ("train",), ("ape", "bee"))
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


NAMES = ("text", "label", "audio")


def test_all_is_counted():
    found = inspection.inspect(Zoo(), NAMES, 1000)
    assert (found.records, found.bad) == (30, 6)
    text, label, audio = found.modalities.values()
    assert (text.present, text.values, text.unit) == (8, 16, "words")
    assert sorted(text.sizes) == [2] * 8 + [5] * 8
    assert (label.present, label.unit) == (12, "class")
    assert (label.sizes.count("ape"), label.sizes.count("bee")) == (6, 6)
    assert (audio.present, audio.unit) == (24, "seconds")
    assert sorted(set(audio.sizes)) == [1.0, 2.0]
    assert inspection.describe(found) == [
        "text: 8 of 24 records, 66.7% missing, 2.0 values a record, 2 to 5 words, median 3.5",
        "label: 12 of 24 records, 50.0% missing, 2 classes, most often ape (6), least bee (6)",
        "audio: 24 of 24 records, 0.0% missing, 1 to 2 seconds, median 1.5",
        "6 of 30 records cannot be read",
    ]


def test_fewer_records_are_spread_over_the_source():
    found = inspection.inspect(Zoo(), NAMES, 10)
    assert found.records == 10
    assert found.modalities["text"].present == 8  # 0, 3, ..., 27 but for 9 and 24


def test_a_modality_that_nobody_has():
    class Mute(Zoo):
        def __getitem__(self, index):
            return Record(np.zeros((2, 2, 3), np.uint8), {})

    found = inspection.inspect(Mute(), ("text",), 5)
    assert inspection.describe(found) == ["text: 0 of 5 records, 100.0% missing"]
    assert inspection.charts(found) == []


def test_charts_are_as_long_as_the_counts():
    charts = dict(inspection.charts(inspection.inspect(Zoo(), NAMES, 1000)))
    assert list(charts) == [
        "text: records by words",
        "label: records by class",
        "audio: records by seconds",
    ]
    picture = charts["label: records by class"]  # two bars of one length
    blue = (picture[..., 2] > 200) & (picture[..., 0] < 100)
    lengths = sorted(set(blue.sum(axis=1)) - {0})
    assert len(lengths) == 1 and lengths[0] > 100
