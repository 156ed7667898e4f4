"""How a tokenizer uses its codes, counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics.codes import codes, use
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.generators.vqvae import family
from mmgen_jax.training.run import Trained
from tests.tiny import family_options, open_source, tiny_config


def trained(**changes):
    config = tiny_config(("label",))
    config.generator.name = "vqvae"
    config.generator.vqvae.update(changes)
    model = models.build(config, models.fit(config, open_source(config)))
    params, state = jax.jit(lambda: models.init(model, jax.random.key(0)))()
    return Trained(config, model, params, state, 0)


def test_numbers_are_those_of_one_pass():
    found = use(np.array([[0, 0, 1], [1, 3, 0]]), 5)
    entropy = -(0.5 * np.log(0.5) + np.log(1 / 3) / 3 + np.log(1 / 6) / 6)
    assert found == {
        "usage": 3 / 5,
        "perplexity": pytest.approx(np.exp(entropy)),
        "tokens": 6,
        "count": 2,
    }


def test_every_picture_is_read_once():
    run, count = trained(), 5
    found = codes(Asked(run, count, 0))
    draw, codec = (
        Drawing(run, 0),
        family.codec(family_options("vqvae", run.config.generator.vqvae), 16, 16, "float32"),
    )
    params = family.freeze(run.params, run.state)
    for split in ("train", "test"):
        images = jnp.asarray(draw.spread(draw.open(split), count).images)
        ids = np.asarray(codec.tokens(params, codec.encode(params, images)))
        assert found.numbers[split] == use(ids, codec.codes)
    assert [heading.partition(":")[0] for heading, _ in found.sections] == ["train", "test"]


@pytest.mark.parametrize("changes", [{"quantizer": "kl"}, {}])
def test_what_has_no_codes_is_refused(changes):
    run = trained(**changes)
    if not changes:
        run.config.generator.name = "flow"
    with pytest.raises(InputError, match="metric 'codes' needs a run of a tokenizer with codes"):
        codes(Asked(run, 2, 0))
