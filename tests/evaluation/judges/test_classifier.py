"""A judge by class: trained on a data set's pictures, saved, and asked."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax import model as models
from mmgen_jax.data import SOURCES, DataOptions, Record
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import JUDGES, classifier
from mmgen_jax.evaluation.metrics import satisfaction
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained as Run
from tests import folders, prepared
from tests.launching import assert_bad_input, launch
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Light and dark pictures, most of them light; config.data of the folder."""
    folder = tmp_path_factory.mktemp("data")
    rng, lines = np.random.default_rng(0), []
    for k in range(80):
        name, light = f"{k}.png", k % 4 != 0
        folders.paint(
            folder / name, colour=rng.integers(*((150, 255) if light else (0, 100)), 3).tolist()
        )
        lines.append({"file_name": name, "label": "light" if light else "dark"})
    folders.write(folder, *lines)
    return folders.options(folder, image_size=8)


@pytest.fixture(scope="module")
def trained(data):
    return classifier.train(data, 25, 0)


def record(label):
    return Record(np.zeros((8, 8, 3), np.uint8), {"label": label})


def test_it_learns_and_is_tested_on_other_pictures(data, trained):
    assert trained.names == ("dark", "light")
    assert trained.accuracy == 1
    pictures = np.stack([np.full((16, 16, 3), shade, np.uint8) for shade in (20, 230, 60, 180)])
    assert classifier.predict(trained, pictures).tolist() == [0, 1, 0, 1]


def test_it_is_saved_whole(trained, tmp_path):
    path = tmp_path / "judge.safetensors"
    classifier.save(trained, path)
    again = classifier.load(path, "make it")
    assert again[1:] == trained[1:]
    pictures = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 3), np.uint8)
    assert (classifier.predict(again, pictures) == classifier.predict(trained, pictures)).all()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="cannot read the judge .* is damaged"):
        classifier.load(path, "make it")
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match="cannot read the judge"):
        classifier.load(path, "make it")
    with pytest.raises(InputError, match="train one: make it"):
        classifier.load(tmp_path / "nowhere", "make it")


def test_an_image_satisfies_what_was_asked_if_it_shows_the_class(data, trained, monkeypatch):
    classifier.save(trained, classifier.default_path(data))
    judge = JUDGES["digits"](data)  # the judge of any data set with labels
    images = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (20, 230, 230)])
    hits = judge.satisfied(
        images, [record(x) for x in ("dark", "dark", "light")], ("text", "label")
    )
    assert {name: list(x) for name, x in hits.items()} == {
        "text": [True, False, True],
        "label": [True, False, True],
    }
    assert judge.accuracy == trained.accuracy
    labels = [r.values["label"] for s in ("train", "test") for r in _records(data, s)]
    share = labels.count("light") / len(labels)
    # A train picture by chance, for a test one: of the same class with these shares.
    assert abs(judge.chance(("text",), "test") - (share**2 + (1 - share) ** 2)) < 0.3
    assert 0 < judge.chance(("text",), "test") < 1


def _records(data, split):
    source = SOURCES["folder"].open(data, split)
    return [source[i] for i in range(len(source))]


def test_records_without_a_label_are_passed_over(tmp_path):
    for k in range(40):
        folders.paint(tmp_path / f"{k}.png")
    labels = ("light", "dark", None)
    lines = [{"file_name": f"{k}.png", "label": labels[k % 3]} for k in range(40)]
    folders.write(tmp_path, *lines)
    found = classifier.train(folders.options(tmp_path, image_size=8), 2, 0)
    assert found.names == ("dark", "light")


def test_a_judge_of_classes_says_nothing_of_records_without_one(
    trained, tmp_path, monkeypatch, capsys
):
    config, folder = tiny_config(("text",)), tmp_path
    config.data = folders.group(folder, image_size=8)
    labels = ("light", None) * 75
    lines = [
        {"file_name": f"{k}.png", "text": "light", "label": label} for k, label in enumerate(labels)
    ]
    for k, line in enumerate(lines):
        folders.paint(folder / line["file_name"], colour=(240, 240, 100 + k))
    folders.write(folder, *lines)
    classifier.save(trained, classifier.default_path(DataOptions.of(config)))
    model = models.build(config, models.fit(config, DataOptions.of(config).open("train")))
    monkeypatch.setattr(satisfaction, "JUDGES", {"folder": classifier.class_judge})
    own = lambda self, part: np.stack([record.image for record in part.records])  # noqa: E731
    monkeypatch.setattr(Drawing, "__call__", own)
    config.data.split = "train"
    found = satisfaction.satisfaction(Asked(Run(config, model, {}, {}, 0), 150, 0)).numbers
    labels = ["label" in r.values for r in _records(DataOptions.of(config), "test")]
    assert found["text"]["count"] == sum(labels) < len(labels)
    without = len(labels) - sum(labels)
    assert f"test: {without} records of which the judge says nothing" in capsys.readouterr().out


def test_a_judge_that_does_not_know_a_class_of_the_data_is_refused(trained, tmp_path):
    """It was trained before the class came."""
    for number in range(3):
        folders.paint(tmp_path / f"{number}.png")
    lines = ({"file_name": f"{n}.png", "label": name} for n, name in enumerate(trained.names))
    folders.write(tmp_path, *lines, {"file_name": "2.png", "label": "striped"})
    data = folders.options(tmp_path, image_size=8)
    path = classifier.default_path(data)
    classifier.save(trained, path)
    with pytest.raises(
        InputError, match="knows no class 'striped', which the data set has; delete"
    ):
        classifier.class_judge(data)


def test_the_launcher(tmp_path):
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=["dark", "light"]),
    }
    shade = lambda k: prepared.png(np.full((8, 8, 3), 255 * (k % 2), np.uint8))  # noqa: E731
    splits = {
        split: [{"image": shade(k), "label": k % 2} for k in range(20)]
        for split in ("train", "test")
    }
    path = prepared.prepare(tmp_path, "digits:1.0.0", features, **splits)
    flags = ("--config=configs/flow.py:data=digits,modalities=label", f"--config.data.path={path}")
    out = tmp_path / "judge.safetensors"
    done = launch(
        "launch/train_judge.py",
        *flags,
        "--config.data.image_size=8",
        "--config.generator.flow.patch_size=8",
        "--steps=2",
        f"--out={out}",
    )
    assert done.code == 0, done.err
    assert done.out.startswith(f"{out}: right for ")
    assert classifier.load(out, "").names == ("dark", "light")  # with the launcher's mark
    for bad in ("nowhere/x.safetensors", f"{tmp_path}/x.json"):
        assert_bad_input(launch("launch/train_judge.py", *flags, f"--out={bad}"), bad)
    done = launch("launch/train_judge.py", "--config=configs/flow.py:data=shapes")
    assert_bad_input(done, "'shapes' is not judged by a classifier; allowed: digits")
    options = prepared.options("digits", path=str(path))
    with pytest.raises(InputError, match=f"data=digits --config.data.path={path}$"):
        classifier.class_judge(options)
