"""The autoencoder's layers: the table in its docstring, sizes, dtypes, and a block by hand."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax import config as configs
from mmgen_jax.generators.autoencoder import networks
from mmgen_jax.generators.autoencoder.networks import AutoEncoder, DenseBlock
from mmgen_jax.nn.batch_norm import EPSILON
from tests.tiny import random_parameters

FEATURES = 128  # of a condition's vector, by default
TABLE = re.findall(r"^    (\S+) +(\S*) +([\d,]+)$", networks.__doc__, re.MULTILINE)


def founding(image_size, dtype="float32"):
    """With the widths that the config has by default."""
    options = configs.default().generator.autoencoder
    widths = (options.dense_widths, options.base_width, options.decoder_widths)
    return AutoEncoder(image_size, options.encoder_widths, *widths, jnp.dtype(dtype))


def said(intermediates, layer=""):
    """(layer, what it says) of what flax captured; a tuple's first, which moments follow."""
    for name, node in intermediates.items():
        if name == "__call__":
            yield layer, node[0][0] if isinstance(node[0], tuple) else node[0]
        else:
            yield from said(node, f"{layer}/{name}".lstrip("/"))


@functools.cache
def layers(image_size, dtype="float32"):
    """({layer: number of its parameters}, {layer: what it says}); nothing is computed."""
    module = founding(image_size, dtype)
    inputs = jnp.zeros((2, image_size, image_size, 3)), jnp.zeros((2, FEATURES))

    def run():
        variables = module.init(jax.random.key(0), *inputs)
        options = dict(capture_intermediates=True, mutable=["intermediates"])
        return variables["params"], module.apply(variables, *inputs, **options)[1]["intermediates"]

    params, intermediates = jax.eval_shape(run)
    parameters = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        layer = "/".join(entry.key for entry in path[:-1])
        parameters[layer] = parameters.get(layer, 0) + math.prod(leaf.shape)
    return parameters, dict(said(intermediates))


def test_the_table_is_that_of_the_founding_model():
    parameters, outputs = dict(layers(256)[0]), layers(256)[1]
    *rows, (total, _, count) = TABLE
    assert parameters.pop("decoder/dense_1/condition") == FEATURES * 4096
    assert {name for name, *_ in rows} == set(parameters)
    for name, shape, number in rows:
        assert outputs[name].shape == (2, *map(int, shape.split("x"))), name
        assert f"{parameters[name]:,}" == number, name
    assert (total, count) == ("total", f"{sum(parameters.values()):,}")
    assert sum(parameters.values()) == pytest.approx(1.24e9, rel=0.005)


@pytest.mark.parametrize(("image_size", "side", "code"), [(32, 1, 2), (64, 2, 4), (256, 8, 16)])
def test_other_image_sizes_have_another_side(image_size, side, code):
    parameters, outputs = layers(image_size)
    assert outputs["encoder"].shape == (2, code * code * 1024)
    assert outputs["decoder/dense_3/norm"].shape == (2, side * side * 512)
    assert outputs["decoder/image"].shape == (2, image_size, image_size, 3)
    assert set(parameters) == set(layers(256)[0])


def test_all_but_the_output_and_the_moments_is_of_the_compute_dtype():
    pictures = ("", "decoder", "decoder/image")
    for name, x in layers(64, "bfloat16")[1].items():
        expected = jnp.float32 if name in pictures else jnp.bfloat16
        assert x.dtype == expected, name


def test_a_dense_block_by_hand():
    """Dense, the condition's share, ReLU, and only then the norm."""
    rng = np.random.default_rng(1)
    x, vector = (jnp.asarray(rng.normal(size=(6, n)), jnp.float32) for n in (4, 3))
    block = DenseBlock(5, jnp.dtype("float32"))
    params = random_parameters(lambda key: block.init(key, x, vector, None))["params"]
    y, moments = block.apply({"params": params}, x, vector, None)
    assert set(params["condition"]) == {"kernel"}
    p, x, vector = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x, vector))
    hidden = x @ p["hidden"]["kernel"] + p["hidden"]["bias"] + vector @ p["condition"]["kernel"]
    positive = np.maximum(hidden, 0)
    normed = (positive - positive.mean(0)) / np.sqrt(positive.var(0) + EPSILON)
    np.testing.assert_allclose(y, p["norm"]["scale"] * normed + p["norm"]["bias"], atol=1e-4)
    np.testing.assert_allclose(moments.mean, positive.mean(0), atol=1e-5)


def test_a_picture_is_tanh_of_the_last_of_the_transposed_convolutions():
    module = AutoEncoder(16, (4, 8), (8,), 8, (8, 4), jnp.dtype("float32"))
    rng = np.random.default_rng(3)
    inputs = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 16, 16, 3), (2, 3))
    )
    inputs = tuple(inputs)
    variables = random_parameters(lambda key: module.init(key, *inputs))
    options = dict(capture_intermediates=True, mutable=["intermediates"])
    (images, _), captured = module.apply(variables, *inputs, **options)
    before = dict(said(captured["intermediates"]))["decoder/up_2"]
    rectified = jnp.where(before > 0, before, 0.2 * before)
    last = variables["params"]["decoder"]["image"]
    layout = dict(padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jax.lax.conv_transpose(rectified, last["kernel"], (2, 2), **layout)
    np.testing.assert_allclose(images, np.tanh(x + last["bias"][None, None, None]), atol=1e-5)


def test_the_condition_begins_small_but_not_at_zero():
    module = AutoEncoder(16, (4, 8), (64,), 8, (8, 4), jnp.dtype("float32"))
    inputs = jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 50))
    params = jax.jit(lambda: module.init(jax.random.key(0), *inputs))()["params"]
    kernel = np.asarray(params["decoder"]["dense_1"]["condition"]["kernel"])
    assert kernel.std() == pytest.approx(0.02, rel=0.1)


def test_convolutions_have_leaky_rectifiers_and_see_a_neighbourhood():
    """A change of one pixel reaches the code near it; nothing is cut off below zero."""
    module = AutoEncoder(16, (4, 8), (8,), 8, (8, 4), jnp.dtype("float32"))
    images = jnp.asarray(np.random.default_rng(2).normal(size=(1, 16, 16, 3)), jnp.float32)
    vector = jnp.zeros((1, 3))
    variables = random_parameters(lambda key: module.init(key, images, vector))

    @jax.jit
    def code(images):
        coded = module.apply(variables, images, method=lambda m, x: m.encoder(x))
        return coded.reshape(8, 8, 8)

    before, after = np.asarray(code(images)), np.asarray(code(images.at[0, 0, 0].add(1.0)))
    assert (before < 0).any() and before.max() > -2 * before.min()
    moved = np.abs(after - before).max(axis=-1) > 0
    assert moved[0, 0] and not moved[4:].any() and not moved[:, 4:].any()
