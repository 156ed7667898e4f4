"""The GAN's two games against their definitions, on critics that can be written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Condition, Expert
from mmgen_jax.generators import GENERATORS
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.generators.gan import family as gans
from mmgen_jax.generators.gan.networks import ProjectionDiscriminator
from tests.tiny import family_options, random_parameters, sampling_options, tiny_config

ROWS = 6
GIVEN = {
    "text": np.array([1, 1, 1, 0, 1, 0], bool),
    "label": np.array([1, 0, 1, 1, 1, 1], bool),
}


class Plain(gans.Critic):
    """A critic that multiplies what an image shows with what the condition says."""

    def read(self, images):
        return jnp.tanh(images.reshape(images.shape[0], -1) @ self.params)

    def score(self, features, condition):
        said = condition.mean + sum(
            expert.mean * expert.given[:, None] for expert in condition.experts.values()
        )
        return features.sum(-1) + (features * said).sum(-1)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def condition():
    # Labels 0 and 2 are the same value: its expert is the same.
    means = {"text": normal(ROWS, 3, seed=1), "label": normal(ROWS, 3, seed=2)}
    means["label"] = means["label"].at[3].set(means["label"][2])
    experts = {
        name: Expert(
            mean * GIVEN[name][:, None], normal(ROWS, 3, seed=3) * GIVEN[name][:, None], has
        )
        for (name, mean), has in zip(means.items(), map(jnp.asarray, GIVEN.values()), strict=True)
    }
    mean, log_precision = fusion.product(experts)
    tokens = jnp.zeros((ROWS, 1, 2))
    return Condition(
        tokens, jnp.ones((ROWS, 1), bool), jnp.zeros((1, 3)), mean, log_precision, experts
    )


@pytest.fixture(scope="module")
def critic():
    return Plain(network=None, params=normal(2 * 2 * 3, 3, seed=4))


def images(seed):
    return normal(ROWS, 2, 2, 3, seed=seed)


def options(**changed):
    return family_options("gan", **changed)


def softplus(x):
    return np.logaddexp(0, np.asarray(x, np.float64))


def scores_against_wrong(critic, features, condition):
    """(modality, row) -> the score of the real image with its neighbour's value of the modality."""
    found = {}
    for name, expert in condition.experts.items():
        for row in range(ROWS):
            other = (row - 1) % ROWS
            same = np.array_equal(expert.mean[row], expert.mean[other])
            if not (GIVEN[name][row] and GIVEN[name][other]) or same:
                continue
            swapped = {
                n: Expert(*(x.at[row].set(x[other]) if n == name else x for x in e))
                for n, e in condition.experts.items()
            }
            mean, log_precision = fusion.product(swapped)
            wrong = condition._replace(mean=mean, log_precision=log_precision, experts=swapped)
            found[name, row] = critic.score(features, wrong)[row]
    return found


def mean_over_modalities(losses):
    """Of a loss per (modality, row): the mean over rows, then over modalities."""
    by_name = {name: [v for (n, _), v in losses.items() if n == name] for name in GIVEN}
    return np.mean([np.mean(values) if values else 0 for values in by_name.values()])


def squared_gradient(critic, x, condition):
    gradient = jax.grad(lambda x: critic.score(critic.read(x), condition).sum())(x)
    return np.square(gradient).sum((1, 2, 3)).mean()


def test_r3gan_is_relativistic_with_both_penalties(critic, condition):
    real, fake = images(5), images(6)
    schedule = {"gamma": 4.0, "gamma_final": 2.0, "gamma_steps": 100}  # 3 half-way
    chosen = options(mismatch_weight=0.7, penalty_every=1, **schedule)
    loss, metrics = gans.r3gan_discriminator(chosen, critic, real, fake, condition, 50)
    s_real, s_fake = (critic.score(critic.read(x), condition) for x in (real, fake))
    wrong = scores_against_wrong(critic, critic.read(real), condition)
    assert {name for name, _ in wrong} == set(GIVEN) and ("label", 3) not in wrong
    mismatched = mean_over_modalities({k: softplus(v - s_real[k[1]]) for k, v in wrong.items()})
    penalties = [squared_gradient(critic, x, condition) for x in (real, fake)]
    expected = softplus(s_fake - s_real).mean() + 0.7 * mismatched + 1.5 * sum(penalties)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose([metrics["r1"], metrics["r2"]], penalties, rtol=1e-5)
    assert [float(gans.gamma(chosen, step)) for step in (0, 100, 500)] == [4, 2, 2]
    pleasing = gans.r3gan_generator(critic, real, fake, condition)
    np.testing.assert_allclose(pleasing, softplus(s_real - s_fake).mean(), rtol=1e-5)


