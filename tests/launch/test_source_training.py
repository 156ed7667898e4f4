"""Runs that are fed from files, bad ones among them, go on bit for bit: alone, or two processes."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests import folders, prepared
from tests.launching import launch, python
from tests.layouts import Layout, finish, start
from tests.runs import everything, logged

STEPS = 6  # RECIPE's
RECORDS = 40
TORN = (5, 17)
COLOURS = ("red", "green", "blue")
RECIPE = """
from tests.toy_recipe import get_config as toy


def get_config():
    config = toy()
    config.data.image_size = 8
    config.data.on_bad_record = "skip"
    config.modalities.names = ("label", "text")
    config.modalities.text.vocabulary_size = 260
    config.modalities.text.width, config.modalities.text.num_heads = 8, 2
    config.train.batch_size, config.train.steps = 8, 6
    config.checkpoint.every = 2
    return config
"""


def as_folder(path):
    """Torn files are found when the folder is opened, by each process."""
    lines = []
    for k in range(RECORDS):
        folders.paint(path / f"{k}.png", size=(8, 8))
        lines.append({"file_name": f"{k}.png", "label": COLOURS[k % 3], "text": f"number {k}"})
    for k in TORN:
        torn = path / f"{k}.png"
        torn.write_bytes(torn.read_bytes()[:-40])
    folders.write(path, *lines)
    return f"--config.data.path={path}", "--config.data.split=all"


def as_tfds(path):
    """Torn pictures are found when they are read, by the one process that is to be fed them."""
    features = {
        "image": tfds.features.Image(),
        "text": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=COLOURS),
    }
    examples = []
    for k in range(RECORDS):
        image = prepared.png(prepared.noise(8, 8)).getvalue()
        image = io.BytesIO(image[:-40] if k in TORN else image)
        examples.append({"image": image, "text": f"number {k}", "label": k % 3})
    folder = prepared.prepare(path, "numbers:1.0.0", features, train=examples)
    return f"--config.data.path={folder}", "--config.data.target=image", "--config.eval.split=train"


def train_alone(*flags):
    done = launch("launch/train.py", *flags)
    assert done.code == 0, done.err


def train_as_two(*flags):
    first, second = finish(start(Layout(1, processes=2), "launch/train.py", *flags))
    assert (first.code, second.code) == (0, 0), first.err + second.err


def report(workdir):
    return json.loads((workdir / "skipped_records.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "trains"),
    [
        (as_tfds, (train_alone,)),
        pytest.param(as_tfds, (train_alone, train_as_two), marks=pytest.mark.slow),
        pytest.param(as_folder, (train_alone, train_as_two), marks=pytest.mark.slow),
    ],
    ids=["tfds", "tfds, two processes", "folder, two processes"],
)
def test_a_run_goes_on_bit_for_bit(recipe, tmp_path, source, trains):
    name = source.__name__.removeprefix("as_")
    flags = (recipe, f"--config.data.name={name}", *source(tmp_path / "data"))
    for train in trains:
        whole, run = tmp_path / train.__name__, tmp_path / f"{train.__name__}_again"
        train(*flags, f"--workdir={whole}")
        shutil.copytree(whole, run)
        for step in (4, STEPS):
            shutil.rmtree(run / "checkpoints" / str(step))
        (run / "skipped_records.json").unlink()
        train(*flags, f"--workdir={run}")
        assert everything(run, STEPS) == everything(whole, STEPS)
        assert logged(run) == logged(whole)
        assert report(run) == report(whole)
    for train in trains[1:]:
        assert report(tmp_path / train.__name__) == report(tmp_path / "train_alone")
    assert report(tmp_path / "train_alone")["count"] == len(TORN)


@pytest.mark.slow
def test_other_processes_feed_the_same_run(recipe, tmp_path):
    flags = (recipe, "--config.data.name=tfds", *as_tfds(tmp_path / "data"))
    train_alone(*flags, f"--workdir={tmp_path / 'threads'}")
    workers = ("--config.data.workers=1", f"--workdir={tmp_path / 'workers'}")
    done = python("launch/train.py", *flags, *workers)
    assert done.code == 0, done.err
    assert everything(tmp_path / "workers", STEPS) == everything(tmp_path / "threads", STEPS)
    assert report(tmp_path / "workers") == report(tmp_path / "threads")
    losses = [[line["loss"] for line in logged(tmp_path / run)] for run in ("threads", "workers")]
    assert np.isfinite(losses).all() and losses[0] == losses[1]
    # Who prepares batches is no part of what is trained: a run goes on with others.
    shutil.rmtree(tmp_path / "workers" / "checkpoints" / str(STEPS))
    train_alone(*flags, f"--workdir={tmp_path / 'workers'}")
    assert everything(tmp_path / "workers", STEPS) == everything(tmp_path / "threads", STEPS)
