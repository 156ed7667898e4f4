"""Fusion: the product of experts, the joint sequence, and who is present in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.conditioning import fusion
from mmgen_jax.modalities import Encoding, ReaderSizes, Shared

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))
TOKENS = {"text": 5, "label": 1, "audio": 3}
ROWS = 8


@pytest.fixture(scope="module")
def params():
    return fusion.init(jax.random.key(0), tuple(TOKENS), SHARED)


def encoding(rng, tokens, rows=ROWS, present=None):
    present = np.ones(rows, bool) if present is None else present
    arrays = (
        rng.normal(size=(rows, tokens, SHARED.width)),
        rng.random((rows, tokens)) < 0.7,
        rng.normal(size=(rows, SHARED.pooled)),
        rng.uniform(-6, 6, (rows, SHARED.pooled)),
    )
    tokens, mask, mean, log_precision = map(jnp.asarray, arrays)
    floats = (x.astype(jnp.float32) for x in (tokens, mean, log_precision))
    tokens, mean, log_precision = floats
    return Encoding(tokens, mask, mean, log_precision, jnp.asarray(present))


def encodings(seed=0):
    rng = np.random.default_rng(seed)
    return {name: encoding(rng, tokens) for name, tokens in TOKENS.items()}


def every_subset():
    """Row r is given the modalities of r's binary digits."""
    return {name: jnp.asarray(np.arange(ROWS) >> k & 1 == 1) for k, name in enumerate(TOKENS)}


def test_experts_equal_the_closed_form(params):
    h, given = encodings(), every_subset()
    condition = jax.jit(fusion.fuse)(params, h, given)
    precision, weighted = np.ones((ROWS, 8)), np.zeros((ROWS, 8))
    for name in TOKENS:
        use = np.asarray(given[name])[:, None]
        tau = use * np.exp(np.asarray(h[name].log_precision, np.float64))
        precision += tau
        weighted += tau * np.asarray(h[name].mean, np.float64)
    np.testing.assert_allclose(condition.mean, weighted / precision, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(condition.log_precision, np.log(precision), rtol=1e-5, atol=1e-6)


def test_nothing_present_is_the_prior_and_the_null_token(params):
    condition = fusion.fuse(params, encodings(), every_subset())
    assert (condition.vector[0] == 0).all()
    assert condition.mask[:, 0].all() and not condition.mask[0, 1:].any()
    assert (condition.tokens[:, 0] == params["null"][None]).all()
    assert (condition.vector[1:] != 0).any(axis=1).all()


def test_tokens_are_marked_masked_and_counted_per_modality(params):
    h, given = encodings(), every_subset()
    condition = fusion.fuse(params, h, given)
    start = 1
    for name, tokens in TOKENS.items():
        part = slice(start, start + tokens)
        mask = h[name].mask & given[name][:, None]
        np.testing.assert_array_equal(condition.mask[:, part], mask)
        marked = h[name].tokens + params["mark"][name][None, None]
        np.testing.assert_array_equal(
            condition.tokens[:, part], np.where(mask[..., None], marked, 0)
        )
        np.testing.assert_array_equal(condition.positions[part, 0], np.arange(tokens))
        start += tokens
    assert (condition.positions[:, 1:] == 0).all()
    assert condition.tokens.shape[1] == condition.positions.shape[0] == start


def test_what_no_record_has_cannot_be_given(params):
    h = encodings()
    absent = jnp.zeros(ROWS, bool)
    without = h | {"text": h["text"]._replace(present=absent, mean=h["text"].mean + 9)}
    everything = dict.fromkeys(TOKENS, ~absent)
    fuse = jax.jit(fusion.fuse)
    expected = fuse(params, h, everything | {"text": absent})
    jax.tree.map(np.testing.assert_array_equal, fuse(params, without, everything), expected)


def test_pooling_does_not_depend_on_the_order(params):
    h, given = encodings(), every_subset()
    one = fusion.fuse(params, h, given)
    two = fusion.fuse(params, dict(reversed(h.items())), given)
    np.testing.assert_allclose(two.vector, one.vector, atol=1e-5)
    assert not np.array_equal(two.tokens, one.tokens)


# Who is present

COUNT = 20_000
KEEP = {"text": 0.5, "label": 0.2, "audio": 0.9}
ALL, NONE = 0.4, 0.1


def keys(first=0, count=COUNT):
    fold = jax.vmap(lambda index: jax.random.fold_in(jax.random.key(7), index))
    return fold(jnp.arange(first, first + count, dtype=jnp.uint32))


draw = jax.jit(lambda keys, has: fusion.sample_presence(keys, has, KEEP, ALL, NONE))


def having_all(count=COUNT):
    return {name: jnp.ones(count, bool) for name in KEEP}


def assert_rate(drawn, probability):
    """Five standard deviations of a binomial: a fair draw misses once in two million."""
    bound = 5 * np.sqrt(probability * (1 - probability) / len(drawn))
    assert abs(np.mean(drawn) - probability) < bound


def test_presence_is_the_mixture_that_it_claims_to_be():
    given = {name: np.asarray(x) for name, x in draw(keys(), having_all()).items()}
    stacked = np.stack([given[name] for name in KEEP])
    some = 1 - ALL - NONE
    for name, rate in KEEP.items():
        assert_rate(given[name], ALL + some * rate)
    rates = np.array(list(KEEP.values()))
    assert_rate(stacked.all(axis=0), ALL + some * rates.prod())
    assert_rate(~stacked.any(axis=0), NONE + some * (1 - rates).prod())
    for subset in np.ndindex(2, 2, 2):
        chance = some * np.where(np.array(subset), rates, 1 - rates).prod()
        chance += ALL * all(subset) + NONE * (not any(subset))
        assert_rate((np.array(subset, bool) == stacked.T).all(axis=1), chance)


def test_presence_never_gives_what_the_record_lacks():
    has = {name: jnp.arange(COUNT) % k == 0 for k, name in enumerate(KEEP, start=2)}
    given, full = draw(keys(), has), draw(keys(), having_all())
    for name in KEEP:
        assert not (given[name] & ~has[name]).any()
        np.testing.assert_array_equal(given[name], full[name] & has[name])


def test_presence_depends_on_the_examples_own_key_alone():
    count = 64
    together = draw(keys(count=count), having_all(count))
    alone = [draw(keys(first, 8), having_all(8)) for first in range(0, count, 8)]
    order = np.random.default_rng(0).permutation(count)
    shuffled = draw(keys(count=count)[order], having_all(count))
    for name in KEEP:
        assert 0 < together[name].sum() < count
        np.testing.assert_array_equal(np.concatenate([x[name] for x in alone]), together[name])
        np.testing.assert_array_equal(shuffled[name], together[name][order])


@pytest.mark.parametrize(("rates", "value"), [((1.0, 0.0), True), ((0.0, 1.0), False)])
def test_extreme_rates_are_exact(rates, value):
    given = fusion.sample_presence(keys(), having_all(), KEEP, *rates)
    assert all((given[name] == value).all() for name in KEEP)


def test_the_order_of_names_changes_nobody_s_presence():
    backwards = dict(reversed(KEEP.items()))
    one = fusion.sample_presence(keys(), having_all(), KEEP, ALL, NONE)
    other = fusion.sample_presence(keys(), having_all(), backwards, ALL, NONE)
    assert list(one) == list(reversed(other))
    assert all((one[name] == other[name]).all() for name in KEEP)
