"""The StyleGAN2 family: styles and their mixing, lengths of paths, adaptive augmentation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmgen_jax.conditioning.fusion import Condition, Expert, with_experts
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.generators.stylegan import family as stylegan
from tests.tiny import family_options, random_parameters, sampling_options, tiny_config

SIZE, ROWS, WIDTH = 16, 6, 16


def options(**changed):
    return family_options("stylegan", tiny_config().generator.stylegan, **changed)


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
    init = lambda key: networks.init(key, images, condition())  # noqa: E731
    keys = jax.random.split(jax.random.key(0), ROWS)
    draws = jax.jit(jax.vmap(partial(stylegan.draw, 1.0, networks)))(keys)
    return networks, random_parameters(init, equalized=True), draws


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_styles_are_mixed_as_often_as_is_said(made, mixing):
    networks = made[0]
    keys = jax.random.split(jax.random.key(1), 400)
    crossover = jax.jit(jax.vmap(lambda key: stylegan.draw(mixing, networks, key).crossover))(keys)
    inside = crossover < networks.layers
    assert abs(inside.mean() - mixing) <= 4 * np.sqrt(mixing * (1 - mixing) / 400)
    assert crossover.min() >= 1
    if mixing == 1.0:  # every place of a crossover, about equally often
        counts = np.bincount(crossover, minlength=networks.layers)[1:]
        assert counts.min() > 0.5 * 400 / (networks.layers - 1)


def test_what_is_drawn_is_normal_and_independent(made):
    networks = made[0]
    keys = jax.random.split(jax.random.key(2), 300)
    drawn = jax.jit(jax.vmap(partial(stylegan.draw, 0.5, networks)))(keys)
    parts = [*drawn.z, *drawn.noise, drawn.direction]
    flat = [np.asarray(part).reshape(300, -1)[:, :16] for part in parts]
    for part in flat:
        assert stats.kstest(part.ravel(), "norm").pvalue > 1e-4
    together = np.corrcoef(np.concatenate(flat, axis=1).T) - np.eye(16 * len(flat))
    assert np.abs(together).max() < 6 / np.sqrt(300)
    assert (jax.random.key_data(drawn.real) != jax.random.key_data(drawn.fake)).any(1).all()


def test_layers_from_the_crossover_on_have_the_other_style(made):
    networks, params, draws = made
    style = jax.jit(lambda z: networks.style(params, z, condition()))
    first, styles = map(np.asarray, jax.jit(networks.styles)(params, draws, condition()))
    own, other = (np.asarray(style(z)) for z in draws.z)
    assert np.abs(own - other).max() > 0.1
    np.testing.assert_allclose(first, own, atol=1e-6)
    for row, crossover in enumerate(np.asarray(draws.crossover)):
        expected = [own[row]] * crossover + [other[row]] * (networks.layers - crossover)
        np.testing.assert_allclose(styles[row], expected, atol=1e-6)


def test_the_path_penalty_is_that_of_the_jacobian(made):
    """|J^T y| of each example from its whole Jacobian, against a running mean."""
    networks, params, draws = made
    _, styles = jax.jit(networks.styles)(params, draws, condition())
    mean = jnp.float32(0.3)
    penalize = jax.jit(partial(stylegan.path_penalty, options(path_every=2), networks))
    penalty, moved = penalize(params, {"path_mean": mean}, styles, draws, 4)

    @jax.jit
    def length(style, noise, direction):
        def image(style):
            return networks.synthesise(params, style[None], tuple(n[None] for n in noise))[0]

        jacobian = jax.jacrev(image)(style).reshape(-1, networks.layers, WIDTH)
        along = jnp.tensordot(direction.reshape(-1), jacobian, 1) / SIZE
        return jnp.sqrt(jnp.square(along).sum(-1).mean())

    each = [jax.tree.map(lambda x, r=r: x[r], (styles, draws.noise)) for r in range(ROWS)]
    lengths = np.array([length(*x, y) for x, y in zip(each, draws.direction, strict=True)])
    expected = 0.99 * 0.3 + 0.01 * lengths.mean()
    np.testing.assert_allclose(moved, expected, rtol=1e-4)
    np.testing.assert_allclose(penalty, 2 * np.square(lengths - expected).mean(), rtol=1e-3)
    assert penalize(params, {"path_mean": mean}, styles, draws, 5) == (0, mean)


def test_a_path_penalty_without_weight_is_not_measured(made):
    networks, params, draws = made
    state, styles = {"path_mean": jnp.float32(0.3)}, jnp.zeros((ROWS, networks.layers, WIDTH))
    found = stylegan.path_penalty(options(path_weight=0), networks, params, state, styles, draws, 0)
    assert found == (0, state["path_mean"])


def test_mode_seeking_compares_images_whose_styles_are_exchanged(made):
    """The mean of |z1 - z0| / |image1 - image0|; the smallest distances count as 0.05."""
    networks, params, draws = made
    style = jax.jit(lambda z: networks.style(params, z, condition()))
    first, second = (networks.everywhere(style(z)) for z in draws.z)
    before = np.arange(networks.layers)[None, :, None] < np.asarray(draws.crossover)[:, None, None]
    pair = jnp.where(before, first, second), jnp.where(before, second, first)
    synthesise = jax.jit(networks.synthesise)
    one, other = (np.asarray(synthesise(params, x, draws.noise)) for x in pair)
    from_z = np.abs(draws.z[1] - draws.z[0]).mean(1)
    ratio = np.abs(one - other).mean((1, 2, 3)) / from_z
    inputs = dict(params=params, condition=condition(), draws=draws, fake=jnp.asarray(one))
    seek = lambda weight: partial(  # noqa: E731
        stylegan.mode_seeking, options(mode_seeking_weight=weight), networks
    )
    np.testing.assert_allclose(jax.jit(seek(1.0))(**inputs), (1 / (ratio + 0.05)).mean(), rtol=1e-5)
    assert seek(0.0)(**inputs) == 0


def test_the_game_is_its_definition():
    """A score that can be written down: of the mean of an image and of the condition's."""
    images, fake = normal(ROWS, 2, 2, 3, seed=6), normal(ROWS, 2, 2, 3, seed=7)
    where = condition()
    keys = jax.random.split(jax.random.key(0), ROWS)
    draws = stylegan.Draws((), (), (), (), keys, keys)

    def score(images, keys, means=where.mean):
        said, squares = means.sum(-1), jnp.square(images).sum((1, 2, 3))
        return squares.reshape(squares.shape + (1,) * (said.ndim - 1)) * said / 4

    chosen = options(mismatch_weight=0.7, gamma=3.0, r1_every=2)
    play = partial(stylegan.discriminator_loss, chosen, score, images, fake, where, draws)
    loss, metrics = play(0)
    real, generated, wrong = (
        np.asarray(score(x, keys, means), np.float64)
        for x, means in (
            (images, where.mean),
            (fake, where.mean),
            (images, jnp.roll(where.mean, 1, axis=0)),
        )
    )
    given = np.asarray(where.experts["label"].given)
    mismatched = np.logaddexp(0, wrong)[given & np.roll(given, 1)].mean()
    # The gradient of s |x|^2 / 4 is s x / 2.
    said = np.asarray(where.mean.sum(-1))[:, None, None, None]
    r1 = 2 * np.square(said * np.asarray(images) / 2).sum((1, 2, 3)).mean()
    game = np.logaddexp(0, -real).mean() + np.logaddexp(0, generated).mean()
    np.testing.assert_allclose(metrics["mismatched"], mismatched, rtol=1e-5)
    np.testing.assert_allclose(metrics["r1"], r1, rtol=1e-5)
    np.testing.assert_allclose(metrics["real_sign"], np.sign(real).mean())
    np.testing.assert_allclose(loss, game + 0.7 * mismatched + 1.5 * r1, rtol=1e-5)
    np.testing.assert_allclose(play(1)[0], game + 0.7 * mismatched, rtol=1e-5)


