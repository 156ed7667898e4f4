"""Joint satisfaction of a run, with drawing replaced by what is known to be right or wrong."""

import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.metrics import drawing, shapes_judge
from mmgen_jax.metrics.drawing import Drawing, subsets
from mmgen_jax.metrics.evaluation import Asked, table
from mmgen_jax.metrics.rates import wilson
from mmgen_jax.metrics.satisfaction import report, satisfaction
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
    assert "text+label+audio" in table(found.numbers, "right")


def test_parts_add_up_and_failures_come_first(trained, monkeypatch):
    """Every fifth picture is grey, every seventh another one's: the grey ones fail all inputs."""
    monkeypatch.setattr(drawing, "BATCH", 8)

    def some(self, part):
        images = perfect(self, part)
        for row in range(len(images)):
            if (part.first + row) % 5 == 0:
                images[row] = 128
        return images

    monkeypatch.setattr(Drawing, "__call__", some)
    shown = []
    monkeypatch.setattr(
        Drawing, "grid", lambda self, images, part, rows, notes: shown.append((images, notes))
    )
    asked = Asked(trained, 30, 0, given=(("text", "label"),))
    found = satisfaction(asked)
    assert list(found.numbers) == ["text+label", "heldout:text+label"]
    assert found.numbers["text+label"]["rate"] == 24 / 30
    images, notes = shown[0]
    wrong = "wrong: text, label"
    assert notes == [wrong] * 6 + [wrong if row % 5 == 0 else "" for row in range(8)]
    grey = (images == 128).all((1, 2, 3)).tolist()
    assert grey == [bool(note) for note in notes]


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
    with pytest.raises(InputError, match=r"unknown judge 'folder'; allowed: shapes, digits, emoji"):
        satisfaction(Asked(trained._replace(config=config), 2, 0))


def test_report_counts_every_subset():
    results = {
        "text": np.array([True, True, False, False]),
        "label": np.array([True, False, True, False]),
        "audio": np.array([True, True, True, False]),
    }
    found = report(results, shapes_judge.chance)
    assert list(found) == [
        *("text", "label", "audio"),
        *("text+label", "text+audio", "label+audio", "text+label+audio"),
    ]
    assert found["text+label+audio"] == {
        "rate": 0.25,
        "count": 4,
        "chance": 1 / 384,
        "interval": list(wilson(1, 4)),
        "marginals": {"text": 0.5, "label": 0.5, "audio": 0.75},
        "product_of_marginals": 0.1875,
    }
    assert found["text+audio"]["rate"] == 0.5
