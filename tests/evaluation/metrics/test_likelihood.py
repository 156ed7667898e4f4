"""Bounds on log likelihoods: of weights by hand, of a model whose likelihood is known, of a VAE."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmgen_jax import model as models
from mmgen_jax.conditioning import fusion
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS, likelihood
from mmgen_jax.evaluation.report import table
from mmgen_jax.evaluation.request import Asked
from mmgen_jax.evaluation.run_sampler import Drawing
from mmgen_jax.training.run import Trained
from tests.tiny import open_source, random_parameters, tiny_config, tiny_model

NAMES = ("text", "label")
ROWS = 6


@functools.cache
def trained():
    """A run of a VAE with parameters of noise."""
    config = tiny_config(NAMES)
    config.generator.name = "vae"
    model = models.build(config, models.fit(config, open_source(config)))
    params, state = random_parameters(lambda key: models.init(model, key))
    return Trained(config, model, params, state, 0)


def test_bounds_by_hand():
    """Two pictures of 2 dimensions, with weights 1/4 and 1/4, and 1/2 and 1/8."""
    found = likelihood.bounds(np.log([[0.25, 0.25], [0.5, 0.125]]).astype(np.float32), 2)
    elbo, iwae = [1.0, (0.5 + 1.5) / 2], [1.0, -np.log2(0.3125) / 2]
    for name, bits in (("elbo", elbo), ("iwae", iwae)):
        assert found[name] == pytest.approx(np.mean(bits), rel=1e-6)
        assert found[f"{name}_error"] == pytest.approx(np.std(bits) / 2**0.5, abs=1e-6)
    assert (found["samples"], found["count"]) == (2, 2)


def test_many_small_weights_do_not_vanish():
    found = likelihood.bounds(np.full((3, 4), -5_000, np.float32), 10)
    assert [found["iwae"], found["elbo"]] == pytest.approx([500 / np.log(2)] * 2)


# A linear-Gaussian model: z ~ N(0, 1), the first value of x = 2 z + N(0, 1/4), so x ~ N(0, 4.25).
SLOPE, NOISE = 2.0, 0.5


def linear_gaussian(mean_share, deviation):
    """A run whose posterior is N(share * x, deviation^2); the true one has 8/17 and 0.2425."""

    def log_weight(params, state, images, condition, keys):
        x = images[:, 0, 0, 0]
        noise = jax.vmap(jax.random.normal)(keys)
        z = mean_share * x + deviation * noise
        log = jax.scipy.stats.norm.logpdf
        of_x = log(x, SLOPE * z, NOISE)
        return of_x + log(z) - log(z, mean_share * x, deviation)

    run = trained()
    generator = run.model.generator._replace(log_weight=log_weight)
    return run._replace(model=run.model._replace(generator=generator))


def weights_of(run, samples, rows=400):
    x = stats.norm(0, (SLOPE**2 + NOISE**2) ** 0.5).rvs(rows, random_state=1)
    images = np.zeros((rows, 16, 16, 3), np.float32)
    images[:, 0, 0, 0] = x
    modalities = run.model.modalities
    repeat = lambda x: np.repeat(np.asarray(x)[None], rows, axis=0)  # noqa: E731
    values = {name: jax.tree.map(repeat, m.absent) for name, m in modalities.items()}
    has = {name: np.zeros(rows, bool) for name in modalities}
    exact = stats.norm(0, (SLOPE**2 + NOISE**2) ** 0.5).logpdf(images[:, 0, 0, 0])
    return likelihood.log_weights(run, images, values, has, 0, samples), exact


def test_more_samples_come_nearer_to_the_exact_likelihood_of_a_linear_gaussian_model():
    weights, exact = weights_of(linear_gaussian(0.4, 0.5), 512)
    exact = -exact.mean() / np.log(2)
    ks = (1, 4, 64, 512)
    costs = [likelihood.bounds(weights[:, :k], 1)["iwae"] for k in ks]
    assert all(a > b + 0.003 for a, b in itertools.pairwise(costs)), costs
    assert costs[0] > exact + 0.5 and costs[-1] == pytest.approx(exact, abs=0.02)


def test_with_the_true_posterior_every_weight_is_the_likelihood():
    precision = 1 + (SLOPE / NOISE) ** 2
    run = linear_gaussian(SLOPE / NOISE**2 / precision, precision**-0.5)
    weights, exact = weights_of(run, 3, rows=5)
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 3, axis=1), atol=1e-4)


# A VAE.


def test_elbo_and_iwae_of_unseen_pictures_given_everything_and_nothing(monkeypatch):
    monkeypatch.setattr(likelihood, "BATCH", 4)  # more than one, the last not full
    run = trained()
    found = likelihood.likelihood(Asked(run, ROWS, 0))
    assert list(found.numbers) == ["text+label", "nothing"]
    for row in found.numbers.values():
        assert row["samples"] == 64 and row["count"] == ROWS
        assert row["iwae"] < row["elbo"] < 100 and 0 < row["iwae_error"] < row["iwae"]
    assert found.numbers["nothing"]["iwae"] != found.numbers["text+label"]["iwae"]
    lines = table(METRICS["likelihood"], found.numbers, "likelihood").splitlines()
    assert lines[0].split()[:4] == ["likelihood", "ELBO,", "bits/dim", "+-"]
    assert [heading[:13] for heading, _ in found.sections] == ["given text+la", "given nothing"]


def test_a_picture_is_weighed_by_itself(monkeypatch):
    """The same weights whatever the batches are, as many samples as are asked for."""
    run = trained()
    part = Drawing(run, 0).whole(open_source(run.config, "test"), range(ROWS))
    inputs = part.images, part.values, part.has
    whole = likelihood.log_weights(run, *inputs, 0, 3)
    monkeypatch.setattr(likelihood, "BATCH", 4)
    np.testing.assert_allclose(likelihood.log_weights(run, *inputs, 0, 3), whole, rtol=1e-4)
    assert whole.shape == (ROWS, 3) and len(np.unique(whole)) == whole.size
    keys = [
        [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), row), k) for row in range(ROWS)]
        for k in range(3)
    ]
    values, has = jax.tree.map(jnp.asarray, inputs[1:])
    h = models.encode(run.model, run.params, values, has)
    condition = fusion.fuse(run.params["encoders"]["fusion"], h, has)
    weigh = jax.jit(run.model.generator.log_weight)
    for k in range(3):
        alone = weigh(run.params, {}, jnp.asarray(inputs[0]), condition, jnp.stack(keys[k]))
        np.testing.assert_allclose(whole[:, k], alone, rtol=1e-4)


def test_it_needs_a_posterior(monkeypatch):
    """Refused before anything is read or compiled."""
    monkeypatch.setattr(Asked, "drawing", None)
    run = Trained(tiny_config(NAMES), tiny_model(NAMES), {}, {}, 0)
    with pytest.raises(InputError, match="^metric 'likelihood' needs .*; 'flow' has none$"):
        likelihood.likelihood(Asked(run, 2, 0))