@pytest.fixture(scope="module")
def family(made):
    """(generator, networks, parameters, state, images, its losses)."""
    chosen = options(augment_images=100, r1_every=4, path_every=2)
    generator = stylegan.build(chosen, pixels(SIZE, SIZE), "float32")
    images = jnp.clip(normal(ROWS, SIZE, SIZE, 3, seed=5), -1, 1)
    state = {
        "style_mean": normal(WIDTH, seed=8),
        "path_mean": jnp.float32(0.1),
        "augment_probability": jnp.float32(0),
    }
    keys = jax.random.split(jax.random.key(3), ROWS)

    @jax.jit
    def losses(state, step):
        return generator.losses(made[1], state, images, condition(), keys, step)

    return generator, *made[:2], state, images, losses


def at(state, probability):
    return state | {"augment_probability": jnp.float32(probability)}


def test_both_players_score_the_same_pictures(family):
    """Without augmentation: what recovery reads is what the discriminator sees."""
    _, networks, params, state, images, losses = family
    found = losses(state, 1)
    judge = jax.jit(lambda x: networks.judge(params, x, condition().mean))
    real, fake = (np.asarray(judge(x), np.float64) for x in (images, found.images))
    np.testing.assert_allclose(found.metrics["score_real"], real.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.metrics["score_generated"], fake.mean(), rtol=1e-4)
    pleasing = np.logaddexp(0, -fake).mean()
    np.testing.assert_allclose(found.metrics["adversarial"], pleasing, rtol=1e-4)
    game = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()
    np.testing.assert_allclose(found.players["discriminator"], game, rtol=1e-4)
    np.testing.assert_allclose(found.players["generator"], pleasing, rtol=1e-4)


