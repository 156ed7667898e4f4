"""Which of several draws is kept."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.objective import recover
from mmgen_jax.sampling.inputs import given_part
from mmgen_jax.sampling.sample import Known, best_of, kept_whole, sample
from mmgen_jax.training.run import sample_options
from tests.tiny import open_source, random_parameters, tiny_batch, tiny_config, tiny_model

ROWS, COUNT = 4, 6


def keys():
    return jax.random.split(jax.random.key(0), ROWS)


def test_the_best_of_several_draws_is_kept_row_by_row():
    draw = lambda keys: jax.vmap(lambda key: jax.random.normal(key, (2, 2, 1)))(keys)  # noqa: E731
    found = best_of(draw, lambda x: x.sum(axis=(1, 2, 3)), keys(), COUNT)
    for row, key in enumerate(keys()):
        drawn = [jax.random.normal(jax.random.fold_in(key, k), (2, 2, 1)) for k in range(COUNT)]
        best = max(drawn, key=lambda x: float(x.sum()))
        np.testing.assert_allclose(found[row], best, rtol=1e-6)


def test_a_latent_is_kept_whose_pixels_all_are():
    keep = np.ones((1, 4, 6), bool)
    keep[0, 1, 5] = keep[0, 2, 0] = False
    found = kept_whole(jnp.asarray(keep), (2, 3))
    np.testing.assert_array_equal(found, [[[True, True, False], [False, True, True]]])


def test_what_lies_under_the_mask_does_not_matter_and_the_rest_stays():
    """In latents, whose encoder looks at all of a picture."""
    config = tiny_config(("label",))
    config.tokenizer.family, config.generator.vqvae.quantizer = "vqvae", "kl"
    config.objective.recovery_patch_size, config.generator.flow.patch_size = 2, 2
    model = models.build(config, models.fit(config, open_source(config)))
    params, state = random_parameters(functools.partial(models.init, model))
    batch, rows = tiny_batch(("label",)), 8
    keep = jnp.zeros((rows, 16, 16), bool).at[:, :, :8].set(True)
    weights, options = {"label": jnp.ones(rows)}, sample_options(config)
    own = jax.random.split(jax.random.key(0), rows)

    @jax.jit
    def draw(images):
        given = (batch.values, batch.has, weights, own, options)
        return sample(model, params, state, *given, known=Known(images, keep))

    found, other = draw(batch.images), draw(jnp.where(keep[..., None], batch.images, 0.9))
    np.testing.assert_array_equal(found, other)
    np.testing.assert_array_equal(found[:, :, :8], batch.images[:, :, :8])
    assert (found != draw(batch.images.at[:, 0, 0].add(0.5)))[:, :, 8:].any()


def masked(tmp_path, mask):
    """What `given_part` makes of a gray picture and a mask, for a model of 16 x 16 pixels."""
    Image.new("RGB", (32, 32), "gray").save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    model = tiny_model(("label",))
    return given_part(model, str(tmp_path / "photo.png"), str(tmp_path / "mask.png"), 2)


def half_white(mode="L"):
    mask = Image.new("L", (32, 32))
    mask.paste(255, (16, 0, 32, 32))
    return mask.convert(mode)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P", "LA"])
def test_a_mask_is_redrawn_where_it_is_white(tmp_path, mode):
    keep = masked(tmp_path, half_white(mode)).keep
    assert keep.shape == (2, 16, 16) and keep[..., :8].all() and not keep[..., 8:].any()


def test_a_mask_with_transparency_is_refused(tmp_path):
    """As one program cuts holes where another paints: today's reading inverted one of them."""
    painted, erased = (
        Image.new("RGBA", (32, 32), (0, 0, 0, 0)),
        Image.new("RGBA", (32, 32), "black"),
    )
    painted.paste((255, 255, 255, 255), (16, 0, 32, 32))
    erased.paste((0, 0, 0, 0), (16, 0, 32, 32))
    for mask in (painted, erased):
        with pytest.raises(InputError, match=r"mask\.png: the mask has transparency"):
            masked(tmp_path, mask)


def test_a_mask_that_leaves_nothing_to_redraw_is_refused(tmp_path, capfd):
    speck = Image.new("L", (32, 32))
    speck.putpixel((0, 0), 255)  # which is lost where the picture is made smaller
    for mask in (Image.new("L", (32, 32)), speck):
        with pytest.raises(InputError, match=r"mask\.png leaves nothing to redraw of the 16 x 16"):
            masked(tmp_path, mask)
    assert not masked(tmp_path, Image.new("L", (32, 32), 255)).keep.any()
    assert "white all over: nothing of --inpaint" in capfd.readouterr().out


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_the_label_that_is_given_and_weighed_ranks(weight):
    """By its head on real draws; a weight of 0 leaves nothing to rank by, and the first stays."""
    model, batch = tiny_model(("label",)), tiny_batch(("label",))
    # What is ranked is not cut off at [-1, 1] yet.
    model = model._replace(codec=model.codec._replace(decode=lambda params, latents: latents))
    options = sample_options(tiny_config(("label",)))
    params, state = random_parameters(functools.partial(models.init, model))
    weights, there = {"label": jnp.full(8, weight)}, {"label": jnp.ones(8, bool)}
    own = jax.random.split(jax.random.key(0), 8)

    @functools.partial(jax.jit, static_argnums=1)
    def draw(keys, candidates):
        chosen = replace(options, candidates=candidates)
        given = (batch.values, there, weights)
        images = sample(model, params, state, *given, keys, chosen)
        h = models.encode(model, params, batch.values, there)
        found = recover(model.modalities, params["recovery"], images, batch.values, h)
        return images, found["label"].ranking

    each = [draw(jax.vmap(lambda k, c=c: jax.random.fold_in(k, c))(own), 1) for c in range(COUNT)]
    scores = np.stack([score for _, score in each])
    best = scores.argmax(axis=0) if weight else np.zeros(8, int)
    assert len(set(scores.argmax(axis=0))) > 1
    several, _ = draw(own, COUNT)
    for row, candidate in enumerate(best):
        np.testing.assert_allclose(several[row], each[candidate][0][row], atol=1e-5)
