"""Evaluations of a run, with drawing replaced by what is known to be right or wrong."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from mmgen_jax import fusion
from mmgen_jax import model as models
from mmgen_jax.data import SOURCES, BadRecord
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.images import quantise
from mmgen_jax.metrics import evaluation
from mmgen_jax.training.run import Trained
from tests import folders, prepared
from tests.tiny import open_source, random_parameters, tiny_config, tiny_model

NAMES = ("text", "label", "audio")


@pytest.fixture(scope="module")
def trained():
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


def perfect(config, split):
    """Draws the records' own pictures."""
    source = open_source(config, split)
    return lambda self, values, has: np.stack(
        [source[i].image for i in spread(source, len(has["text"]))]
    )


def test_subsets_are_all_but_the_empty_one():
    assert evaluation.subsets(("a", "b")) == [("a", "b"), ("a",), ("b",)]
    assert len(evaluation.subsets(("a", "b", "c", "d"))) == 15


def test_true_pictures_satisfy_every_subset(trained, monkeypatch):
    monkeypatch.setattr(evaluation.Drawing, "__call__", perfect(trained.config, "test"))
    found = evaluation.satisfaction(trained, count=20, seed=0)
    seen = {title: row for title, row in found.numbers.items() if ":" not in title}
    assert list(seen) == ["+".join(s) for s in evaluation.subsets(NAMES)]
    assert all(row["rate"] == 1 and row["count"] == 20 for row in seen.values())
    assert seen["text+label+audio"]["chance"] == pytest.approx(1 / 384)
    # The pictures of other scenes do not satisfy the held-out conditions.
    assert found.numbers["heldout:text+label"]["rate"] == 0
    assert len(found.sections) == len(found.numbers) == 14
    assert "text+label+audio" in evaluation.table(found.numbers, "right")