@pytest.mark.parametrize(
    ("kinds", "target", "moves"), [("blit", -0.1, 1), ("blit", 0.1, -1), ("none", -0.1, 0)]
)
def test_augmentation_follows_the_sign_of_real_scores(family, kinds, target, moves):
    """P moves by batch / augment_images: up where the discriminator is too sure (ADA, eq. 1)."""
    _, networks, params, state, images, losses = family
    judge = jax.jit(lambda x: networks.judge(params, x, condition().mean))
    assert np.sign(judge(images)).mean() == 0
    assert losses(state, 1).metrics["real_sign"] == 0
    chosen = options(augment=kinds, augment_target=target, augment_images=100)
    generator = stylegan.build(chosen, pixels(SIZE, SIZE), "float32")
    keys = jax.random.split(jax.random.key(3), ROWS)

    @jax.jit
    def moved(state):
        after = generator.losses(params, state, images, condition(), keys, 1).state
        return after["augment_probability"]

    expected = 0.5 + moves * ROWS / 100
    np.testing.assert_allclose(moved(at(state, 0.5)), expected, rtol=1e-6)


def test_the_mean_style_follows_the_styles(family):
    _, networks, params, state, _, losses = family
    after = losses(state, 1).state["style_mean"]
    keys = jax.random.split(jax.random.key(3), ROWS)
    z = jax.jit(jax.vmap(partial(stylegan.draw, 0.9, networks)))(keys).z[0]
    style = np.asarray(jax.jit(networks.style)(params, z, condition())).mean(0)
    expected = 0.995 * state["style_mean"] + 0.005 * style
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-6)


def test_all_that_is_scored_is_augmented(family):
    """Also where the generator is judged, and where R1 is measured."""
    *_, state, _, losses = family
    before, after = (losses(at(state, p), 0) for p in (0, 1))
    for name in ("score_real", "score_generated", "adversarial", "r1"):
        assert abs(before.metrics[name] - after.metrics[name]) > 1e-4, name
    # What recovery reads is not.
    np.testing.assert_array_equal(before.images, after.images)


def test_encoders_learn_from_the_game_only_through_the_picture(family):
    """Where the picture does not depend on a condition, its encoder learns nothing."""
    generator, _, params, state, images, _ = family
    keys = jax.random.split(jax.random.key(3), ROWS)
    blind = jax.tree.map(jnp.zeros_like, params["generator"]["mapping"]["embed"])
    mapping = params["generator"]["mapping"] | {"embed": blind}
    unseen = params | {"generator": params["generator"] | {"mapping": mapping}}

    @jax.jit
    def learned(params):
        def game(condition):
            found = generator.losses(params, state, images, condition, keys, 1)
            return sum(found.players.values())

        return jax.grad(game, allow_int=True)(condition()).mean

    assert (learned(unseen) == 0).all()
    assert (learned(params) != 0).any()


def test_lazy_terms_come_when_they_are_due(family):
    *_, state, _, losses = family
    due = {step: losses(state, step).metrics for step in (0, 1, 2, 4)}
    assert [step for step in due if due[step]["r1"] != 0] == [0, 4]
    assert [step for step in due if due[step]["path_penalty"] != 0] == [0, 2, 4]


def test_truncation_is_a_way_from_the_mean_style(family):
    generator, networks, params, state, *_ = family
    keys = jax.random.split(jax.random.key(4), ROWS)
    draw = jax.jit(
        lambda psi: generator.latents.draw(
            params, state, condition(), keys, sampling_options("stylegan", truncation=psi)
        ),
        static_argnums=0,
    )
    none, half, whole = map(draw, (0.0, 0.5, 1.0))
    z = jax.vmap(partial(stylegan.draw, 0.9, networks))(keys).z[0]
    style = networks.everywhere(networks.style(params, z, condition()))
    mean = jnp.broadcast_to(state["style_mean"], none.shape)
    np.testing.assert_allclose(none, mean, atol=1e-6)
    np.testing.assert_allclose(whole, style, atol=1e-5)
    np.testing.assert_allclose(half, (mean + style) / 2, atol=1e-5)
