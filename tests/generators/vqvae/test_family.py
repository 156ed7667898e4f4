"""A tokenizer: its terms, its prior, its opponent, and what it offers to others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.generators.codecs import pixels
from mmgen_jax.generators.vqvae import family, quantizers
from mmgen_jax.nn.patches import sequence_positions
from tests.tiny import family_options, sampling_options, tiny_config

SIZE, ROWS, PLACES = 16, 4, 16
QUANTIZERS = ("ema", "fsq", "kl")


def options(**changes):
    group = tiny_config().generator.vqvae
    return family_options("vqvae", group, **({"levels": (4, 3)} | changes))


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def pictures(seed=0):
    return jnp.tanh(noise(ROWS, SIZE, SIZE, 3, seed=seed))


def keys():
    return jax.random.split(jax.random.key(4), ROWS)


def condition(seed=0):
    mean, precision = noise(ROWS, 2, seed=seed), noise(ROWS, 2, seed=seed + 1)
    mask = jnp.ones((ROWS, 1), bool)
    return Condition(noise(ROWS, 1, 3), mask, sequence_positions(1), mean, precision, {})


@functools.lru_cache
def built(quantizer, **changes):
    """(options, generator, its parameters, its state after a few batches)."""
    chosen = options(quantizer=quantizer, **changes)
    generator = family.build(chosen, pixels(SIZE, SIZE), "float32")
    # Operation by operation it compiles twice as long.
    generator = generator._replace(losses=jax.jit(generator.losses))
    params, state = jax.jit(generator.init)(jax.random.key(0), pictures(), condition())
    for seed in range(3):
        state = losses(generator, params, state, pictures(seed)).state
    return chosen, generator, params, state


def losses(generator, params, state, images, step=0):
    return generator.losses(params, state, images, condition(), keys(), step)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_terms_add_up(quantizer):
    chosen, generator, params, state = built(quantizer)
    found = losses(generator, params, state, pictures())
    metrics = found.metrics
    again = generator.reconstruct(params, state, pictures(), condition())
    metrics = {name: float(value) for name, value in metrics.items()}
    if quantizer != "kl":  # whose latents are drawn while it trains
        squares = np.square(np.asarray(again - pictures(), float))
        assert metrics["mse"] == pytest.approx(squares.mean(), rel=1e-5)
        np.testing.assert_allclose(found.images, again, atol=1e-5)
    assert metrics["psnr"] == pytest.approx(10 * np.log10(4 / metrics["mse"]), rel=1e-5)
    asked = {"ema": "distance", "fsq": "mse", "kl": "kl"}[quantizer]
    weight = {"ema": chosen.commitment, "fsq": 0, "kl": chosen.kl_weight}[quantizer]
    prior = metrics["prior"] * PLACES / (SIZE * SIZE * 3)
    expected = metrics["mse"] + weight * metrics[asked] + prior
    assert float(found.players["generator"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_prior_learns_from_the_latents_and_teaches_them_nothing(quantizer):
    _, generator, params, state = built(quantizer)

    def surprise(params):
        return losses(generator, params, state, pictures()).metrics["prior"]

    gradient = jax.jit(jax.grad(surprise))(params)["generator"]
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradient["prior"])) > 0
    for part in ("encoder", "decoder"):
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient[part]))


@pytest.mark.parametrize("quantizer", ("ema", "kl"))
def test_the_prior_pays_for_how_improbable_latents_are(quantizer):
    """With eight places or fewer all are looked at: a grid of 2 x 2."""
    chosen, generator, params, state = built(quantizer, patch_size=8)
    nets = family.Networks(chosen, SIZE, SIZE, "float32")
    found = losses(generator, params, state, pictures()).metrics["prior"]
    out = np.asarray(nets.prior(params["generator"], condition()), float)
    vectors = nets.encode(params["generator"], pictures())
    if quantizer == "ema":
        ids = np.asarray(nets.quantizer.tokens(state["quantizer"], quantizers.unit(vectors)))
        logs = out - np.log(np.exp(out).sum(-1, keepdims=True))
        expected = -np.take_along_axis(logs, ids[..., None], axis=-1).mean()
    else:
        made_keys = jax.vmap(jax.random.split, out_axes=1)(keys())[0]
        z = np.asarray(nets.quantizer.quantise({}, vectors, made_keys, 0).vectors, float)
        mean, log_deviation = np.split(out, 2, axis=-1)
        density = -0.5 * ((z - mean) / np.exp(log_deviation)) ** 2 - log_deviation
        expected = -(density - 0.5 * np.log(2 * np.pi)).sum(-1).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_codes_are_drawn_as_often_as_the_prior_says():
    outputs = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    book = quantizers.fsq((3,), 0.9)
    many = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: family._draw(book, outputs, key, 1.0))(many)
    for place in range(2):
        share = np.bincount(drawn[:, place], minlength=3) / len(many)
        np.testing.assert_allclose(share, np.exp(outputs[place]), atol=0.03)
    np.testing.assert_array_equal(family._draw(book, outputs, many[0], 0.0), [0, 2])


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_samples_are_drawn_from_the_prior_of_their_condition(quantizer):
    chosen, generator, params, state = built(quantizer)
    nets = family.Networks(chosen, SIZE, SIZE, "float32")
    sampling = sampling_options("vqvae", temperature=0.0)
    given = Guidance(condition(), jnp.ones((1, ROWS)))
    found = generator.sample(params, state, given, keys(), sampling)
    out = nets.prior(params["generator"], condition())
    if quantizer == "kl":
        likeliest = jnp.split(out, 2, axis=-1)[0]
    else:
        likeliest = nets.quantizer.embed(state["quantizer"], out.argmax(-1))
    np.testing.assert_allclose(found, nets.decode(params["generator"], likeliest), atol=1e-5)
    sampling = sampling_options("vqvae", temperature=1.0)
    assert np.abs(generator.sample(params, state, given, keys(), sampling) - found).max() > 1e-3


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_others_see_what_it_reconstructs_from_standard_latents(quantizer):
    chosen, generator, params, state = built(quantizer, statistics_decay=0.0)
    frozen = family.freeze(params, state)
    codec = family.codec(chosen, SIZE, SIZE, "float32")
    assert jax.tree.map(jnp.shape, codec.init()) == jax.tree.map(jnp.shape, frozen)
    latents = codec.encode(frozen, pictures(2))  # the batch that the moments are of
    assert latents.shape == (ROWS, *codec.shape) == (ROWS, 4, 4, codec.shape[2])
    again = generator.reconstruct(params, state, pictures(2), condition())
    np.testing.assert_allclose(codec.decode(frozen, latents), jnp.clip(again, -1, 1), atol=1e-5)
    if quantizer == "kl":
        assert codec.codes == 0 and codec.tokens is None and codec.embed is None
        return
    ids = codec.tokens(frozen, latents)
    assert ids.shape == (ROWS, PLACES) and codec.codes == {"ema": 32, "fsq": 12}[quantizer]
    np.testing.assert_allclose(codec.embed(frozen, ids), latents, atol=1e-5)
    # What lies near codes is drawn as they are.
    near = latents + 0.01 * noise(*latents.shape)
    np.testing.assert_allclose(codec.decode(frozen, near), codec.decode(frozen, latents), atol=1e-5)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_latents_have_mean_0_and_deviation_1_over_the_data(quantizer):
    chosen, generator, params, state = built(quantizer)
    # A mean of batches' moments, with weights that sum to 1: of the same batch, its own.
    state |= {"count": jnp.zeros((), jnp.int32)}
    state = losses(generator, params, state, pictures()).state
    codec = family.codec(chosen, SIZE, SIZE, "float32")
    before = state | {"quantizer": built(quantizer)[3]["quantizer"]}
    latents = np.asarray(codec.encode(family.freeze(params, before), pictures()))
    spread = 1e-2 if quantizer != "kl" else 0.3  # drawn around what is encoded
    np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0, atol=spread)
    if quantizer != "kl":
        np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1, atol=1e-2)


def opposed(**changes):
    return built("ema", adversarial_weight=0.5, discriminator_widths=(8, 8), **changes)


def test_the_opponents_weight_makes_both_gradients_alike_at_the_last_layer():
    chosen, generator, params, state = opposed()
    nets = family.Networks(chosen, SIZE, SIZE, "float32")
    found = losses(generator, params, state, pictures())
    vectors = nets.encode(params["generator"], pictures())
    latents = nets.quantizer.settle(state["quantizer"], vectors)
    net = family.PatchDiscriminator((8, 8), jnp.dtype("float32"))

    def length(loss):
        def of(kernel):
            own = jax.tree.map(lambda x: x, params["generator"])
            own["decoder"]["out"]["kernel"] = kernel
            return loss(nets.decode(own, latents))

        return jnp.linalg.norm(jax.grad(of)(params["generator"]["decoder"]["out"]["kernel"]))

    squared = length(lambda x: jnp.square(x - pictures()).mean())
    fooled = length(lambda x: -net.apply({"params": params["discriminator"]}, x).mean())
    weight = float(found.metrics["adversarial_weight"])
    assert weight == pytest.approx(float(0.5 * squared / fooled), rel=1e-3)
    hinge = [
        jnp.maximum(0, 1 + sign * net.apply({"params": params["discriminator"]}, x)).mean()
        for sign, x in [(-1, pictures()), (1, found.images)]
    ]
    paid = float(found.players["discriminator"])
    assert paid == pytest.approx(float(sum(hinge)), rel=1e-5)


def test_the_opponent_waits_for_its_step():
    _, generator, params, state = opposed(adversarial_from=10)
    plain = built("ema")[1]
    before, after = (losses(generator, params, state, pictures(), step) for step in (9, 10))
    alone = losses(plain, params, state, pictures()).players["generator"]
    assert before.players["discriminator"] == 0
    assert float(before.players["generator"]) == pytest.approx(float(alone), rel=1e-6)
    assert after.players["discriminator"] > 0
    assert after.players["generator"] != alone


def test_each_player_teaches_its_own_groups_alone():
    _, generator, params, state = opposed()
    of = {"generator": "discriminator", "discriminator": "generator"}
    for player, other in of.items():
        gradient = jax.jit(
            jax.grad(lambda p, k=player: losses(generator, p, state, pictures()).players[k])
        )(params)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient[other]))
        assert any((leaf != 0).any() for leaf in jax.tree.leaves(gradient[player]))
