"""Reconstruction, of an autoencoder and of what is known to be wrong by so much."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.conditioning import fusion
from mmgen_jax.data.pipeline import spread
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation import run_sampler
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.metrics.reconstruction import reconstruction
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.media.images import quantise
from mmgen_jax.training.run import Trained
from tests.tiny import open_source, random_parameters, tiny_config, tiny_model

NAMES = ("text", "label", "audio")


@pytest.fixture(scope="module")
def trained():
    return Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)


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

    def spoil(self, part):
        split = len(asked)
        source = open_source(run.config, ("train", "test")[split])
        originals = np.stack([source[i].image for i in spread(source, 4)])
        np.testing.assert_array_equal(quantise(part.images), originals)
        asked.append({name: there.all() for name, there in part.has.items()})
        off = np.arange(originals.size).reshape(originals.shape) % 3 == 0
        by = np.arange(4).reshape(4, 1, 1, 1) if split else off
        return np.where(originals > 128, originals - by, originals + by).astype(np.uint8)

    monkeypatch.setattr(Drawing, "reconstruct", spoil)
    found = reconstruction(Asked(run, 4, 0))
    assert asked == 2 * [{"label": True}]
    assert found.numbers["train"]["psnr"] == pytest.approx(10 * np.log10(255**2 * 3))
    # The first is perfect: as if one of its values were off by one.
    levels = [10 * np.log10(255**2 / error) for error in (1 / (16 * 16 * 3), 1, 4, 9)]
    test = found.numbers["test"]
    assert test["psnr"] == pytest.approx(np.mean(levels)) and test["count"] == 4
    half = 1.96 * np.std(levels) / 2
    expected = [np.mean(levels) - half, np.mean(levels) + half]
    assert test["psnr_interval"] == pytest.approx(expected)
    lines = table(METRICS["reconstruction"], found.numbers, "reconstruction").splitlines()
    assert lines[0].split() == ["reconstruction", "PSNR", "95%", "interval", "count"]
    assert lines[1].split() == ["train", "52.90", "dB", "52.90", "-", "52.90", "4"]
    assert [heading[:5] for heading, _ in found.sections] == ["train", "test:"]
    grid = found.sections[0][1]
    assert grid.shape[1] > 4 * 2 * 16  # originals beside reconstructions


def test_pictures_are_reconstructed_in_batches_with_all_that_they_have(monkeypatch):
    run = autoencoder()
    monkeypatch.setattr(run_sampler, "BATCH", 2)
    source = open_source(run.config, "test")
    part = Drawing(run, 0).spread(source, 5)
    params, given = run.params, (part.images, part.values, part.has)
    images, values, has = jax.tree.map(jnp.asarray, given)
    h = models.encode(run.model, params, values, has)
    condition = fusion.fuse(params["encoders"]["fusion"], h, has)
    # Moments that the parameters of noise give, or a condition would hardly be seen.
    keys, family = jax.random.split(jax.random.key(0), 5), run.model.generator
    state = family.losses(params, run.state, images, condition, keys, 0).state
    whole = quantise(np.asarray(family.reconstruct(params, state, images, condition)))

    draw = Drawing(run._replace(state=state), 0)
    found = draw.reconstruct(part)
    assert np.abs(found.astype(int) - whole).max() <= 1  # of rounding
    without = draw.reconstruct(part.given(()))
    assert np.abs(without.astype(int) - whole).max() > 1


def test_reconstruction_needs_a_family_that_reconstructs(trained):
    with pytest.raises(InputError, match="^metric 'reconstruction' needs .* 'flow' does not$"):
        reconstruction(Asked(trained, 2, 0))
