"""The transformer: equal to float64 NumPy, layer by layer, with and without recomputation."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn.transformer import SwiGLU, Transformer, TransformerBlock
from tests.nn import reference

HEADS, WIDTH, TOKENS = 2, 16, 6
DEPTH = 5  # so that it is a loop; a short stack is unrolled
FLOAT = jnp.dtype("float32")


def _inputs():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, TOKENS, WIDTH)), jnp.float32)
    mask = jnp.arange(TOKENS)[None] < jnp.array([[4], [6]])
    return x, mask, jnp.asarray(3 * rng.normal(size=(TOKENS, 3)), jnp.float32)


def _doubled():
    return tuple(reference.double(x) for x in _inputs())


@functools.cache
def _scanned(depth=DEPTH, dtype="float32"):
    network = Transformer(depth, HEADS, jnp.dtype(dtype))
    _, mask, positions = _inputs()
    return jax.jit(lambda params, x: network.apply({"params": params}, x, mask, positions))


def _randomised(network, *inputs):
    return reference.randomised(jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"])


@pytest.mark.parametrize("width", [8, 16, 12])
def test_swiglu_equals_numpy_at_the_cost_of_a_plain_layer(width):
    x = _inputs()[0][..., :width]
    single, double = _randomised(SwiGLU(FLOAT), x)
    ours = SwiGLU(FLOAT).apply({"params": single}, x)
    np.testing.assert_allclose(
        ours, reference.swiglu(double, reference.double(x)), atol=1e-5, rtol=0
    )
    weights = sum(leaf.size for leaf in jax.tree.leaves(single))
    assert 8 * width**2 <= weights + 3 * width <= 8 * width**2 + 3 * 8 * width


def test_a_block_equals_numpy():
    block = TransformerBlock(HEADS, FLOAT)
    single, double = _randomised(block, *_inputs())
    ours, none = jax.jit(block.apply)({"params": single}, *_inputs())
    assert none is None
    expected = reference.transformer_block(double, *_doubled(), HEADS)
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("depth", [2, DEPTH])
def test_scanned_layers_equal_layers_one_by_one(depth):
    network = Transformer(depth, HEADS, FLOAT)
    x, mask, positions = _inputs()
    single, _ = _randomised(network, x, mask, positions)
    assert all(leaf.shape[0] == depth for leaf in jax.tree.leaves(single["layers"]))
    scanned = _scanned(depth)(single, x)
    block = jax.jit(TransformerBlock(HEADS, FLOAT).apply)
    for number in range(depth):
        x, _ = block({"params": reference.layer(single["layers"], number)}, x, mask, positions)
    x = reference.rms_norm(reference.double(x), single["norm"]["scale"])
    np.testing.assert_allclose(scanned, x, atol=1e-6, rtol=1e-6)


def test_masked_tokens_reach_no_other_token():
    network = Transformer(DEPTH, HEADS, FLOAT)
    x, mask, positions = _inputs()
    single, _ = _randomised(network, x, mask, positions)
    other = jnp.where(mask[..., None], x, 100.0)
    ours, expected = (np.asarray(_scanned()(single, each)) for each in (other, x))
    np.testing.assert_array_equal(ours[mask], expected[mask])


def test_recomputation_changes_the_memory_and_not_the_result():
    plain, thrifty = (Transformer(DEPTH, HEADS, FLOAT, remat) for remat in (False, True))
    single, _ = _randomised(plain, *_inputs())

    def gradient(network):
        return jax.jit(
            jax.value_and_grad(
                lambda params: jnp.square(network.apply({"params": params}, *_inputs())).mean()
            )
        )

    pairs = zip(*(jax.tree.leaves(gradient(n)(single)) for n in (plain, thrifty)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    texts = [str(jax.make_jaxpr(gradient(network))(single)) for network in (plain, thrifty)]
    assert [bool(re.search("remat|checkpoint", text)) for text in texts] == [False, True]
    # Recomputed: the forward pass's products stand in the backward pass once more.
    products = [text.count("dot_general") for text in texts]
    assert products[1] > products[0]


def test_bfloat16_computes_in_bfloat16_from_float32_weights():
    single, _ = _randomised(Transformer(DEPTH, HEADS, FLOAT), *_inputs())
    x = _inputs()[0]
    out, full = _scanned(dtype="bfloat16")(single, x.astype("bfloat16")), _scanned()(single, x)
    assert out.dtype == jnp.bfloat16
    error = np.abs(out.astype(jnp.float32) - full)
    assert 0 < error.mean() < 0.02 * np.abs(full).mean()
