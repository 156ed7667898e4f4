"""The multimodal diffusion transformer: equal to float64 NumPy, zero at first, blind to masks."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.flow.networks import MMDiT, MMDiTBlock
from mmgen_jax.nn.modulation import TimestepEmbedding
from tests.nn import reference

FLOAT = jnp.dtype("float32")
SIZES = dict(patch_size=4, width=24, depth=2, num_heads=2)
NAMES = ("noisy", "timestep", "tokens", "mask", "positions", "vector")
# Two modalities of three and two tokens behind a null token; the second row lacks the second.
MASK = ((True, True, True, True, True, True), (True, True, True, False, False, False))
POSITIONS = (0, 0, 1, 2, 0, 1)


def _network(dtype=FLOAT, remat=False):
    return MMDiT(**SIZES, dtype=dtype, remat=remat)


@functools.cache
def _inputs(height=8, width=12):
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    positions = jnp.pad(jnp.array(POSITIONS, jnp.float32)[:, None], ((0, 0), (0, 2)))
    arrays = normal(2, height, width, 3), jnp.array([0.3, 0.9]), normal(2, len(POSITIONS), 10)
    return dict(zip(NAMES, (*arrays, jnp.array(MASK), positions, normal(2, 7)), strict=True))


@functools.cache
def _weights():
    shapes = jax.eval_shape(_network().init, jax.random.key(0), **_inputs())["params"]
    return reference.randomised(shapes)


@functools.cache
def _initial():
    return jax.jit(_network().init)(jax.random.key(0), **_inputs())["params"]


@functools.cache
def _run(dtype=FLOAT, remat=False):
    network = _network(dtype, remat)
    return jax.jit(lambda params, **inputs: network.apply({"params": params}, **inputs))


@functools.cache
def _gradient(remat=False):
    def loss(params, tokens):
        return jnp.square(_run(remat=remat)(params, **dict(_inputs(), tokens=tokens)) - 1).mean()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def _block_inputs(dtype=FLOAT):
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    streams = normal(2, 6, 24).astype(dtype), normal(2, 6, 24).astype(dtype)
    mask = jnp.concatenate([jnp.ones((2, 6), bool), jnp.array(MASK)], axis=1)
    return streams, normal(2, 24), mask, 3 * normal(6, 3), 3 * normal(6, 3)


def test_a_block_equals_numpy():
    block = MMDiTBlock(2, FLOAT)
    streams, vector, mask, *positions = _block_inputs()
    shapes = jax.eval_shape(block.init, jax.random.key(0), *_block_inputs())["params"]
    single, double = reference.randomised(shapes)
    ours, none = jax.jit(block.apply)({"params": single}, *_block_inputs())
    assert none is None
    arrays = jax.tree.map(reference.double, (streams, vector, mask, positions))
    for one, other in zip(ours, reference.mmdit_block(double, *arrays, num_heads=2), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_the_whole_network_equals_numpy():
    single, double = _weights()
    ours = _run()(single, **_inputs())
    sizes = {name: SIZES[name] for name in ("patch_size", "depth", "num_heads")}
    expected = reference.mmdit(double, **jax.tree.map(reference.double, _inputs()), **sizes)
    assert np.abs(expected).mean() > 0.5
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_block_is_the_identity(dtype):
    block = MMDiTBlock(2, jnp.dtype(dtype))
    inputs = _block_inputs(dtype)
    params = reference.layer(_initial()["layers"], 1)
    streams, _ = jax.jit(block.apply)({"params": params}, *inputs)
    for after, before in zip(streams, inputs[0], strict=True):
        assert after.dtype == dtype
        np.testing.assert_array_equal(after, before)


def test_a_new_network_says_zero_and_can_learn():
    params = _initial()
    out = _run()(params, **_inputs())
    np.testing.assert_array_equal(out, np.zeros(out.shape))
    kernel = params["layers"]["image"]["projection"]["qkv"]["kernel"]
    assert kernel.shape[0] == SIZES["depth"] and not np.allclose(kernel[0], kernel[1])
    gradient, _ = _gradient()(params, _inputs()["tokens"])
    assert np.abs(gradient["out"]["kernel"]).max() > 0


def test_masked_condition_tokens_are_not_there():
    single, _ = _weights()
    mask = _inputs()["mask"][..., None]
    other = dict(_inputs(), tokens=jnp.where(mask, _inputs()["tokens"], 50.0))
    np.testing.assert_array_equal(_run()(single, **other), _run()(single, **_inputs()))
    _, gradient = _gradient()(single, _inputs()["tokens"])
    reached = np.abs(gradient).max(axis=-1) > 0
    np.testing.assert_array_equal(reached, MASK)


def test_every_input_that_counts_reaches_the_output():
    single, _ = _weights()
    before = _run()(single, **_inputs())
    for name in ("noisy", "timestep", "tokens", "positions", "vector"):
        after = _run()(single, **dict(_inputs(), **{name: _inputs()[name] * 0.5}))
        assert np.abs(after - before).max(axis=(1, 2, 3)).min() > 1e-3, name


def test_the_order_of_condition_tokens_does_not_matter():
    single, _ = _weights()
    order = jnp.array([4, 5, 0, 3, 1, 2])
    inputs = _inputs()
    shuffled = dict(
        inputs,
        tokens=inputs["tokens"][:, order],
        mask=inputs["mask"][:, order],
        positions=inputs["positions"][order],
    )
    ours, expected = (_run()(single, **each) for each in (shuffled, inputs))
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


def test_rows_do_not_meet():
    single, _ = _weights()
    inputs = _inputs()
    other = {name: inputs[name].at[1].multiply(-0.5) for name in ("noisy", "tokens", "vector")}
    ours, expected = (_run()(single, **dict(inputs, **each)) for each in (other, {}))
    np.testing.assert_array_equal(ours[0], expected[0])
    assert not np.allclose(ours[1], expected[1])


def test_recomputation_is_asked_for():
    # That it changes no gradient is tested with the transformer.
    arguments = _weights()[0], _inputs()["tokens"]
    texts = [str(jax.make_jaxpr(_gradient(remat))(*arguments)) for remat in (False, True)]
    assert [bool(re.search("remat|checkpoint", text)) for text in texts] == [False, True]


def test_bfloat16_is_close_and_the_output_is_float32():
    single, _ = _weights()
    full, half = (_run(jnp.dtype(d))(single, **_inputs()) for d in ("float32", "bfloat16"))
    assert full.dtype == half.dtype == jnp.float32
    error = np.abs(half - full)
    assert 0 < error.mean() < 0.03 * np.abs(full).mean()
    # Parameters are float32 whatever the network computes in.
    network = _network(jnp.dtype("bfloat16"))
    shapes = jax.eval_shape(network.init, jax.random.key(0), **_inputs())
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {FLOAT}


def test_timesteps_are_told_apart_at_both_ends():
    network = TimestepEmbedding(24)
    timestep = jnp.array([0.0, 1e-3, 2e-3, 0.5, 0.501, 0.999, 1.0])
    single, double = reference.randomised(
        jax.eval_shape(network.init, jax.random.key(0), timestep)["params"]
    )
    ours = network.apply({"params": single}, timestep)
    expected = reference.timestep_embedding(double, reference.double(timestep))
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)
    apart = np.linalg.norm(expected[:, None] - expected[None], axis=-1)
    assert apart[~np.eye(len(timestep), dtype=bool)].min() > 0.1
