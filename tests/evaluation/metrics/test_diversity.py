"""Diversity, with drawing replaced by what is known to vary, or not to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.data import DataOptions
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import classifier
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.diversity import diversity, within
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests.tiny import open_source, tiny_config, tiny_model

NAMES = ("text", "label")
COUNT = 40


@pytest.fixture
def trained(monkeypatch):
    """A run whose data has a judge: one that was never trained, but tells pictures apart."""
    names = open_source(tiny_config(NAMES)).info.label_names
    params = classifier.Classifier(len(names)).init(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3)), None
    )["params"]
    judge = classifier.Trained(params, names, 16, 0.5)
    monkeypatch.setattr(classifier, "of_data", lambda options: judge)
    monkeypatch.setattr(classifier, "is_judged", lambda options: True)
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


def test_real_pictures_are_as_diverse_as_real_pictures(trained, monkeypatch):
    source = open_source(trained.config, "test")
    pictures = np.stack([source[i].image for i in spread(source, COUNT)])
    monkeypatch.setattr(Drawing, "__call__", lambda self, part: pictures)
    found = diversity(Asked(trained, COUNT, 0))
    assert list(found.numbers) == ["text+label", "text", "label"]
    judge = classifier.of_data(None)
    shown = np.bincount(classifier.predict(judge, pictures), minlength=len(judge.names))
    for row in found.numbers.values():
        assert (row["precision"], row["recall"], row["count"]) == (1, 1, COUNT)
        assert row["classes"] == np.mean(shown > 0)
        assert row["rarest"] == pytest.approx(shown.min() * len(judge.names) / COUNT)
    lines = table(METRICS["diversity"], found.numbers, "diversity").splitlines()
    assert "1.000" in lines[1] and "recall" in lines[0] and len(found.sections) == 3


def test_one_picture_for_all_is_not_diverse(trained, monkeypatch):
    picture = open_source(trained.config, "test")[0].image
    same = np.repeat(picture[None], COUNT, axis=0)
    monkeypatch.setattr(Drawing, "__call__", lambda self, part: same)
    row = diversity(Asked(trained, COUNT, 0)).numbers["label"]
    assert row["precision"] == 1 and row["recall"] < 0.1
    assert row["rarest"] == 0 and row["classes"] == pytest.approx(1 / 9)


def test_pictures_of_one_condition_vary_by_noise_alone(trained, monkeypatch):
    """Half of what varies is noise, half comes with the record: the share is the root of a half."""
    monkeypatch.setattr(classifier, "is_judged", lambda options: False)

    def noisy(self, part):
        rows = np.arange(len(part.records))
        own, noise = (np.random.default_rng(k) for k in (0, 1 + part.first))
        waves = [x.normal(0, 20, (len(rows), 16, 16, 3)) for x in (own, noise)]
        return np.clip(128 + sum(waves), 0, 255).astype(np.uint8)

    monkeypatch.setattr(Drawing, "__call__", noisy)
    found = diversity(Asked(trained, 60, 0, given=(("label",),))).numbers
    assert list(found) == ["label"] and list(found["label"]) == ["within", "count"]
    assert found["label"]["within"] == pytest.approx(0.5**0.5, abs=0.01)


def test_the_share_within_a_condition_has_ends():
    rng = np.random.default_rng(0)
    images, again = rng.integers(0, 256, (2, 50, 4, 4, 3), np.uint8)
    assert within(images, images) == 0
    assert within(images, again) == pytest.approx(1, abs=0.03)
    # Records that stand by class are not set beside their own class alone.
    classes = np.arange(50).repeat(20) * 5
    images, again = (
        rng.normal(classes[:, None, None, None], 20, (1_000, 2, 2, 3)) for _ in range(2)
    )
    images, again = (np.clip(x, 0, 255).astype(np.uint8) for x in (images, again))
    assert within(images, again) < 0.4
    assert within(images[:1], again[:1]) == 1 and within(images[:1].repeat(3, 0), images[:3]) > 0


def test_a_judge_that_was_not_trained_is_missed(tmp_path):
    config = tiny_config(NAMES)
    config.data.name, config.data.path = "digits", str(tmp_path)
    run = Trained(config, tiny_model(NAMES), {}, {}, 0)
    with pytest.raises(InputError, match="no judge in .*; train one: python launch/train_judge"):
        diversity(Asked(run, COUNT, 0))


def test_a_folder_is_not_judged_by_a_classifier():
    run = Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)
    run.config.data.name = "folder"
    assert not classifier.is_judged(DataOptions.of(run.config))
