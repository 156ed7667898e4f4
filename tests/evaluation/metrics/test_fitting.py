"""Fitting, with drawing replaced by what is known to be right or wrong."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax import model as models
from mmgen_jax.data import SOURCES, BadRecord, DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.fitting import fitting
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests import folders, prepared
from tests.tiny import tiny_config, tiny_model

NAMES = ("text", "label", "audio")


@pytest.fixture(scope="module")
def trained():
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


class Few:
    """The first records of a split."""

    def __init__(self, source, count):
        self.info, self.bad, self.where = source.info, source.bad, source.where
        self._source, self._count = source, count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return self._source[int(index)]


def test_fitting_finds_the_records_own_picture(trained, monkeypatch):
    shapes = SOURCES["shapes"]
    few = shapes._replace(open=lambda options, split: Few(shapes.open(options, split), 30))
    monkeypatch.setitem(SOURCES._targets, "shapes", few)
    given = []

    def own(self, part):
        given.append([name for name, there in part.has.items() if there.any()])
        return pictures[(len(given) - 1) // (1 + len(NAMES))]

    rng = np.random.default_rng(3)
    chosen = [rng.choice(30, 12, replace=False) for _ in range(2)]
    sources = [few.open(DataOptions.of(tiny_config(NAMES)), split) for split in ("train", "test")]
    pictures = [
        np.stack([source[i].image for i in rows])
        for source, rows in zip(sources, chosen, strict=True)
    ]
    monkeypatch.setattr(Drawing, "__call__", own)
    found = fitting(Asked(trained, 12, 3))
    assert found.numbers["train"]["rate"] == 1
    assert found.numbers["train"]["chance"] == pytest.approx(1 / 30)
    training = [sources[0][i] for i in range(30)]
    flat = np.stack([r.image for r in training]).reshape(30, -1).astype(int)
    hits = []
    for i in chosen[1]:
        record = sources[1][int(i)]
        near = ((flat - record.image.reshape(-1)) ** 2).sum(axis=1).argmin()
        hits.append(training[near].values["label"] == record.values["label"])
    assert found.numbers["test"]["rate"] == pytest.approx(np.mean(hits))
    assert given == 2 * [[*NAMES], *([name] for name in NAMES)]
    assert found.numbers["train:audio"]["rate"] == 1
    assert list(found.numbers)[4:] == ["test", *(f"test:{name}" for name in NAMES)]
    # What is judged differs between the splits, and is said in the table and in the picture.
    own, group = "is the record's own picture", "has the record's label"
    headings = [heading for heading, _ in found.sections]
    lines = table(METRICS["fitting"], found.numbers, "fitting").splitlines()[1:]
    for title, heading, line in zip(found.numbers, headings, lines, strict=True):
        judged = own if title.startswith("train") else group
        assert found.numbers[title]["judged"] == judged
        assert f"{title}: the nearest training picture {judged} for" in heading
        assert line.endswith(judged)


def some_labels(folder, labels):
    """Pictures with these labels, their captions, and a run on them that is given the captions."""
    lines = [
        {"file_name": f"{k}.png", "text": f"picture {k}"} | {"label": label}
        for k, label in enumerate(labels)
    ]
    for line in lines:
        folders.paint(folder / line["file_name"])
    folders.write(folder, *lines)
    config = tiny_config(("text",))
    config.data = folders.group(folder, image_size=8)
    config.data.split = "train"
    config.eval.split = "test"
    model = models.build(config, models.fit(config, DataOptions.of(config).open("train")))
    return Trained(config, model, {}, {}, 0)


def test_records_without_a_label_are_passed_over_and_counted(tmp_path, monkeypatch, capsys):
    run = some_labels(tmp_path, [None if k % 3 == 0 else "ab"[k % 2] for k in range(150)])
    own = lambda self, part: np.stack([record.image for record in part.records])  # noqa: E731
    monkeypatch.setattr(Drawing, "__call__", own)
    found = fitting(Asked(run, 150, 0)).numbers
    said = capsys.readouterr().out
    counts = {}
    for split in ("train", "test"):
        source = DataOptions.of(run.config).open(split)
        labelled = ["label" in source[k].values for k in range(len(source))]
        counts[split] = sum(labelled)
        what = {"train": "training"}.get(split, split)
        without = len(labelled) - counts[split]
        assert without and f"{without} {what} records without a label are passed over" in said
    assert (found["train"]["rate"], found["train"]["count"]) == (1.0, counts["train"])
    assert found["test"]["count"] == counts["test"]
    few = fitting(Asked(run, 2, 0)).numbers
    assert few["test"]["count"] == 2, "others take the place of those without"


def test_a_split_with_fewer_records_than_are_asked_for_is_named_once(tmp_path, monkeypatch, capsys):
    run = some_labels(tmp_path, ["a"] * 60)
    own = lambda self, part: np.stack([record.image for record in part.records])  # noqa: E731
    monkeypatch.setattr(Drawing, "__call__", own)
    total = {split: len(_places(run, split)) for split in ("train", "test")}
    asked = Asked(run, 61, 0)
    fitting(asked)
    for _ in range(2):
        list(asked.drawing.parts(asked.drawing.open("test"), 61, again=False))
    said = [line for line in capsys.readouterr().out.splitlines() if "--count" in line]
    assert said == [
        f"split {split!r} has {total[split]} records to evaluate, fewer than --count=61"
        for split in ("train", "test")
    ]
    fitting(Asked(run, 1, 0))
    assert "--count" not in capsys.readouterr().out


def test_a_data_set_in_which_no_training_record_has_a_label_is_refused(tmp_path, monkeypatch):
    run = some_labels(tmp_path, ["a"] * 60)
    lines = [{"file_name": f"{k}.png", "text": "a", "label": None} for k in range(60)]
    test = {line.partition("(")[2][:-1] for line in _places(run, "test")}
    lines = [line | ({"label": "a"} if line["file_name"] in test else {}) for line in lines]
    folders.write(tmp_path, *lines)
    with pytest.raises(InputError, match="labels; no training record has one"):
        fitting(Asked(run, 4, 0))


def _places(run, split):
    source = DataOptions.of(run.config).open(split)
    return [source.where(k) for k in range(len(source))]


def test_bad_records_are_left_out_if_they_were_in_training(tmp_path, monkeypatch):
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=["a", "b"]),
    }
    pictures = [prepared.noise(16, 16) for _ in range(6)]
    files = [prepared.png(picture) for picture in pictures]
    files[3] = io.BytesIO(files[3].getvalue()[:-60])
    records = [{"image": file, "label": k % 2} for k, file in enumerate(files)]
    path = prepared.prepare(tmp_path, "set:1.0.0", features, train=records)
    config = tiny_config(("label",))
    config.data = prepared.group(
        "tfds", path=str(path), target="image", image_size=16, on_bad_record="skip"
    )
    config.eval.split = "train"
    model = models.build(config, models.fit(config, DataOptions.of(config).open("train")))
    good = [k for k in range(6) if k != 3]
    chosen = np.random.default_rng(0).choice(5, 5, replace=False)
    drawn = np.stack([pictures[good[k]] for k in chosen])
    monkeypatch.setattr(Drawing, "__call__", lambda self, part: drawn)
    found = fitting(Asked(Trained(config, model, {}, {}, 0), 9, 0))
    assert (found.numbers["train"]["rate"], found.numbers["train"]["count"]) == (1.0, 5)
    config.data.on_bad_record = "raise"
    with pytest.raises(BadRecord, match="record 3"):
        fitting(Asked(Trained(config, model, {}, {}, 0), 9, 0))
