"""The StyleGAN2 family: styles and their mixing, lengths of paths, adaptive augmentation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from mmgen_jax.fusion import Condition, Expert, with_experts
from mmgen_jax.generators import stylegan
from tests.tiny import random_parameters, tiny_config

SIZE, ROWS, WIDTH = 16, 6, 16


def options(**changed):
    chosen = tiny_config().generator.stylegan
    chosen.update(changed)
    return chosen


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def condition(rows=ROWS):
    mean, log_precision = normal(rows, 3, seed=1), normal(rows, 3, seed=2)
    tokens, positions = jnp.zeros((rows, 1, 2)), jnp.zeros((1, 3))
    mask = jnp.ones((rows, 1), bool)
    given = jnp.arange(rows) != 2  # one that is not given the modality
    expert = Expert(*(jnp.where(given[:, None], x, 0) for x in (mean, log_precision)), given)
    empty = Condition(tokens, mask, positions, mean, log_precision, experts={})
    return with_experts(empty, {"label": expert})


@pytest.fixture(scope="module")
def made():
    """(networks, parameters without a zero, draws)."""
    networks = stylegan.Networks(options(), SIZE, "float32")
    images = jnp.zeros((ROWS, SIZE, SIZE, 3))
    params = random_parameters(lambda key: networks.init(key, images, condition()))
    keys = jax.random.split(jax.random.key(0), ROWS)
    return networks, params, jax.vmap(partial(stylegan.draw, 1.0, networks))(keys)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_styles_are_mixed_as_often_as_is_said(made, mixing):
    networks = made[0]
    keys = jax.random.split(jax.random.key(1), 400)
    drawn = jax.jit(jax.vmap(partial(stylegan.draw, mixing, networks)))(keys)
    inside = drawn.crossover < networks.layers
    assert abs(inside.mean() - mixing) < 4 * np.sqrt(0.25 / 400)
    assert drawn.crossover.min() >= 1
    if mixing == 1.0:  # every place of a crossover, about equally often
        counts = np.bincount(drawn.crossover, minlength=networks.layers)[1:]
        assert counts.min() > 0.5 * 400 / (networks.layers - 1)


def test_layers_from_the_crossover_on_have_the_other_style(made):
    networks, params, draws = made
    first, styles = networks.styles(params, draws, condition())
    second = networks.style(params, draws.z[1], condition())
    for row in range(ROWS):
        for layer in range(networks.layers):
            expected = first if layer < draws.crossover[row] else second
            np.testing.assert_array_equal(styles[row, layer], expected[row])


def test_the_path_penalty_is_that_of_the_jacobian(made):
    """|J^T y| of each example from its whole Jacobian, against a running mean."""
    networks, params, draws = made
    _, styles = networks.styles(params, draws, condition())
    mean = jnp.asarray(0.3)
    chosen, state = options(path_every=2), {"path_mean": mean}
    penalize = partial(stylegan.path_penalty, chosen, networks)
    penalty, moved = penalize(params, state, styles, draws, 4)

    lengths = []
    for row in range(ROWS):
        noise = [n[row : row + 1] for n in draws.noise]

        def image(style, noise=tuple(noise)):
            return networks.synthesise(params, style[None], noise)[0]

        jacobian = jax.jacrev(image)(styles[row]).reshape(-1, networks.layers, WIDTH)
        along = jnp.tensordot(draws.direction[row].reshape(-1), jacobian, 1) / SIZE
        lengths.append(np.sqrt(np.square(along).sum(-1).mean()))
    expected = 0.99 * 0.3 + 0.01 * np.mean(lengths)
    np.testing.assert_allclose(moved, expected, rtol=1e-4)
    np.testing.assert_allclose(penalty, 2 * np.square(lengths - expected).mean(), rtol=1e-3)
    assert penalize(params, state, styles, draws, 5) == (0, mean)


def test_a_path_penalty_without_weight_is_not_measured(made):
    networks, params, draws = made
    _, styles = networks.styles(params, draws, condition())
    state = {"path_mean": jnp.asarray(0.3)}
    found = stylegan.path_penalty(options(path_weight=0), networks, params, state, styles, draws, 0)
    assert found == (0, state["path_mean"])


def test_mode_seeking_compares_images_whose_styles_are_exchanged(made):
    """The mean of |z1 - z0| / |image1 - image0|; the smallest distances count as 0.05."""
    networks, params, draws = made
    first, second = (networks.everywhere(networks.style(params, z, condition())) for z in draws.z)
    before = np.arange(networks.layers)[None, :, None] < np.asarray(draws.crossover)[:, None, None]
    pair = jnp.where(before, first, second), jnp.where(before, second, first)
    one, other = (np.asarray(networks.synthesise(params, x, draws.noise)) for x in pair)
    from_z = np.abs(draws.z[1] - draws.z[0]).mean(1)
    ratio = np.abs(one - other).mean((1, 2, 3)) / from_z
    seek = partial(stylegan.mode_seeking, nets=networks, params=params, condition=condition())
    found = seek(options(mode_seeking_weight=1), draws=draws, fake=jnp.asarray(one))
    np.testing.assert_allclose(found, (1 / (ratio + 0.05)).mean(), rtol=1e-5)
    assert seek(options(mode_seeking_weight=0), draws=draws, fake=jnp.asarray(one)) == 0


def losses(generator, params, state, images, step=1):
    keys = jax.random.split(jax.random.key(3), ROWS)
    return generator.losses(params, state, images, condition(), keys, step)


@pytest.fixture(scope="module")
def family():
    generator = stylegan.build(options(augment_images=100, augment_target=0.6), SIZE, "float32")
    images = jnp.clip(normal(ROWS, SIZE, SIZE, 3, seed=5), -1, 1)
    params, state = generator.init(jax.random.key(0), images, condition())
    return generator, params, state, images, jax.jit(partial(losses, generator))


def test_augmentation_follows_the_sign_of_real_scores(family):
    """P moves by batch / augment_images: up where the discriminator is too sure (ADA, eq. 1)."""
    _, params, state, images, step = family
    state = state | {"augment_probability": jnp.asarray(0.5)}
    found = step(params, state, images)
    sign = found.metrics["real_sign"]
    assert found.metrics["augment_probability"] == 0.5
    expected = 0.5 + np.sign(float(sign) - 0.6) * ROWS / 100
    np.testing.assert_allclose(found.state["augment_probability"], expected, rtol=1e-6)


def test_the_mean_style_follows_the_styles(family):
    _, params, state, images, step = family
    after = step(params, state, images).state["style_mean"]
    assert (after != 0).any()
    again = step(params, state | {"style_mean": jnp.ones(WIDTH)}, images).state["style_mean"]
    np.testing.assert_allclose(again - after, 0.995, rtol=1e-4)


def test_real_and_generated_images_are_both_augmented(family):
    _, params, state, images, step = family
    sure = state | {"augment_probability": jnp.asarray(1.0)}
    before, after = (step(params, s, images).metrics for s in (state, sure))
    for name in ("score_real", "score_generated"):
        assert before[name] != after[name]
    # What recovery reads is not.
    plain, changed = (step(params, s, images).images for s in (state, sure))
    np.testing.assert_array_equal(plain, changed)


def test_real_images_with_a_wrong_condition_are_a_third_pair(family):
    """Scores at the neighbour's condition, where both are given one; its weight is an option."""
    _, params, state, images, step = family
    found = step(params, state, images)
    means, given = condition().mean, np.asarray(condition().experts["label"].given)
    networks = stylegan.Networks(options(), SIZE, "float32")
    wrong = networks.judge(params, images, jnp.roll(means, 1, axis=0))
    differs = given & np.roll(given, 1)
    expected = np.logaddexp(0, np.asarray(wrong, np.float64))[differs].mean()
    np.testing.assert_allclose(found.metrics["mismatched"], expected, rtol=1e-5)
    chosen = options(augment_images=100, augment_target=0.6, mismatch_weight=2.0)
    heavier = losses(stylegan.build(chosen, SIZE, "float32"), params, state, images)
    more = heavier.players["discriminator"] - found.players["discriminator"]
    np.testing.assert_allclose(more, 2 * expected, rtol=1e-4)


def test_lazy_terms_come_when_they_are_due(family):
    _, params, state, images, step = family
    due = {s: step(params, state, images, s).metrics for s in (0, 1, 4, 16)}
    assert [s for s in due if due[s]["r1"] != 0] == [0, 16]
    assert [s for s in due if due[s]["path_penalty"] != 0] == [0, 4, 16]


def test_without_truncation_room_all_styles_are_the_mean(family):
    generator, params, state, *_ = family
    state = state | {"style_mean": normal(WIDTH, seed=9)}
    keys = jax.random.split(jax.random.key(4), ROWS)
    none, whole = (
        generator.latents.draw(params, state, condition(), keys, ConfigDict({"truncation": psi}))
        for psi in (0.0, 1.0)
    )
    assert none.shape == (ROWS, stylegan.layer_count(SIZE), WIDTH)
    np.testing.assert_allclose(none, jnp.broadcast_to(state["style_mean"], none.shape), atol=1e-6)
    half = generator.latents.draw(params, state, condition(), keys, ConfigDict({"truncation": 0.5}))
    np.testing.assert_allclose(half, (none + whole) / 2, atol=1e-5)