def test_only_the_subset_is_given(trained, monkeypatch):
    given = []

    def spy(self, values, has):
        given.append({name for name, there in has.items() if there.any()})
        return np.zeros((len(has["text"]), 16, 16, 3), np.uint8)

    monkeypatch.setattr(evaluation.Drawing, "__call__", spy)
    evaluation.satisfaction(trained, count=2, seed=0)
    assert given == 2 * [set(subset) for subset in evaluation.subsets(NAMES)]


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
    class Spec:
        def open(self, options, split):
            config = tiny_config(NAMES)
            return Few(open_source(config, split), 30)

    monkeypatch.setattr(evaluation, "SOURCES", {"shapes": Spec()})
    given = []

    def own(self, values, has):
        given.append([name for name, there in has.items() if there.any()])
        return pictures[(len(given) - 1) // (1 + len(NAMES))]

    rng = np.random.default_rng(3)
    chosen = [rng.choice(30, 12, replace=False) for _ in range(2)]
    sources = [Spec().open(None, split) for split in ("train", "test")]
    pictures = [
        np.stack([source[i].image for i in rows])
        for source, rows in zip(sources, chosen, strict=True)
    ]
    monkeypatch.setattr(evaluation.Drawing, "__call__", own)
    found = evaluation.fitting(trained, count=12, seed=3)
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


def test_languages_are_compared_with_the_first_one(tmp_path, monkeypatch):
    """English is right but for three pictures; German as English; French for even numbers."""
    texts = lambda k: {language: f"{language} {k}" for language in ("en", "de", "fr")}  # noqa: E731
    lines = [{"file_name": f"{k}.png", "text": texts(k)} for k in range(12)]
    del lines[4]["text"]["fr"]
    folders.write(tmp_path, *lines)
    pictures = [folders.paint(tmp_path / f"{k}.png", size=(16, 16)) for k in range(12)]
    config = tiny_config(("text",))
    config.data = folders.options(
        tmp_path, image_size=16, split="all", languages=("en", "de", "fr")
    )
    model = models.build(config, models.fit(config, SOURCES["folder"].open(config.data, "all")))

    def draw(self, values, has):
        drawn = []
        for tokens, mask in zip(values["text"]["tokens"], values["text"]["mask"], strict=True):
            said = model.modalities["text"].show({"tokens": tokens, "mask": mask})
            language, number = said.split()[0], int(said.split()[1])
            right = number > 2 and (language != "fr" or number % 2 == 0)
            drawn.append(pictures[number] if right else pictures[number - 1])
        return np.stack(drawn)

    monkeypatch.setattr(evaluation.Drawing, "__call__", draw)
    found = evaluation.languages(Trained(config, model, {}, {}, 0), 12, 0)
    rates = {name: (row["rate"], row["count"]) for name, row in found.numbers.items()}
    assert rates == {"de": (1.0, 9), "fr": (3 / 8, 8)}  # 6, 8, 10 of 3, 5, 6, 7, ..., 11
    assert [heading for heading, _ in found.sections] == ["en", "de", "fr"]


def test_a_record_that_is_bad_in_one_language_moves_no_other(tmp_path, monkeypatch):
    """The German caption of the third record is blank: it counts in English alone."""
    texts = lambda k: {language: f"{language} {k}" for language in ("en", "de")}  # noqa: E731
    lines = [{"file_name": f"{k}.png", "text": texts(k)} for k in range(8)]
    lines[2]["text"]["de"] = " "
    folders.write(tmp_path, *lines)
    pictures = [folders.paint(tmp_path / f"{k}.png", size=(16, 16)) for k in range(8)]
    keys = {"image_size": 16, "split": "all", "on_bad_record": "skip"}
    config = tiny_config(("text",))
    config.data = folders.options(tmp_path, languages=("en", "de"), **keys)
    model = models.build(config, models.fit(config, SOURCES["folder"].open(config.data, "all")))

    def draw(self, values, has):
        said = [
            model.modalities["text"].show({"tokens": tokens, "mask": mask})
            for tokens, mask in zip(*values["text"].values(), strict=True)
        ]
        return np.stack([pictures[int(caption.split()[1])] for caption in said])

    monkeypatch.setattr(evaluation.Drawing, "__call__", draw)
    found = evaluation.languages(Trained(config, model, {}, {}, 0), 8, 0)
    assert {name: (row["rate"], row["count"]) for name, row in found.numbers.items()} == {
        "de": (1.0, 7)
    }


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
    config.data = prepared.options(
        "tfds", path=str(path), target="image", image_size=16, on_bad_record="skip"
    )
    config.eval.split = "train"
    model = models.build(config, models.fit(config, SOURCES["tfds"].open(config.data, "train")))
    good = [k for k in range(6) if k != 3]
    chosen = np.random.default_rng(0).choice(5, 5, replace=False)
    drawn = np.stack([pictures[good[k]] for k in chosen])
    monkeypatch.setattr(evaluation.Drawing, "__call__", lambda self, values, has: drawn)
    found = evaluation.fitting(Trained(config, model, {}, {}, 0), 9, 0)
    assert (found.numbers["train"]["rate"], found.numbers["train"]["count"]) == (1.0, 5)
    config.data.on_bad_record = "raise"
    with pytest.raises(BadRecord, match="record 3"):
        evaluation.fitting(Trained(config, model, {}, {}, 0), 9, 0)


def autoencoder(names=("label",)):
    """A run of an autoencoder with parameters of noise."""
    config = tiny_config(names)
    config.generator.name = "autoencoder"
    model = models.build(config, models.fit(config, open_source(config)))
    params = random_parameters(lambda key: models.init(model, key)[0])
    state = jax.jit(lambda: models.init(model, jax.random.key(0))[1])()
    return Trained(config, model, params, state, 0)


def test_reconstruction_is_measured_in_decibels(monkeypatch):
    """Off by 1 in every third value of training pictures, by k in all of the k-th of the others."""
    run, asked = autoencoder(), []

    def spoil(self, images, values, has):
        split = len(asked)
        source = open_source(run.config, ("train", "test")[split])
        originals = np.stack([source[i].image for i in spread(source, 4)])
        np.testing.assert_array_equal(quantise(images), originals)
        asked.append({name: there.all() for name, there in has.items()})
        off = np.arange(originals.size).reshape(originals.shape) % 3 == 0
        by = np.arange(4).reshape(4, 1, 1, 1) if split else off
        return np.where(originals > 128, originals - by, originals + by).astype(np.uint8)

    monkeypatch.setattr(evaluation.Drawing, "reconstruct", spoil)
    found = evaluation.reconstruction(run, count=4, seed=0)
    assert asked == 2 * [{"label": True}]
    assert found.numbers["train"]["psnr"] == pytest.approx(10 * np.log10(255**2 * 3))
    # The first is perfect: as if one of its values were off by one.
    levels = [10 * np.log10(255**2 / error) for error in (1 / (16 * 16 * 3), 1, 4, 9)]
    test = found.numbers["test"]
    assert test["psnr"] == pytest.approx(np.mean(levels)) and test["count"] == 4
    half = 1.96 * np.std(levels) / 2
    expected = [np.mean(levels) - half, np.mean(levels) + half]
    assert test["psnr_interval"] == pytest.approx(expected)
    lines = evaluation.table(found.numbers, "reconstruction").splitlines()
    assert lines[0].split() == ["reconstruction", "PSNR", "95%", "interval", "count"]
    assert lines[1].split() == ["train", "52.90", "dB", "52.90", "-", "52.90", "4"]
    assert [heading[:5] for heading, _ in found.sections] == ["train", "test:"]
    grid = found.sections[0][1]
    assert grid.shape[1] > 4 * 2 * 16  # originals beside reconstructions


def test_pictures_are_reconstructed_in_batches_with_all_that_they_have(monkeypatch):
    run = autoencoder()
    monkeypatch.setattr(evaluation, "BATCH", 2)
    source = open_source(run.config, "test")
    _, batch = evaluation.Drawing(run, seed=0).conditions(source, spread(source, 5))
    params, given = run.params, jax.tree.map(jnp.asarray, batch)
    images, values, has = given["image"], given["values"], given["has"]
    h = models.encode(run.model, params, values, has)
    condition = fusion.fuse(params["encoders"]["fusion"], h, has)
    # Moments that the parameters of noise give, or a condition would hardly be seen.
    keys, family = jax.random.split(jax.random.key(0), 5), run.model.generator
    state = family.losses(params, run.state, images, condition, keys, 0).state
    whole = quantise(np.asarray(family.reconstruct(params, state, images, condition)))

    draw = evaluation.Drawing(run._replace(state=state), seed=0)
    found = draw.reconstruct(batch["image"], batch["values"], batch["has"])
    assert np.abs(found.astype(int) - whole).max() <= 1  # of rounding
    nothing = {name: ~there for name, there in batch["has"].items()}
    without = draw.reconstruct(batch["image"], batch["values"], nothing)
    assert np.abs(without.astype(int) - whole).max() > 1


def test_reconstruction_needs_a_family_that_reconstructs(trained):
    with pytest.raises(InputError, match="^metric 'reconstruction' needs .* 'flow' does not$"):
        evaluation.reconstruction(trained, 2, 0)


def test_a_table_shows_what_all_rows_have():
    row = {"rate": 0.25, "count": 8, "chance": 0.125, "interval": [0.0625, 0.5], "other": {}}
    text = evaluation.table({"a": row, "long name": row | {"psnr": 3.0}}, "right")
    assert text.splitlines() == [
        "right       rate  95% interval  chance  count",
        "a          25.0%  6.2% - 50.0%  12.50%      8",
        "long name  25.0%  6.2% - 50.0%  12.50%      8",
    ]


def test_languages_need_two(trained):
    with pytest.raises(InputError, match=r"several config\.data\.languages"):
        evaluation.languages(trained, 2, 0)


def test_a_data_set_without_a_judge_is_refused(trained):
    config = tiny_config(NAMES)
    config.data.name = "emoji"
    with pytest.raises(InputError, match=r"unknown judge 'emoji'; allowed: shapes, digits"):
        evaluation.satisfaction(trained._replace(config=config), 2, 0)
