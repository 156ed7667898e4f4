"""Pictures between latents, and of mixed ones."""

import functools

import jax
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.sampling.interpolation import Mixer
from mmgen_jax.training.run import Trained, sample_options
from tests.tiny import open_source, random_parameters, tiny_config


@functools.cache
def trained(family):
    """A run of random parameters, as `run.load` would give it."""
    config = tiny_config(("label",))
    config.generator.name = family
    model = models.build(config, models.fit(config, open_source(config)))
    init = functools.partial(models.init, model)
    params, _ = random_parameters(init, equalized=family == "stylegan")
    state = jax.jit(lambda key: init(key)[1])(jax.random.key(0))
    return Trained(config=config, model=model, params=params, state=state, step=1)


def mixer(family, raws=None):
    it = trained(family)
    options = sample_options(it.config)
    return Mixer(it, {"label": "top"} if raws is None else raws, options)


@pytest.fixture(scope="module")
def styles():
    return mixer("stylegan")


@pytest.mark.parametrize("family", ["gan", "stylegan", "autoencoder", "vae"])
def test_a_row_goes_from_one_picture_to_the_other(family):
    it = mixer(family)
    grid = it.interpolation(rows=3, columns=4, seed=5)
    assert grid.shape == (3, 4, 16, 16, 3) and grid.dtype == np.uint8
    ends = it.latents([0, 1, 2, 3, 4, 5], seed=5)
    for column, which in ((0, ends[0::2]), (3, ends[1::2])):
        shown = it.pictures(which, np.arange(3), seed=5)
        np.testing.assert_allclose(grid[:, column].astype(int), shown, atol=1)
    assert all((grid[:, k] != grid[:, k + 1]).any() for k in range(3))


def test_mixing_takes_only_the_layers_that_are_named(styles):
    layers = styles.latents([0], 0).shape[1]
    rows, columns = 2, 3
    whole = styles.mixture(rows, columns, range(layers), seed=1)
    part = styles.mixture(rows, columns, range(2), seed=1)
    for grid in (whole, part):
        assert grid.shape == (rows + 1, columns + 1, 16, 16, 3)
        assert (grid[0, 0] == 255).all()
    np.testing.assert_array_equal(whole[0, 1:], part[0, 1:])
    np.testing.assert_array_equal(whole[1:, 0], part[1:, 0])
    # All layers of a column: its latents, with the row's noise.
    latents = styles.latents([*range(rows + columns)], seed=1)
    expected = styles.pictures(latents[rows:], np.zeros(columns, int), seed=1)
    np.testing.assert_array_equal(whole[1, 1:], expected)
    assert (part[1, 1:] != expected).any() and (part[1, 1] != part[1, 0]).any()


def test_a_latent_does_not_depend_on_the_others(styles):
    many = styles.latents([*range(40)], seed=2)  # more than one batch
    np.testing.assert_array_equal(styles.latents([37], seed=2)[0], many[37])
    assert (styles.latents([37], seed=3) != many[37]).any()


def test_latents_are_of_the_condition(styles):
    top, bottom, none = (
        it.latents([0, 1], seed=0)
        for it in (styles, mixer("stylegan", {"label": "bottom"}), mixer("stylegan", {}))
    )
    for one, other in ((top, bottom), (top, none)):
        assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize("layers", [range(5, 9), range(3, 3)])
def test_layers_that_are_not_there_are_refused(styles, layers):
    with pytest.raises(InputError, match="allowed: within 0-5"):
        styles.mixture(1, 2, layers, seed=0)


def test_families_that_cannot_are_refused():
    with pytest.raises(InputError, match="family 'flow' has no latents"):
        mixer("flow")
    with pytest.raises(InputError, match="allowed: a family with more than one layer"):
        mixer("gan").mixture(1, 2, range(1), seed=0)
