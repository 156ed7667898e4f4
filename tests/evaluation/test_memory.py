"""An evaluation holds few decoded records at a time, however many it is asked for."""

import functools
import weakref

import numpy as np
import pytest

from mmgen_jax.data import SOURCES, Lazy, Record, SourceInfo
from mmgen_jax.evaluation import run_sampler
from mmgen_jax.evaluation.judges import classifier
from mmgen_jax.evaluation.metrics.contradictions import contradictions
from mmgen_jax.evaluation.metrics.diversity import diversity
from mmgen_jax.evaluation.metrics.fitting import fitting
from mmgen_jax.evaluation.metrics.languages import languages
from mmgen_jax.evaluation.metrics.memorization import memorization
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests.tiny import tiny_config, tiny_model

NAMES = ("text", "label")
TOTAL, COUNT, BATCH, LARGE = 150, 100, 16, 48
PLACES = ("top left", "centre", "bottom right")


class Large:
    """Records whose pictures are large until they are resized; counts those that are alive.

    Attributes:
      decoded: pictures that were decoded.
      alive: how many of them there are now.
      most: how many there were at once.
    """

    info = SourceInfo(NAMES, ("train", "test"), {"label": PLACES})
    bad = ()

    def __init__(self):
        self.decoded = self.alive = self.most = 0

    def __len__(self):
        return TOTAL

    def where(self, index):
        return f"record {index}"

    def __getitem__(self, index):
        text, label = f"red {index}", PLACES[index % 3]
        values = Lazy({"text": lambda: text, "label": lambda: label})
        return Record(functools.partial(self._decode, index), values)

    def _decode(self, index):
        picture = np.random.default_rng(index).integers(0, 256, (LARGE, LARGE, 3), np.uint8)
        self.decoded, self.alive = self.decoded + 1, self.alive + 1
        self.most = max(self.most, self.alive)
        weakref.finalize(picture, self._drop)
        return picture

    def _drop(self):
        self.alive -= 1


@pytest.fixture
def source(monkeypatch):
    source = Large()
    monkeypatch.setattr(Drawing, "open", lambda self, split, languages=None: source)
    described = SOURCES["folder"]._replace(describe=lambda options: source.info)
    monkeypatch.setitem(SOURCES._targets, "folder", described)
    monkeypatch.setattr(run_sampler, "BATCH", BATCH)

    def draw(self, part):
        seen.append(len(part.records))
        return np.stack([record.image for record in part.records])

    seen = source.drawn = []
    monkeypatch.setattr(Drawing, "__call__", draw)
    monkeypatch.setattr(classifier, "is_judged", lambda options: False)
    return source


@pytest.fixture
def asked():
    config = tiny_config(NAMES)
    config.data.name, config.data.languages = "folder", ("en", "de")
    return Asked(Trained(config, tiny_model(NAMES), {}, {}, 0), COUNT, 0)


@pytest.mark.parametrize(
    "metric",
    [contradictions, diversity, fitting, languages, memorization],
    ids=lambda m: m.__name__,
)
def test_few_pictures_are_held_before_they_are_resized(metric, source, asked):
    metric(asked)
    assert source.most <= 2
    assert max(source.drawn) == BATCH and sum(source.drawn) >= COUNT


def test_a_record_that_is_drawn_for_is_decoded_once(source, asked):
    parts = list(asked.drawing.parts(source, COUNT, again=False))
    assert sum(len(part.records) for part in parts) == COUNT
    assert source.decoded == COUNT
    assert {record.image.shape for part in parts for record in part.records} == {(16, 16, 3)}
    assert source.decoded == COUNT
