"""Joint satisfaction of a run, with drawing replaced by what is known to be right or wrong."""

import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation import run_sampler
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.satisfaction import joint, satisfaction
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing, subsets
from mmgen_jax.evaluation.statistics.rates import wilson
from mmgen_jax.training.run import Trained
from tests.tiny import tiny_config, tiny_model

NAMES = ("text", "label", "audio")


@pytest.fixture(scope="module")
def trained():
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


def perfect(self, part):
    """Draws the records' own pictures."""
    return np.stack([record.image for record in part.records])


def test_subsets_are_all_but_the_empty_one():
    assert subsets(("a", "b")) == [("a", "b"), ("a",), ("b",)]
    assert len(subsets(("a", "b", "c", "d"))) == 15


def test_true_pictures_satisfy_every_subset(trained, monkeypatch):
    monkeypatch.setattr(Drawing, "__call__", perfect)
    found = satisfaction(Asked(trained, 20, 0))
    seen = {title: row for title, row in found.numbers.items() if ":" not in title}
    assert list(seen) == ["+".join(s) for s in subsets(NAMES)]
    assert all(row["rate"] == 1 and row["count"] == 20 for row in seen.values())
    assert seen["text+label+audio"]["chance"] == pytest.approx(1 / 384)
    assert found.numbers["heldout:text+label"]["rate"] == 1
    assert found.numbers["text+label+audio"]["binding_errors"] == 0
    assert len(found.sections) == len(found.numbers) == 14
    assert "text+label+audio" in table(METRICS["satisfaction"], found.numbers, "right")


def test_parts_add_up_and_failures_come_first(trained, monkeypatch):
    """Every fifth picture is grey, every seventh another one's: the grey ones fail all inputs."""
    monkeypatch.setattr(run_sampler, "BATCH", 8)

    def some(self, part):
        images = perfect(self, part)
        for row in range(len(images)):
            if (part.first + row) % 5 == 0:
                images[row] = 128
        return images

    monkeypatch.setattr(Drawing, "__call__", some)
    shown = []

    def keep(self, images, part, beside, rows, notes):
        shown.append((images, notes))
        return np.zeros((2, 3, 3), np.uint8)

    monkeypatch.setattr(Drawing, "grid", keep)
    asked = Asked(trained, 30, 0, given=(("text", "label"),))
    found = satisfaction(asked)
    assert list(found.numbers) == ["text+label", "heldout:text+label"]
    assert found.numbers["text+label"]["rate"] == 24 / 30
    wrong = "wrong: text, label"
    (worst, notes), (first, others) = shown[:2]
    assert notes == [wrong] * 6 and (worst == 128).all()
    assert others == [wrong if row % 5 == 0 else "" for row in range(8)]
    assert (first == 128).all((1, 2, 3)).tolist() == [bool(note) for note in others]


def test_only_what_the_run_has_can_be_given(trained):
    with pytest.raises(InputError, match="^--given: the run has no modality 'depth'; allowed: te"):
        satisfaction(Asked(trained, 4, 0, given=(("text", "depth"),)))


def test_only_the_subset_is_given(trained, monkeypatch):
    given = []

    def spy(self, part):
        given.append({name for name, there in part.has.items() if there.any()})
        return np.zeros((len(part.records), 16, 16, 3), np.uint8)

    monkeypatch.setattr(Drawing, "__call__", spy)
    satisfaction(Asked(trained, 2, 0))
    assert given == 2 * [set(subset) for subset in subsets(NAMES)]


def test_a_data_set_without_a_judge_is_refused(trained):
    config = tiny_config(NAMES)
    config.data.name = "folder"
    allowed = "nobody judges pictures of data set 'folder'; allowed: shapes, digits, emoji"
    with pytest.raises(InputError, match=allowed):
        satisfaction(Asked(trained._replace(config=config), 2, 0))


def test_the_joint_rate_stands_beside_its_marginals():
    hits = {
        "text": np.array([True, True, False, False]),
        "label": np.array([True, False, True, False]),
        "audio": np.array([True, True, True, False]),
    }
    assert joint(hits, 1 / 384) == {
        "rate": 0.25,
        "count": 4,
        "chance": 1 / 384,
        "interval": list(wilson(1, 4)),
        "marginals": {"text": 0.5, "label": 0.5, "audio": 0.75},
        "product_of_marginals": 0.1875,
    }


def test_records_without_an_input_do_not_count(trained, monkeypatch):
    """Every other record has no text."""

    def some(self, part):
        return perfect(self, part)

    whole = Drawing.whole

    def half(self, *inputs):
        part = whole(self, *inputs)
        rows = np.arange(len(part.records)) % 2 == 0
        return part._replace(has=part.has | {"text": rows})

    monkeypatch.setattr(Drawing, "__call__", some)
    monkeypatch.setattr(Drawing, "whole", half)
    given = (("text", "label"), ("label",))
    found = satisfaction(Asked(trained, 10, 0, given=given)).numbers
    assert (found["text+label"]["count"], found["label"]["count"]) == (5, 10)
    assert found["text+label"]["rate"] == 1


def test_a_subset_is_judged_once_however_it_is_written(trained, monkeypatch):
    monkeypatch.setattr(Drawing, "__call__", perfect)
    given = (("label", "text"), ("text", "label", "text"), ("text",))
    found = satisfaction(Asked(trained, 10, 0, given=given)).numbers
    assert [t for t in found if ":" not in t] == ["text+label", "text"]
    assert found["text+label"]["count"] == 10
