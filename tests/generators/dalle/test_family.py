"""A transformer that draws codes: its likelihood, its draws, what it is forced to keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmgen_jax import config as configs
from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.errors import InputError
from mmgen_jax.generators.dalle import family
from mmgen_jax.generators.dalle.networks import PrefixTransformer
from mmgen_jax.generators.vqvae import family as vqvae
from mmgen_jax.nn.patches import sequence_positions
from tests.tiny import family_options, random_parameters, sampling_options, tiny_config

SHAPE, GRID, ROWS = (16, 24), (4, 6), 3
PLACES, UPPER = 24, 12  # codes of a picture, and of its upper half


def options(**changes):
    return sampling_options("dalle", **changes)


def keys(rows=ROWS, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def condition(rows=ROWS):
    rng = np.random.default_rng(0)
    tokens, *pair = (
        jnp.asarray(rng.normal(size=(rows, *shape)), jnp.float32) for shape in [(3, 5), (2,), (2,)]
    )
    return Condition(tokens, jnp.ones((rows, 3), bool), sequence_positions(3), *pair, {})


def guidance():
    return Guidance(condition(), jnp.ones((1, ROWS)))


@functools.lru_cache
def built():
    """(codec, generator, parameters without a zero)."""
    config = tiny_config()
    codec = vqvae.codec(family_options("vqvae", config.generator.vqvae), *SHAPE, "float32")
    generator = family.build(family_options("dalle", config.generator.dalle), codec, "float32")

    def init(key):
        params = codec.init()
        return params | generator.init(key, jnp.zeros((1, *codec.shape)), condition(1))[0]

    params = random_parameters(init)
    book = params["tokenizer"]["quantizer"]["codes"]
    params["tokenizer"]["quantizer"]["codes"] = book / jnp.linalg.norm(book, axis=1, keepdims=True)
    # What was drawn before matters as much as where a code stands, and more than chance.
    params["generator"]["embed"]["embedding"] *= 10
    params["generator"]["logits"]["kernel"] *= 20
    return codec, generator, params


def some_latents(seed=0):
    codec, _, params = built()
    ids = np.random.default_rng(seed).integers(0, codec.codes, (ROWS, PLACES))
    return jnp.asarray(ids), codec.embed(params, jnp.asarray(ids))


def all_at_once(params, ids):
    """Logits of the network of `tiny_config`."""
    net, given = PrefixTransformer(32, GRID, 32, 2, 2, jnp.dtype("float32")), condition()
    inputs = given.tokens, given.mask, given.positions, given.vector
    return net.apply({"params": params["generator"]}, ids, *inputs)


def test_the_loss_is_that_of_the_codes_one_after_another():
    _, generator, params = built()
    ids, latents = some_latents()
    losses = generator.losses(params, {}, latents, condition(), keys(), 0)
    logits, total = all_at_once(params, ids), 0.0
    for row, code in np.ndindex(ids.shape):
        p = np.exp(np.asarray(logits[row, code], float))
        total -= np.log(p[ids[row, code]] / p.sum())
    assert losses.players["generator"] == pytest.approx(total / ids.size, rel=1e-5)
    assert losses.metrics["accuracy"] == pytest.approx((logits.argmax(-1) == ids).mean())
    assert losses.images is None


def test_the_likeliest_codes_follow_from_those_before_them():
    """Drawn through the cache at temperature 0, as from all tokens at once."""
    codec, generator, params = built()
    drawn = jax.jit(
        lambda: generator.sample(params, {}, guidance(), keys(), options(temperature=0.0))
    )()
    ids = codec.tokens(params, drawn)
    np.testing.assert_array_equal(all_at_once(params, ids).argmax(-1), ids)
    assert len(np.unique(ids)) > 3


def test_what_is_to_be_kept_is_kept_and_the_rest_goes_with_it():
    codec, generator, params = built()
    ids, latents = some_latents()
    keep = jnp.zeros((ROWS, *GRID), bool).at[:, :2].set(True)
    inpaint = jax.jit(lambda *a: generator.inpaint(params, {}, guidance(), keys(), options(), *a))
    found = np.asarray(codec.tokens(params, inpaint(latents, keep)))
    np.testing.assert_array_equal(found[:, :UPPER], ids[:, :UPPER])
    free = jax.jit(lambda: generator.sample(params, {}, guidance(), keys(), options()))()
    assert (found[:, UPPER:] != np.asarray(codec.tokens(params, free))[:, UPPER:]).any(), (
        "as if alone"
    )
    nothing = inpaint(latents, jnp.zeros_like(keep))
    np.testing.assert_array_equal(nothing, free)


LOGITS = np.log([0.4, 0.3, 0.15, 0.1, 0.05])


def frequencies(**changes):
    rows = 20_000
    logits = jnp.tile(jnp.asarray(LOGITS, jnp.float32), (rows, 1))
    # Logits that the compiler knew would be sorted by it, for seconds.
    ids = jax.jit(lambda x, k: family.draw(x, k, options(**changes)))(logits, keys(rows))
    return np.bincount(ids, minlength=5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.4, 0.3, 0.15, 0.1, 0.05]),
        ({"temperature": 0.5}, np.square([0.4, 0.3, 0.15, 0.1, 0.05])),
        ({"temperature": 0.0}, [1, 0, 0, 0, 0]),
        ({"top_k": 2}, [0.4, 0.3, 0, 0, 0]),
        ({"top_k": 9}, [0.4, 0.3, 0.15, 0.1, 0.05]),
        ({"top_p": 0.71}, [0.4, 0.3, 0.15, 0, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.5}, [1, 0, 0, 0, 0]),
    ],
)
def test_codes_are_drawn_from_those_that_are_eligible(changes, expected):
    found, expected = frequencies(**changes), np.array(expected) / np.sum(expected)
    assert (found[expected == 0] == 0).all()
    if (expected > 0).sum() > 1:
        some = expected > 0
        assert stats.chisquare(found[some], expected[some] * found.sum()).pvalue > 1e-3


def test_a_row_does_not_depend_on_the_others():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 9)), jnp.float32)
    whole = family.draw(logits, keys(), options())
    for row in range(ROWS):
        part = family.draw(logits[row : row + 1], keys()[row : row + 1], options())
        assert part[0] == whole[row]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tokenizer.family": ""},
            r"family = '' \(pixels\) with generator 'dalle'; allowed: .*codes",
        ),
        ({"generator.vqvae.quantizer": "kl"}, r"'vqvae' \(latents\) with generator 'dalle'"),
        ({"generator.name": "gan"}, r"'vqvae' \(codes\) with generator 'gan'; allowed: .* pixels"),
        (
            {"generator.vqvae.patch_size": 3},
            "patch_size = 3 does not divide config.data.image_size = 16",
        ),
        (
            {"objective.recovery_patch_size": 8},
            "recovery_patch_size = 8 does not divide latents of 4",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, message):
    config = tiny_config()
    config.generator.name, config.tokenizer.family = "dalle", "vqvae"
    config.objective.recovery_patch_size = 2
    configs.validate(config)
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=message):
        configs.validate(config)
