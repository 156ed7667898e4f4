"""A run of every family is evaluated on every subset, and alike on one device and on eight."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmgen_jax.evaluation.run_sampler import subsets
from mmgen_jax.training import loop
from tests.layouts import LAYOUTS, finish, start
from tests.tiny import tiny_config

NAMES = ("text", "label")
FAMILIES = ("autoencoder", "vae", "vqvae", "gan", "stylegan", "dalle", "flow")
METRICS = ("satisfaction", "fid", "kid", "is", "prdc")
OWN = {"autoencoder": "reconstruction", "vae": "likelihood", "vqvae": "codes"}  # besides
COUNT = 40


def config(family, tokenizer):
    config = tiny_config(NAMES)
    config.generator.name = family
    config.train.batch_size, config.train.steps = 4, 2
    if family == "dalle":
        config.tokenizer.family, config.tokenizer.run = "vqvae", str(tokenizer)
        config.objective.recovery_patch_size = 2
    return config


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """By layout and family, what was found."""
    top = tmp_path_factory.mktemp("runs")
    for family in FAMILIES:
        loop.train(config(family, top / "vqvae"), top / family)
    found = {}
    for layout in ("one", "data"):
        out = tmp_path_factory.mktemp(layout)
        runs = [top / family for family in FAMILIES]
        (done,) = finish(start(LAYOUTS[layout], "-m", __name__, out, *runs))
        assert done.code == 0, done.err
        found[layout] = {
            f: json.loads((out / f"{f}.json").read_text(encoding="utf-8")) for f in FAMILIES
        }
    return found


@pytest.mark.slow  # minutes, most of them compiling
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_evaluated_alike_on_one_device_and_on_eight(reports, family):
    one, eight = (reports[layout][family] for layout in ("one", "data"))
    shared = ["satisfaction", *(f"{k}(pixels)" for k in ("fd", "kd", "cs", "prdc"))]
    assert list(one) == [*shared, *([OWN[family]] if family in OWN else [])]
    names = ["+".join(subset) for subset in subsets(NAMES)]
    assert list(one["satisfaction"]) == [*names, *(f"heldout:{name}" for name in names)]
    for metric, rows in one.items():
        for row, numbers in rows.items():
            for name, value in numbers.items():
                other = eight[metric][row][name]
                if isinstance(value, float):
                    assert other == pytest.approx(value, rel=1e-6, abs=1e-9), (metric, row, name)
                elif name not in ("interval", "marginals"):
                    assert other == value, (metric, row, name)


def pixels(asked, data):
    """An extractor from outside: the picture, coarse."""
    from mmgen_jax.evaluation.features import Extractor, titles

    def read(pictures):
        rows = np.stack([np.asarray(p, np.float32).reshape(4, 4, 4, 4, 3) for p in pictures])
        features = rows.mean((2, 4)).reshape(len(rows), -1)[:, ::2]
        return features, features[:, :5] / 50

    return Extractor("pixels", "0" * 64, 24, read, titles("pixels"))


def evaluate(out, *runs):
    from mmgen_jax.evaluation import report
    from mmgen_jax.evaluation.features import EXTRACTORS, Extraction
    from mmgen_jax.evaluation.request import Asked
    from mmgen_jax.training import run

    EXTRACTORS.register("pixels", pixels)
    for workdir in map(Path, runs):
        asked = Asked(run.load(workdir), COUNT, 0, None, Extraction("pixels"), Path(out) / "kept")
        family = asked.trained.config.generator.name
        own = [OWN[family]] if family in OWN else []
        found, _ = report.evaluate(asked, [*METRICS, *own])
        (Path(out) / f"{workdir.name}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    evaluate(*sys.argv[1:])
