"""Copies of training pictures, planted and not."""

import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.memorization import Bar, memorization, small
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests.tiny import tiny_config, tiny_model

NOISE = np.random.default_rng(0)


def scenes(count):
    """Pictures of one world: smooth fields, no two alike."""
    coarse = NOISE.uniform(0, 255, (count, 4, 4, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def bar():
    return Bar(scenes(300), scenes(400))


def row_of(bar, images):
    return bar.row(bar.closeness(images)[0])


def test_new_pictures_are_no_copies(bar):
    row = row_of(bar, scenes(400))
    assert row["chance"] == 0.01 and row["rate"] < 0.03 and not row["copied"]
    assert 0.7 < row["closeness"] < 1


def test_a_planted_training_set_is_found(bar):
    row = row_of(bar, bar.training[:200])
    assert (row["rate"], row["copied"], row["closeness"]) == (1.0, True, 0.0)


def test_some_copies_with_noise_on_them_are_found_among_new_pictures(bar):
    copies = bar.training[:20] + NOISE.normal(0, 8, (20, 16, 16, 3))
    images = np.concatenate([scenes(180), np.clip(copies, 0, 255).astype(np.uint8)])
    closeness, found = bar.closeness(images)
    assert found[180:].tolist() == list(range(20))
    row = bar.row(closeness)
    assert row["copied"] and 0.1 <= row["rate"] < 0.13


def test_new_pictures_of_little_contrast_are_no_copies(bar):
    """All training pictures are about as near to grey; the plain distance takes it for a copy."""
    dull = (scenes(300) * 0.2 + 102).astype(np.uint8)
    assert not row_of(bar, dull)["copied"]


def test_real_pictures_are_never_said_to_be_copied(bar):
    """Not even where a tenth of the unseen ones are training pictures."""
    training = scenes(100)
    unseen = np.concatenate([training[:40], scenes(360)])
    row = row_of(Bar(training, unseen), unseen)
    assert row["rate"] == row["chance"] == 0.1 and not row["copied"]


def test_where_unseen_pictures_are_training_pictures_copies_are_still_named():
    training = scenes(100)
    bar = Bar(training, training[:50])
    assert row_of(bar, training[50:])["rate"] == 1.0 and row_of(bar, scenes(50))["rate"] == 0


def test_equal_training_pictures_count_once():
    training = scenes(60)
    twice = Bar(np.concatenate([training, training]), scenes(50))
    np.testing.assert_array_equal(twice.training, training)
    with pytest.raises(InputError, match="^40 different training pictures; .* more than 50$"):
        Bar(training[:40].repeat(2, axis=0), training)


def test_large_pictures_are_compared_at_32_pixels():
    assert small(np.zeros((64, 128, 3), np.uint8)).shape == (32, 32, 3)
    assert small(np.zeros((16, 16, 3), np.uint8)).shape == (16, 16, 3)


@pytest.mark.parametrize("copying", [False, True])
def test_a_run_that_draws_its_training_pictures(monkeypatch, copying):
    names = ("label",)
    trained = Trained(tiny_config(names), tiny_model(names), {}, {}, 0)
    open_split = Drawing.open

    class Few:
        def __init__(self, source):
            self._source = source
            self.info, self.bad, self.where = source.info, source.bad, source.where

        def __len__(self):
            return 200

        def __getitem__(self, index):
            return self._source[int(index)]

    monkeypatch.setattr(Drawing, "open", lambda self, split: Few(open_split(self, split)))
    drawn = Drawing(trained, 0).open("train" if copying else "heldout")
    pictures = np.stack([drawn[i].image for i in range(60)])
    rows = lambda part: slice(part.first, part.first + len(part.records))  # noqa: E731
    monkeypatch.setattr(Drawing, "__call__", lambda self, part: pictures[rows(part)])
    found = memorization(Asked(trained, 60, 0))
    assert found.numbers["label"]["copied"] == copying
    assert found.numbers["label"]["rate"] == 1 if copying else found.numbers["label"]["rate"] < 0.1
    assert (
        "copied" in table(METRICS["memorization"], found.numbers, "copies").splitlines()[0]
        and len(found.sections) == 1
    )
