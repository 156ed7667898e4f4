"""Scores of a run and of folders, by an extractor whose numbers are known."""

from dataclasses import replace

import numpy as np
import pytest

from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation import features as extractors
from mmgen_jax.evaluation import run_sampler
from mmgen_jax.evaluation.metrics import METRICS, scores
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.evaluation.statistics import frechet, inception_score, kernel_distance
from mmgen_jax.evaluation.statistics.manifold import density_coverage, precision_recall
from mmgen_jax.training.run import Trained
from tests import folders
from tests.evaluation.features.test_references import means
from tests.tiny import open_source, tiny_config, tiny_model

NAMES = ("text", "label")
COUNT = 40


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setattr(extractors, "build", lambda asked, data: means())
    monkeypatch.setattr(run_sampler, "BATCH", 16)
    monkeypatch.setattr(scores.references, "MOST", 60)
    monkeypatch.setattr(Drawing, "__call__", spoiled)
    trained = Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)
    return Asked(trained, COUNT, 0, references=tmp_path / "kept")


def spoiled(self, part):
    """The records' own pictures, darker the later they come, and by what is given."""
    by = 1 + sum(there.any() for there in part.has.values())
    rows = np.arange(part.first, part.first + len(part.records)).reshape(-1, 1, 1, 1)
    images = np.stack([record.image for record in part.records])
    return (images / by - rows % 7).clip(0).astype(np.uint8)


def features(asked):
    """(of the real pictures, of the drawn ones), by hand."""
    source = open_source(asked.trained.config, "test")
    real = np.stack([source[i].image for i in spread(source, 60)])
    own = np.stack([source[i].image for i in spread(source, COUNT)])
    drawn = (own / 3 - np.arange(COUNT).reshape(-1, 1, 1, 1) % 7).clip(0).astype(np.uint8)
    return [x.astype(np.float32).mean((1, 2)) for x in (real, drawn)]


def test_each_score_is_that_of_the_features(asked):
    real, own = features(asked)
    row = scores.fid(asked).numbers["text+label"]
    expected = frechet.distance(frechet.fit(real), frechet.fit(own))
    assert row["distance"] == pytest.approx(expected, rel=1e-4)
    assert row["count"] == COUNT and row["reference"]["count"] == 60
    assert row["extractor"] == "means" and row["reference"]["split"] == "test"
    row = scores.kid(asked).numbers["text+label"]
    expected = kernel_distance.kernel_distance(real, own, size=COUNT)
    assert (row["distance"], row["deviation"]) == pytest.approx(tuple(expected), rel=1e-4)
    row = scores.prdc(asked).numbers["text+label"]
    few = real[[i * 60 // COUNT for i in range(COUNT)]]
    assert (row["precision"], row["recall"]) == precision_recall(few, own)
    assert (row["density"], row["coverage"]) == density_coverage(few, own)
    row = scores.inception(asked).numbers["text+label"]
    assert row["score"] == inception_score.inception_score(np.zeros((COUNT, 2), np.float32)).mean
    assert "reference" not in row


def test_a_score_has_its_extractors_name_and_the_subset_that_is_asked_for(asked):
    found = scores.fid(replace(asked, given=(("text", "label"), ("label",))))
    assert found.title == "FD(means)" and list(found.numbers) == ["text+label", "label"]
    assert found.numbers["label"]["distance"] != found.numbers["text+label"]["distance"]
    assert table(METRICS["fid"], found.numbers, found.title).startswith("FD(means) ")
    assert [heading for heading, _ in found.sections] == [
        "FD(means): given text+label",
        "FD(means): given label",
    ]


def test_records_come_again_where_more_are_asked_for_than_there_are(asked):
    source = open_source(asked.trained.config, "test")
    few = type("Few", (), {"__len__": lambda s: 6, "__getitem__": lambda s, i: source[i]})()
    few.info, few.bad, few.where = source.info, (), source.where
    parts = list(asked.drawing.parts(few, 20, again=True))
    assert [part.first for part in parts] == [0, 16]
    assert sum(len(part.records) for part in asked.drawing.parts(few, 20, again=False)) == 6
    records = [record for part in parts for record in part.records]
    # All six, in an order that is not the data's (a sheet shows the first), and then again.
    assert {r.image.tobytes() for r in records[:6]} == {source[i].image.tobytes() for i in range(6)}
    for row, record in enumerate(records):
        np.testing.assert_array_equal(record.image, records[row % 6].image)


@pytest.mark.parametrize(
    ("metric", "count", "least"), [("fid", 3, 4), ("is", 9, 10), ("prdc", 5, 6), ("kid", 1, 2)]
)
def test_too_few_pictures_are_refused_before_any_is_drawn(asked, monkeypatch, metric, count, least):
    monkeypatch.setattr(Drawing, "__call__", None)
    with pytest.raises(InputError, match=f"^--count asks for {count} .* at least {least}"):
        scores._of_run(metric, replace(asked, count=count))


def test_folders_are_scored_too(tmp_path):
    rng = np.random.default_rng(0)
    pictures = {"a": [], "b": []}
    for name, bright in (("a", 200), ("b", 120)):
        for number in range(12):
            pixels = rng.integers(0, bright, 3)
            folders.paint(tmp_path / name / f"{number}.png", colour=tuple(pixels))
            pictures[name].append(pixels.astype(np.float32))
    drawn, real, kept = tmp_path / "a", tmp_path / "b", tmp_path / "kept"
    found = scores.of_folder("fid", drawn, real, means(), kept)
    fits = [frechet.fit(np.stack(pictures[name])) for name in "ba"]
    assert found.numbers["a"]["distance"] == pytest.approx(frechet.distance(*fits), rel=1e-4)
    again = scores.of_folder("fid", drawn, next(kept.iterdir()), means(), kept)
    assert again.numbers["a"]["distance"] == found.numbers["a"]["distance"]
    assert scores.of_folder("is", drawn, None, means(), kept).title == "CS(means)"
    with pytest.raises(InputError, match="'fid' of --images needs --reference"):
        scores.of_folder("fid", drawn, None, means(), kept)
    with pytest.raises(InputError, match="'satisfaction' needs --workdir; of folders allowed: fid"):
        scores.of_folder("satisfaction", drawn, real, means(), kept)
    for number in range(3, 12):
        (real / f"{number}.png").unlink()
    with pytest.raises(InputError, match=r"^--reference=.*/b holds 3 pictures; .* at least 4"):
        scores.of_folder("fid", drawn, real, means(), kept)
