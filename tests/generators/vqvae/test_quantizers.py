"""Quantizers against their definitions: what is chosen, what learns, what is counted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.vqvae import quantizers

LEVELS = (4, 3, 5)
ROWS, PLACES = 6, 5


def vectors(width, seed=0, scale=1.0):
    noise = np.random.default_rng(seed).normal(size=(ROWS, PLACES, width))
    return jnp.asarray(scale * noise, jnp.float32)


def keys():
    return jax.random.split(jax.random.key(0), ROWS)


def ema(codes=8, width=3, decay=0.9, commitment=0.25, restart_below=0.1):
    return quantizers.ema(codes, width, decay, commitment, restart_below)


def test_straight_through_is_the_value_with_the_gradient_of_the_other():
    x = jnp.array([0.2, 1.7])
    value, gradient = jax.value_and_grad(
        lambda x: (quantizers.straight_through(jnp.round(x), x) * jnp.array([3.0, 5.0])).sum()
    )(x)
    assert value == 10
    np.testing.assert_array_equal(gradient, [3, 5])


def test_fsq_is_a_bijection_between_codes_and_grid_points():
    fsq = quantizers.fsq(LEVELS, 0.9)
    ids = jnp.arange(fsq.codes)[None]
    latents = fsq.embed({}, ids)
    assert len({tuple(point) for point in np.asarray(latents[0]).round(4)}) == fsq.codes == 60
    np.testing.assert_array_equal(fsq.tokens({}, latents), ids)
    # Levels lie evenly in [-1, 1], those of an even number from -1 on.
    expected = itertools.product([-1, 0, 1], [-1, -0.5, 0, 0.5], [-1, -0.5, 0, 0.5, 1])
    found = {(b, a, c) for a, b, c in np.asarray(latents[0], float)}
    assert found == set(expected)


def test_fsq_reaches_every_level_and_no_other():
    fsq = quantizers.fsq(LEVELS, 0.9)
    settled = fsq.settle({}, vectors(3, scale=5.0))
    np.testing.assert_array_equal(fsq.embed({}, fsq.tokens({}, settled)), settled)
    line = jnp.linspace(-20, 20, 2001)[None, :, None]
    for axis, count in enumerate(LEVELS):
        reached = fsq.settle({}, jnp.tile(line, (1, 1, 3)))[0, :, axis]
        assert len(np.unique(reached)) == count


def test_fsq_rounds_what_it_bounds_and_passes_the_gradient_of_the_bound():
    fsq, x = quantizers.fsq(LEVELS, 0.9), vectors(3)
    weights = vectors(3, seed=1)

    def through(x):
        made = fsq.quantise({"use": jnp.zeros(60)}, x, keys(), jnp.zeros((), jnp.int32))
        return (made.vectors * weights).sum()

    def bounded(x):  # eq. of section 3: an even number of levels is shifted by a half
        offset = jnp.array([0.5, 0.0, 0.0])
        reach = (jnp.array(LEVELS) - 1) * (1 + quantizers.ROUNDING) / 2
        y = jnp.tanh(x + jnp.arctanh(offset / reach)[None, None]) * reach[None, None]
        return ((y - offset[None, None]) / jnp.array([2.0, 1.0, 2.0])[None, None] * weights).sum()

    np.testing.assert_allclose(jax.grad(through)(x), jax.grad(bounded)(x), rtol=1e-5, atol=1e-6)


def test_the_nearest_code_is_chosen():
    book = ema()
    state, x = book.init(jax.random.key(1)), quantizers.unit(vectors(3))
    distance = np.square(np.asarray(x)[:, :, None] - np.asarray(state["codes"])).sum(-1)
    np.testing.assert_array_equal(book.tokens(state, x), distance.argmin(-1))
    np.testing.assert_array_equal(
        book.settle(state, x), np.asarray(state["codes"])[distance.argmin(-1)]
    )


def test_the_encoder_pays_its_distance_and_the_decoders_gradient_goes_through():
    book = ema()
    state, x, weights = book.init(jax.random.key(1)), vectors(3), vectors(3, seed=1)
    count = jnp.array(5, jnp.int32)

    def ours(x):
        made = book.quantise(state, x, keys(), count)
        return (made.vectors * weights).sum() + made.loss

    def written_down(x):
        chosen = state["codes"][book.tokens(state, quantizers.unit(x))]
        unit = quantizers.unit(x)
        return (unit * weights).sum() + 0.25 * jnp.square(unit - chosen).sum(-1).mean()

    np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(written_down)(x), rtol=1e-4, atol=1e-6)


def test_codes_follow_the_mean_of_what_chose_them():
    book = ema(restart_below=0.0)
    state, x = book.init(jax.random.key(1)), quantizers.unit(vectors(3))
    state |= {"sums": state["codes"] / 8, "use": jnp.full(8, 1 / 8)}
    count = 30
    rate = min(0.9, count / (count + 10))
    new = book.quantise(state, x, keys(), jnp.array(count, jnp.int32)).state
    ids = np.asarray(book.tokens(state, x)).ravel()
    flat, total = np.asarray(x).reshape(-1, 3), ROWS * PLACES
    for code in range(8):
        mine = flat[ids == code]
        expected = rate * np.asarray(state["codes"][code]) / 8 + (1 - rate) * mine.sum(0) / total
        np.testing.assert_allclose(
            new["codes"][code], expected / np.linalg.norm(expected), atol=1e-5
        )
        assert new["use"][code] == pytest.approx(rate / 8 + (1 - rate) * len(mine) / total)


def test_codes_that_nothing_chooses_start_again_at_vectors_of_the_batch():
    book = ema(codes=8, restart_below=0.5)
    state, x = book.init(jax.random.key(1)), quantizers.unit(vectors(3))
    state |= {"sums": state["codes"] / 8, "use": jnp.array([0.0, *[1 / 7] * 7])}
    made = book.quantise(state, x, keys(), jnp.array(10**6, jnp.int32))
    dead = (
        np.asarray(0.9 * state["use"])
        + 0.1
        * np.bincount(np.asarray(book.tokens(state, x)).ravel(), minlength=8)
        / (ROWS * PLACES)
        < 0.5 / 8
    )
    flat = np.asarray(x).reshape(-1, 3)
    for code in np.flatnonzero(dead):
        assert np.abs(flat - np.asarray(made.state["codes"][code])).sum(-1).min() < 1e-5
        assert made.state["use"][code] == pytest.approx(1 / 8)
    assert made.metrics["restarts"] == dead.sum() > 0


def test_the_first_batch_starts_every_code():
    book, x = ema(), quantizers.unit(vectors(3))
    made = book.quantise(book.init(jax.random.key(1)), x, keys(), jnp.zeros((), jnp.int32))
    chosen = np.bincount(np.asarray(book.tokens(book.init(jax.random.key(1)), x)).ravel())
    assert made.metrics["restarts"] == 8 - (chosen / (ROWS * PLACES) >= 0.1 / 8).sum()


def test_use_perplexity_and_dead_codes_are_of_frequencies():
    use = jnp.array([0.5, 0.25, 0.25, 0.0])
    metrics = quantizers.usage(use, use == 0)
    assert metrics["usage"] == 0.75
    assert metrics["dead_codes"] == 1
    assert metrics["perplexity"] == pytest.approx(2**1.5)


def test_a_gaussians_divergence_is_that_of_drawn_samples():
    quantizer = quantizers.gaussian(2, 0.1)
    x = jnp.tile(jnp.array([0.5, -1.0, 0.3, -0.7]), (1, 20_000, 1))
    made = quantizer.quantise({}, x, jax.random.split(jax.random.key(3), 1), None)
    mean, deviation = np.array([0.5, -1.0]), np.exp([0.15, -0.35])
    z = np.asarray(made.vectors[0], float)
    log_q = -0.5 * ((z - mean) / deviation) ** 2 - np.log(deviation)
    drawn = (log_q + 0.5 * z**2).mean(0)
    assert made.metrics["kl"] == pytest.approx(drawn.mean(), rel=0.02)
    assert made.loss == pytest.approx(0.1 * made.metrics["kl"])
    np.testing.assert_array_equal(quantizer.settle({}, x), x[..., :2])
