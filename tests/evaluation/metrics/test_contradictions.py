"""Which of two inputs wins, with drawing replaced by what obeys one of them."""

import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.data import DataOptions, Record, shapes
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import READINGS
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.contradictions import contradictions
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests import folders
from tests.tiny import open_source, tiny_config

COLOURS = {"dark": 10, "grey": 120, "light": 240}


@pytest.fixture
def trained(tmp_path):
    lines = []
    for number in range(12):
        name, shade = list(COLOURS.items())[number % 3]
        folders.paint(tmp_path / f"{number}.png", colour=shade + number % 4, size=(16, 16))
        lines.append({"file_name": f"{number}.png", "text": f"{name} {number}", "label": name})
    del lines[5]["text"]
    folders.write(tmp_path, *lines)
    config = tiny_config(("text", "label"))
    config.data = folders.group(tmp_path, image_size=16, split="all")
    model = models.build(config, models.fit(config, open_source(config, "all")))
    return Trained(config, model, {}, {}, 0)


def test_the_one_that_is_obeyed_wins(trained, monkeypatch):
    """All pictures have the shade of the label; one record has no text."""
    label = trained.model.modalities["label"]
    classes = {int(label.prepare(name)["label"]): shade for name, shade in COLOURS.items()}
    seen = []

    def obey(self, part):
        seen.append(part.has)
        shades = np.array([classes[int(i)] for i in part.values["label"]["label"]])
        return np.broadcast_to(shades[:, None, None, None], (len(shades), 16, 16, 3)).astype(
            "uint8"
        )

    monkeypatch.setattr(Drawing, "__call__", obey)
    found = contradictions(Asked(trained, 12, 0))
    (title, row), *none = found.numbers.items()
    assert (title, none, len(found.sections)) == ("text against label", [], 1)
    assert row == {"first": 0.0, "second": 1.0, "neither": 0.0, "count": 11}
    (has,) = seen
    assert has["text"].sum() == has["label"].sum() == 11
    assert "the second" in table(METRICS["contradictions"], found.numbers, "contradictions")


class Listed:
    """Some records as a source."""

    bad = ()

    def __init__(self, source, records):
        self.info, self.where, self._records = source.info, source.where, records

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]


def test_two_modalities_and_two_classes_are_needed(trained, monkeypatch):
    alone = tiny_config(("label",))
    alone.data = trained.config.data
    model = models.build(alone, models.fit(alone, open_source(alone, "all")))
    with pytest.raises(InputError, match="needs two modalities, not 'label' alone"):
        contradictions(Asked(Trained(alone, model, {}, {}, 0), 4, 0))
    source = open_source(trained.config, "all")
    dark = Listed(source, [source[i] for i in (0, 3, 6)])
    monkeypatch.setattr(Drawing, "open", lambda self, split: dark)
    with pytest.raises(InputError, match="needs a data set with labels of two classes"):
        contradictions(Asked(trained, 4, 0))


def test_records_without_two_of_the_modalities_are_refused(trained, monkeypatch):
    source = open_source(trained.config, "all")
    records = [source[i] for i in range(len(source))]
    mute = Listed(source, [Record(r.image, {"label": r.values["label"]}) for r in records])
    monkeypatch.setattr(Drawing, "open", lambda self, split: mute)
    with pytest.raises(InputError, match="needs records that have two of the modalities"):
        contradictions(Asked(trained, 4, 0))


def test_inputs_that_say_several_things_contradict_each_other_where_they_speak_of_the_same(
    monkeypatch,
):
    """On shapes, a caption and a label never do; a sketch may contradict both. Here it is obeyed.

    Scenes with blue objects are drawn blank: neither wins.
    """
    config = tiny_config(("text", "label", "image"))
    model = models.build(config, models.fit(config, open_source(config)))
    seen = []

    def whole(self, source, rows, first=0):
        part = real(self, source, rows, first)
        seen.append(part)
        return part

    def obey(self, part):
        second = np.stack([self.picture(record) for record in seen[-1].records])
        blue = np.array(["blue" in record.values["text"] for record in seen[-1].records])
        return np.where(blue[:, None, None, None], np.uint8(0), second)

    read, looked_at = shapes.ShapesSource.__getitem__, []
    noted = lambda self, index: looked_at.append(index) or read(self, index)  # noqa: E731
    monkeypatch.setattr(shapes.ShapesSource, "__getitem__", noted)
    real = Drawing.whole
    monkeypatch.setattr(Drawing, "whole", whole)
    monkeypatch.setattr(Drawing, "__call__", obey)
    found = contradictions(Asked(Trained(config, model, {}, {}, 0), 30, 0))
    assert list(found.numbers) == ["text against image", "label against image"]
    assert len(looked_at) < 5_000, "as many as thirty pictures need, not the whole data set"
    for number, (title, row) in enumerate(found.numbers.items()):
        one, other = seen[2 * number].records, seen[2 * number + 1].records
        blue = np.mean(["blue" in record.values["text"] for record in other])
        assert 0 < blue < 1
        assert row == {
            "first": 0.0,
            "second": pytest.approx(1 - blue),
            "neither": pytest.approx(blue),
            "count": 30,
        }
        reading = READINGS["shapes"](DataOptions("shapes"))
        first, second = title.split(" against ")
        (fact,) = {"text": ["shape"], "label": ["position"]}[first]
        assert (reading.says(one, first)[fact] != reading.says(other, second)[fact]).all()


def test_modalities_that_speak_of_nothing_common_are_refused():
    config = tiny_config(("text", "label"))
    model = models.build(config, models.fit(config, open_source(config)))
    with pytest.raises(InputError, match="which speak of the same; the run has text, label"):
        contradictions(Asked(Trained(config, model, {}, {}, 0), 4, 0))
