"""Flow matching: loss and solvers in closed form, the law of the draws, rows by themselves."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.generators.flow import family
from mmgen_jax.nn.patches import sequence_positions
from tests.tiny import family_options, random_parameters, sampling_options

SIZE = 8
PREDICTIONS = ("velocity", "x")


def _options(**changes):
    tiny = dict(patch_size=4, width=16, depth=1, num_heads=2, base_size=SIZE)
    return family_options("flow", **(tiny | changes))


def _sampling(**changes):
    return sampling_options("flow", **changes)


def _build(monkeypatch, network, size=SIZE, **changes):
    """A generator whose network is `network(noisy, timestep, vector)`, without parameters."""
    apply = lambda _, noisy, timestep, *inputs: network(noisy, timestep, inputs[-1])  # noqa: E731
    fake = SimpleNamespace(apply=apply)
    monkeypatch.setitem(family.ARCHITECTURES, "mmdit", lambda options, dtype: fake)
    return family.build(_options(**changes), pixels(size, size), "float32")


def _keys(rows, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _condition(rows, seed=0):
    mask = jnp.ones((rows, 3), bool)
    mean, precision = _normal(rows, 2, seed=seed + 1), _normal(rows, 2, seed=seed + 2)
    return Condition(
        _normal(rows, 3, 5, seed=seed), mask, sequence_positions(3), mean, precision, {}
    )


def _one_pass(condition):
    return Guidance(condition, jnp.ones((1, condition.mean.shape[0])))


def _losses(generator, images, keys, params=None):
    params = {"generator": {}} if params is None else params
    return generator.losses(params, {}, images, _condition(len(images)), keys, 0)


def _sample(generator, rows=2, seed=0, known=(), **options):
    guidance, keys = _one_pass(_condition(rows)), _keys(rows, seed)
    return generator.sample({"generator": {}}, {}, guidance, keys, _sampling(**options), *known)


def _recorded(monkeypatch, images, **changes):
    """What the network was asked in float64, (noisy images, timesteps), and the losses."""
    seen = []

    def network(noisy, timestep, vector):
        seen.extend((np.asarray(noisy, np.float64), np.asarray(timestep, np.float64)))
        return 0.3 * noisy + _spread(timestep)

    losses = _losses(_build(monkeypatch, network, **changes), images, _keys(len(images)))
    return *seen, losses


def _spread(timestep):
    return timestep[:, None, None, None]


# The loss.


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_equals_its_closed_form(monkeypatch, prediction):
    images = jnp.tanh(_normal(6, SIZE, SIZE, 3))
    noisy, timestep, losses = _recorded(monkeypatch, images, prediction=prediction)
    assert timestep.min() > family.SMALLEST_TIMESTEP
    t, x = _spread(timestep), np.asarray(images, np.float64)
    noise = (noisy - (1 - t) * x) / t
    out = 0.3 * noisy + t
    velocity = out if prediction == "velocity" else (noisy - out) / t
    expected = np.mean((velocity - (noise - x)) ** 2)
    np.testing.assert_allclose(losses.players["generator"], expected, rtol=1e-5)
    assert losses.metrics == {"flow": losses.players["generator"]}
    assert losses.state == {}
    np.testing.assert_allclose(losses.images, noisy - t * velocity, atol=1e-5)


@pytest.mark.parametrize("mean", [-6.0, 0.0, 6.0])
def test_a_perfect_x_prediction_has_loss_zero_at_every_timestep(monkeypatch, mean):
    images = jnp.tanh(_normal(6, SIZE, SIZE, 3))
    generator = _build(
        monkeypatch, lambda *_: images, prediction="x", logit_mean=mean, logit_std=3.0
    )
    losses = _losses(generator, images, _keys(6))
    assert losses.players["generator"] == 0


def test_predicting_the_velocity_or_the_image_is_the_same(monkeypatch):
    images = jnp.tanh(_normal(6, SIZE, SIZE, 3))
    says = lambda noisy, t: jnp.sin(2 * noisy) + _spread(t)  # noqa: E731
    networks = {
        "velocity": lambda noisy, t, _: says(noisy, t),
        "x": lambda noisy, t, _: noisy - _spread(t) * says(noisy, t),
    }
    drawn = []
    for prediction in PREDICTIONS:
        generator = _build(monkeypatch, networks[prediction], prediction=prediction)
        losses = _losses(generator, images, _keys(6))
        samples = _sample(generator, steps=8)
        drawn.append((losses.players["generator"], losses.images, samples))
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# What is drawn.


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (-0.8, 0.6), (1.0, 1.4)])
def test_timesteps_are_logit_normal_and_noise_is_normal(monkeypatch, mean, deviation):
    images = jnp.zeros((2000, 1, 1, 3))
    changes = dict(logit_mean=mean, logit_std=deviation)
    noisy, timestep, _ = _recorded(monkeypatch, images, **changes)
    logit = np.log(timestep / (1 - timestep))
    assert stats.kstest(logit, stats.norm(mean, deviation).cdf).pvalue > 0.01
    np.testing.assert_allclose(logit.std(), deviation, rtol=0.05)
    noise = noisy / _spread(timestep)
    assert stats.kstest(noise.ravel(), stats.norm.cdf).pvalue > 0.01
    # The noise says nothing of the timestep.
    assert stats.pearsonr(noise[:, 0, 0, 0], logit).pvalue > 0.01


@pytest.mark.parametrize("size", [4, 8, 16, 64])
def test_timesteps_are_shifted_with_the_resolution(monkeypatch, size):
    images = jnp.zeros((6, 1, 1, 3))
    base, ours = (_recorded(monkeypatch, images, size=s)[1] for s in (SIZE, size))
    # SD3, eq. 23: n pixels at base size, m pixels now.
    ratio = np.sqrt(size**2 / SIZE**2)
    np.testing.assert_allclose(ours, ratio * base / (1 + (ratio - 1) * base), rtol=1e-5)


def test_a_shift_keeps_the_ends_and_the_order():
    timestep = jnp.linspace(0, 1, 50)
    for shift in (0.5, 1.0, 4.0):
        moved = np.asarray(family.shift_timestep(timestep, shift))
        assert moved[0] == 0 and moved[-1] == 1 and (np.diff(moved) > 0).all()
    np.testing.assert_array_equal(family.shift_timestep(timestep, 1.0), timestep)


# The solvers.


def _order(solver):
    """Slope of log error over log step for dx/dt = cos(3 t) x, from 1 to 0."""
    start = jnp.array([0.5, 1.0, 2.0])[None, None, None]
    exact = np.asarray(start) * np.exp(-np.sin(3) / 3)
    errors = []
    for steps in (64, 128, 256):
        times = jnp.linspace(1, 0, steps + 1)
        end = solver(lambda x, t: jnp.cos(3 * t) * x, lambda x, t: x, start, times)
        errors.append(np.abs(end - exact).max())
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_solvers_converge_with_their_order(solver, order):
    with jax.enable_x64(True):
        np.testing.assert_allclose(_order(family.SOLVERS[solver]), order, atol=0.05)


def test_heun_ends_with_a_step_of_euler():
    times, x = jnp.array([1.0, 0.6, 0.0]), jnp.full((1, 1, 1, 1), 2.0)

    def field(x, t):
        return jnp.where(t > 0, x * t, jnp.nan)

    # By hand: 2 -> the mean of two slopes -> one slope.
    here = 2.0 * 1.0
    there = (2.0 - 0.4 * here) * 0.6
    middle = 2.0 - 0.4 * (here + there) / 2
    end = family.heun(field, lambda x, t: x, x, times).item()
    np.testing.assert_allclose(end, middle * (1 - 0.6 * 0.6), 1e-6)


# Sampling.


@pytest.mark.parametrize(("solver", "tolerance"), [("euler", 0.05), ("heun", 1e-3)])
def test_sampling_recovers_a_gaussian(monkeypatch, solver, tolerance):
    mean, deviation = 0.1, 0.2

    def velocity(x, timestep, _):
        # E[noise - image | x] for images from N(mean, deviation^2): affine in x.
        t = _spread(timestep)
        surprise = (x - (1 - t) * mean) / ((1 - t) ** 2 * deviation**2 + t**2)
        return (t - (1 - t) * deviation**2) * surprise - mean

    generator = _build(monkeypatch, velocity, prediction="velocity")
    samples = np.asarray(_sample(generator, rows=64, steps=128, solver=solver)).ravel()
    # The flow maps quantiles to quantiles: the noise itself, scaled and moved.
    noise = jax.vmap(lambda key: jax.random.normal(key, (SIZE, SIZE, 3)))(_keys(64))
    np.testing.assert_allclose(samples, mean + deviation * noise.ravel(), atol=tolerance)
    assert stats.kstest(samples, stats.norm(mean, deviation).cdf).pvalue > 0.01


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_what_is_predicted_for_sure_is_what_is_sampled(monkeypatch, solver, steps):
    image = jnp.tanh(_normal(1, SIZE, SIZE, 3))
    generator = _build(monkeypatch, lambda x, *_: jnp.broadcast_to(image, x.shape), prediction="x")
    samples = _sample(generator, steps=steps, solver=solver)
    np.testing.assert_allclose(samples, np.broadcast_to(image, samples.shape), atol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_what_is_known_stays_and_the_rest_goes_with_it(monkeypatch, solver):
    """Each value is predicted as the mean of its row, known ones included."""

    def predicted(x, *_):
        return jnp.broadcast_to(x.mean(axis=2, keepdims=True), x.shape)

    generator = _build(monkeypatch, predicted, prediction="x")
    images = jnp.full((2, SIZE, SIZE, 3), 0.75)
    left = jnp.zeros((2, SIZE, SIZE), bool).at[:, :, : SIZE // 2].set(True)
    free, half, none = (
        _sample(generator, solver=solver, steps=20, known=known)
        for known in ((), (images, left), (images, jnp.zeros_like(left)))
    )
    np.testing.assert_allclose(half[:, :, : SIZE // 2], 0.75, atol=1e-6)
    right = half[:, :, SIZE // 2 :]
    assert abs(right.mean() - 0.75) < 0.5 * abs(free[:, :, SIZE // 2 :].mean() - 0.75)
    np.testing.assert_array_equal(none, free)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_samples_are_of_the_given_shape_latents_not_cut_off(monkeypatch, solver):
    generator = _build(monkeypatch, lambda x, *_: -100 * x, size=12, prediction="velocity")
    samples = _sample(generator, steps=2, solver=solver)
    assert samples.shape == (2, 12, 12, 3) and samples.dtype == jnp.float32
    assert np.abs(samples).max() > 1


def _guided(monkeypatch, **options):
    """Samples of a network that is told its pass and adds a hundredth of it, and unguided ones."""

    def told(passes):
        numbers = jnp.repeat(jnp.array(passes, jnp.float32), 2)[:, None]
        return _condition(len(numbers))._replace(
            mean=numbers, log_precision=jnp.zeros_like(numbers)
        )

    def network(x, timestep, vector):
        return x + 0.01 * vector[:, :1, None, None]

    generator = _build(monkeypatch, network, prediction="velocity")
    options = _sampling(steps=8, solver="euler", **options)
    guided = Guidance(told([0, 1]), jnp.array([[-2.0, -2.0], [3.0, 3.0]]))
    return tuple(
        np.asarray(generator.sample({"generator": {}}, {}, guidance, _keys(2), options))
        for guidance in (guided, _one_pass(told([1])))
    )


def test_guidance_acts_within_its_interval_only(monkeypatch):
    guided, plain = _guided(monkeypatch, guidance_from=0.25, guidance_to=0.6)
    # Steps start at 1, 7/8, ..., 1/8; those at 4/8, 3/8 and 2/8 are guided: 0.02 is added to the
    # velocity, which what remains of the way then shrinks by 7/8 a step.
    remaining = np.array([3, 2, 1])
    shift = -0.02 / 8 * ((1 - 1 / 8) ** remaining).sum()
    inside = (np.abs(guided) < 1) & (np.abs(plain) < 1)
    assert inside.mean() > 0.9
    np.testing.assert_allclose((guided - plain)[inside], shift, atol=1e-6)


def test_outside_its_interval_guidance_is_the_conditional_model(monkeypatch):
    guided, plain = _guided(monkeypatch, guidance_from=0.01, guidance_to=0.02)
    np.testing.assert_array_equal(guided, plain)


def test_guidance_acts_everywhere_by_default(monkeypatch):
    guided, plain = _guided(monkeypatch)
    inside = (np.abs(guided) < 1) & (np.abs(plain) < 1)
    shift = -0.02 / 8 * ((1 - 1 / 8) ** np.arange(8)).sum()
    np.testing.assert_allclose((guided - plain)[inside], shift, atol=1e-6)


# With a real network: rows by themselves, and the same bits twice.


@functools.cache
def _real():
    generator = family.build(_options(prediction="x"), pixels(SIZE, SIZE), "float32")
    images = jnp.tanh(_normal(4, SIZE, SIZE, 3))
    params = random_parameters(lambda key: generator.init(key, images, _condition(4))[0])
    options = _sampling(steps=2)

    @jax.jit
    def run(images, condition, keys):
        losses = generator.losses(params, {}, images, condition, keys, 0)
        samples = generator.sample(params, {}, _one_pass(condition), keys, options)
        return losses.images, samples

    return run, images


def test_a_row_is_drawn_by_its_own_key_whatever_its_neighbours_are():
    run, images = _real()
    condition, other = _condition(4), _condition(4, seed=7)
    keys, rest = _keys(4), _keys(4, seed=1)
    keep = jnp.arange(4) == 2
    mixed = jax.tree.map(
        lambda a, b: jnp.where(keep.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
        *(c._replace(positions=None, mask=None) for c in (condition, other)),
    )._replace(positions=condition.positions, mask=condition.mask)
    changed = run(jnp.where(_spread(keep), images, -images), mixed, jnp.where(keep, keys, rest))
    for ours, expected in zip(changed, run(images, condition, keys), strict=True):
        same = [np.array_equal(a, b) for a, b in zip(ours, expected, strict=True)]
        assert same == [False, False, True, False]


def test_a_row_s_place_in_the_batch_does_not_matter():
    run, images = _real()
    condition, keys, order = _condition(4), _keys(4), jnp.array([2, 0, 3, 1])
    moved = jax.tree.map(lambda x: x[order], condition._replace(positions=None))
    moved = moved._replace(positions=condition.positions)
    pairs = zip(run(images[order], moved, keys[order]), run(images, condition, keys), strict=True)
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected[order], atol=1e-5, rtol=0)


def test_the_same_keys_give_the_same_bits_and_others_do_not():
    run, images = _real()
    first, again, other = (run(images, _condition(4), _keys(4, seed)) for seed in (0, 0, 1))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.allclose(one, three)


def test_no_key_is_used_twice():
    # Noise and timestep of an example, and the noise a sample starts from: all are of their own.
    noise, timestep = jax.vmap(lambda key: family._draw(key, (1, 1, 1), _options()))(_keys(500))
    start = jax.vmap(lambda key: jax.random.normal(key, (1, 1, 1)))(_keys(500))
    for one, other in ((noise, timestep), (noise, start), (timestep, start)):
        assert abs(stats.pearsonr(one.ravel(), other.ravel()).statistic) < 0.15


def test_it_owns_one_group_and_learns_the_encoders_too():
    generator = family.build(_options(), pixels(SIZE, SIZE), "float32")
    images = jnp.zeros((2, SIZE, SIZE, 3))
    params, state = jax.eval_shape(generator.init, jax.random.key(0), images, _condition(2))
    assert set(params) == {"generator"} and state == {}
    assert generator.players == {"generator": ("encoders", "recovery", "generator")}
