"""The judge of data sets in which every record is a thing of its own."""

from dataclasses import replace

import numpy as np
import pytest

from mmgen_jax.data import SOURCES, Record, SourceInfo, SourceSpec
from mmgen_jax.evaluation.judges.retrieval import retrieval_judge
from tests import prepared

NOISE = np.random.default_rng(0)
KINDS = ("fruit", "tool", "beast")


class Things:
    """Pictures of three kinds, which are alike within a kind but for one that looks like others."""

    bad = ()
    info = SourceInfo(("text", "label"), ("train", "test"), {"label": KINDS})

    def __init__(self, split):
        count = {"train": 12, "test": 6}[split]
        self._records = []
        for number in range(count):
            image = np.full((8, 8, 3), 80 * (number % 3) + 4 * (number // 3), np.uint8)
            image[0, 0] = 10 * (split == "test")
            values = {"text": f"{split} {number}", "label": KINDS[number % 3]}
            self._records.append(Record(image, values))
        if split == "test":
            self._records[0].values["label"] = "tool"

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]

    def where(self, index):
        return f"{index}"


@pytest.fixture
def judge(monkeypatch):
    spec = SourceSpec(lambda options: Things.info, lambda options, split: Things(split))
    monkeypatch.setitem(SOURCES._targets, "things", spec)
    return retrieval_judge(replace(prepared.options("shapes", image_size=8), name="things"))


def test_own_pictures_satisfy_everything(judge):
    records = [Things("test")[i] for i in range(6)]
    images = np.stack([record.image for record in records])
    found = judge.satisfied(images, records, ("text", "label"))
    assert found["text"].all() and found["label"].all()
    assert judge.accuracy == pytest.approx(16 / 18)  # of the odd one, and its twin


def test_another_picture_of_the_kind_satisfies_the_label_alone(judge):
    records = [Things("test")[i] for i in (1, 2)]
    images = np.stack([Things("train")[i].image for i in (4, 5)])
    found = judge.satisfied(images, records, ("text", "label"))
    assert found["label"].all() and not found["text"].any()


def test_chance_is_what_a_random_training_picture_has(judge):
    # No test picture is in the training split; each of that split's is one of twelve.
    assert judge.chance(("text",), "test") == judge.chance(("text", "label"), "test") == 0
    assert judge.chance(("text",), "train") == 1 / 12
    # Of the test records one is a fruit, three are tools and two beasts.
    assert judge.chance(("label",), "test") == pytest.approx(1 / 3)