def test_gan_cls_has_three_pairs_and_the_matching_aware_penalty(critic, condition):
    real, fake = images(5), images(6)
    chosen = options(matching_weight=0.3, mismatch_weight=0.7, penalty_every=1)
    loss, metrics = gans.gan_cls_discriminator(chosen, critic, real, fake, condition, 0)
    s_real, s_fake = (critic.score(critic.read(x), condition) for x in (real, fake))
    wrong = scores_against_wrong(critic, critic.read(real), condition)
    mismatched = mean_over_modalities({k: softplus(v) for k, v in wrong.items()})

    def score(x, means):
        experts = {m: e._replace(mean=means[m]) for m, e in condition.experts.items()}
        mean, log_precision = fusion.product(experts)
        moved = condition._replace(mean=mean, log_precision=log_precision, experts=experts)
        return critic.score(critic.read(x), moved).sum()

    means = {name: expert.mean for name, expert in condition.experts.items()}
    gradients = jax.tree.leaves(jax.grad(score, (0, 1))(real, means))
    norms = np.sqrt(sum(np.square(g).reshape(ROWS, -1).sum(-1) for g in gradients))
    expected = softplus(-s_real).mean() + 0.5 * (softplus(s_fake).mean() + 0.7 * mismatched)
    np.testing.assert_allclose(loss, expected + 0.3 * (norms**6).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["matching_penalty"], (norms**6).mean(), rtol=1e-4)
    pleasing = gans.gan_cls_generator(critic, real, fake, condition)
    np.testing.assert_allclose(pleasing, softplus(-s_fake).mean(), rtol=1e-5)


def test_where_no_other_value_is_given_nothing_is_wrong(critic, condition):
    none = {
        name: expert._replace(given=jnp.zeros(ROWS, bool))
        for name, expert in condition.experts.items()
    }
    found = gans.against_wrong_conditions(
        lambda c: critic.score(critic.read(images(5)), c), fusion.with_experts(condition, none)
    )
    assert found == 0


def test_an_absent_modality_drops_out_of_the_discriminator(condition):
    network = ProjectionDiscriminator(1, (4, 4), 8, ("label", "text"), jnp.dtype("float32"))
    pictures = normal(ROWS, 4, 4, 3)
    params = network.init(jax.random.key(0), pictures, *gans.inputs(condition))
    expert = condition.experts["text"]
    elsewhere = expert._replace(mean=jnp.where(GIVEN["text"][:, None], expert.mean, 7.0))
    moved = fusion.with_experts(condition, condition.experts | {"text": elsewhere})
    expected = network.apply(params, pictures, *gans.inputs(condition))
    np.testing.assert_array_equal(network.apply(params, pictures, *gans.inputs(moved)), expected)
    other = expert._replace(mean=expert.mean + 1)
    moved = fusion.with_experts(condition, condition.experts | {"text": other})
    differs = network.apply(params, pictures, *gans.inputs(moved)) != expected
    np.testing.assert_array_equal(differs, GIVEN["text"])


def test_encoders_learn_from_the_game_only_through_the_picture(condition):
    """Of each expert by itself, which the discriminator alone looks at, they learn nothing."""
    generator = GENERATORS["gan"].build(
        family_options("gan", tiny_config().generator.gan), pixels(16, 16), "float32"
    )
    pictures, keys = normal(ROWS, 16, 16, 3), jax.random.split(jax.random.key(1), ROWS)
    params = random_parameters(lambda key: generator.init(key, pictures, condition)[0])

    @jax.jit
    def learned(condition):
        def game(condition):
            found = generator.losses(params, {}, pictures, condition, keys, 1)
            return sum(found.players.values())

        return jax.grad(game, allow_int=True)(condition)

    gradient = learned(condition)
    for expert in gradient.experts.values():
        assert (expert.mean == 0).all()
    assert (gradient.mean != 0).any()


def test_without_noise_a_condition_has_one_picture(condition):
    generator = GENERATORS["gan"].build(
        family_options("gan", tiny_config().generator.gan), pixels(16, 16), "float32"
    )
    pictures, state = jnp.zeros((ROWS, 16, 16, 3)), {}
    params = random_parameters(lambda key: generator.init(key, pictures, condition)[0])
    same = jax.tree.map(
        lambda x: jnp.repeat(x[:1], ROWS, axis=0), condition._replace(positions=None)
    )
    same = same._replace(positions=condition.positions)
    keys = jax.random.split(jax.random.key(1), ROWS)
    pictures = {}
    for truncation in (0.0, 1.0):
        sampling = sampling_options("gan", truncation=truncation)
        latents = generator.latents.draw(params, state, same, keys, sampling)
        pictures[truncation] = generator.latents.render(params, state, same, latents, keys)
    assert jnp.ptp(pictures[0.0], axis=0).max() < 1e-6 < jnp.ptp(pictures[1.0], axis=0).max()
