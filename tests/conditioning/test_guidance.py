"""Guidance: the telescoping sum, on a network that can be written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.guidance import Guidance, check_weights, guide, passes_needed
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Encoding, ReaderSizes, Shared

NAMES = ("text", "label", "audio", "image")
SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))
ROWS = 7


@pytest.fixture(scope="module")
def params():
    return fusion.init(jax.random.key(0), NAMES, SHARED)


def encodings(names=NAMES, present=()):
    """One encoding for all rows; `present` overrides who has it."""
    rng, has = np.random.default_rng(0), dict(present)
    made = {}
    for name in NAMES:
        row = (rng.normal(size=(1, 2, 16)), rng.normal(size=(1, 8)), rng.normal(size=(1, 8)))
        row = (jnp.repeat(jnp.asarray(x, jnp.float32), ROWS, axis=0) for x in row)
        tokens, mean, log_precision = row
        here = jnp.asarray(has[name]) if name in has else jnp.ones(ROWS, bool)
        mask = jnp.ones((ROWS, 2), bool) & here[:, None]
        made[name] = Encoding(tokens, mask, mean, log_precision, here)
    return {name: made[name] for name in names}


def weights(rows):
    """{name: one weight per row} from a list of rows."""
    columns = np.asarray(rows, np.float32).T
    return {name: jnp.asarray(column) for name, column in zip(NAMES, columns, strict=True)}


ROWS_OF_WEIGHTS = [
    [1, 1, 1, 1],
    [0, 0, 0, 0],
    [3, 1, 2, 0.5],
    [0.5, 1, 2, 3],
    [2, 2, 0, 2],
    [4, 4, 4, 4],
    [0, 7.5, 0.25, 0],
]


def network(condition):
    """Something that tells every set of modalities from every other one."""
    x = (condition.tokens * condition.mask[..., None]).sum(axis=1)
    return jnp.sin(jnp.concatenate([x, 3 * condition.vector], axis=-1))


@jax.jit
def run(params, h, w):
    guidance = guide(params, h, w)
    return guidance.combine(network(guidance.condition))


def of_set(params, names):
    given = {name: jnp.full(ROWS, name in names) for name in NAMES}
    return np.asarray(network(fusion.fuse(params, encodings(), given)), np.float64)[0]


def test_the_sum_is_the_telescope_of_its_docstring(params):
    guided = run(params, encodings(), weights(ROWS_OF_WEIGHTS))
    for row, chosen in enumerate(ROWS_OF_WEIGHTS):
        ranked = sorted(zip(chosen, NAMES, strict=True), key=lambda pair: -pair[0])
        descending = [w for w, _ in ranked] + [0]
        expected = (1 - descending[0]) * of_set(params, ())
        for k in range(1, len(NAMES) + 1):
            nested = [name for _, name in ranked[:k]]
            expected = expected + (descending[k - 1] - descending[k]) * of_set(params, nested)
        np.testing.assert_allclose(guided[row], expected, rtol=1e-4, atol=1e-4)


def test_coefficients_sum_to_one_and_passes_are_nested(params):
    guidance = guide(params, encodings(), weights(ROWS_OF_WEIGHTS))
    np.testing.assert_allclose(guidance.coefficients.sum(axis=0), np.ones(ROWS), atol=1e-6)
    masks = guidance.condition.mask.reshape(len(NAMES) + 1, ROWS, -1)
    assert (masks[1:] | ~masks[:-1]).all()
    assert (masks[0].sum(axis=-1) == 1).all()
    positive = (np.array(ROWS_OF_WEIGHTS) > 0).sum(axis=1)
    np.testing.assert_array_equal(masks[-1].sum(axis=-1), 1 + 2 * positive)


def test_equal_weights_are_ordinary_guidance(params):
    guidance = guide(params, encodings(), weights([[4.0] * 4] * ROWS))
    coefficients = np.asarray(guidance.coefficients)
    np.testing.assert_array_equal(coefficients, np.array([[-3, 0, 0, 0, 4]] * ROWS).T)


def test_the_order_of_naming_does_not_matter(params):
    w = weights(ROWS_OF_WEIGHTS)
    guided = run(params, encodings(), w)
    np.testing.assert_array_equal(run(params, encodings(), dict(reversed(w.items()))), guided)
    # Another order of the tokens adds them up in another order.
    backwards = guide(params, encodings(NAMES[::-1]), w)
    forwards = guide(params, encodings(), w)
    np.testing.assert_array_equal(backwards.coefficients, forwards.coefficients)
    outputs = backwards.combine(network(backwards.condition))
    np.testing.assert_allclose(outputs, guided, atol=2e-5)


def test_what_is_absent_is_as_if_its_weight_were_zero(params):
    some = np.arange(ROWS) % 2 == 0
    removed = run(params, encodings(), weights([[2, 0, 1, 3]] * ROWS))
    for weight in (0, 0.7, 5):
        absent = encodings(present={"label": some})
        guided = run(params, absent, weights([[2, weight, 1, 3]] * ROWS))
        # A pass more or less in the telescope: equal but for the rounding of its sum.
        np.testing.assert_allclose(guided[~some], removed[~some], rtol=0, atol=1e-5)
        assert weight == 0 or np.abs(guided[some] - removed[some]).max() > 1e-2


def test_passes_that_do_not_count_can_be_left_out(params):
    for row in ROWS_OF_WEIGHTS:
        needed = passes_needed([float(weight) for weight in row])
        alike = weights([row] * ROWS)
        guidance = guide(params, encodings(), alike, needed)
        assert guidance.coefficients.shape == (len(needed), ROWS)
        np.testing.assert_allclose(guidance.coefficients.sum(axis=0), np.ones(ROWS), atol=1e-6)
        outputs = guidance.combine(network(guidance.condition))
        np.testing.assert_allclose(outputs, run(params, encodings(), alike), rtol=0, atol=1e-5)


def test_weights_are_one_for_each_modality():
    check_weights({"text": 0.0, "label": 3.0}, ("text", "label"))
    for given, words in (
        ({"text": 2.0}, "no guidance weight for 'label'; allowed: one for each of text, label"),
        ({"text": 2.0, "label": 1.0, "smell": 1.0}, "for 'smell'; the model has: text, label"),
        ({"text": float("nan"), "label": 1.0}, "guidance weight nan for 'text'; allowed: finite"),
        ({"text": 1.0, "label": float("inf")}, "guidance weight inf for 'label'"),
        ({"text": 1.0, "label": -1.0}, "guidance weight -1.0 for 'label'"),
    ):
        with pytest.raises(InputError, match=words):
            check_weights(given, ("text", "label"))


def test_only_needed_passes_are_counted():
    assert passes_needed([1.0, 1.0, 1.0]) == (3,)
    assert passes_needed([4.0, 4.0, 4.0]) == (0, 3)
    assert passes_needed([0.0, 0.0, 0.0]) == (0, 3)
    assert passes_needed([1.0, 3.0, 2.0]) == (0, 1, 2, 3)
    assert passes_needed([2.0, 0.0, 2.0]) == (0, 2, 3)


def test_a_pass_without_weight_may_hold_anything():
    condition = fusion.Condition(*(jnp.zeros((6, 1)) for _ in range(5)), experts={})
    guidance = Guidance(condition, jnp.array([[0.0, 0, 1], [0, 2, 0], [1, -1, 0]]).T[:2])
    outputs = jnp.where(guidance.coefficients == 0, jnp.nan, 1.0).reshape(6)
    np.testing.assert_array_equal(guidance.combine(outputs), guidance.coefficients.sum(axis=0))


def test_tile_follows_the_rows_of_the_condition(params):
    guidance = guide(params, encodings(), weights(ROWS_OF_WEIGHTS))
    x = jnp.arange(ROWS * 3.0).reshape(ROWS, 3)
    tiled = guidance.tile(x).reshape(5, ROWS, 3)
    np.testing.assert_array_equal(tiled, np.broadcast_to(x, (5, ROWS, 3)))
