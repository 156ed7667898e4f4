"""StyleGAN2's networks: NVIDIA's numbers, the paper's definitions, and how training begins."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.stylegan import networks
from mmgen_jax.generators.stylegan.networks import Discriminator, Mapping, Synthesis
from tests.generators.stylegan import stylegan2_recipe as recipe

GOLDEN = json.loads(Path(__file__).with_name("stylegan2_golden.json").read_text(encoding="utf-8"))
TAPS = (1.0, 3.0, 3.0, 1.0)


@functools.cache
def _parameters(name):
    return jax.tree.map(jnp.asarray, recipe.parameters(name))


@functools.cache
def _inputs():
    return jax.tree.map(jnp.asarray, recipe.inputs())


def _ws(params, z, condition):
    w = recipe.MAPPING.apply({"params": params["mapping"]}, z, condition)
    return jnp.repeat(w[:, None], networks.layer_count(recipe.IMAGE_SIZE), axis=1)


def _draw(params, ws, noise, network=recipe.SYNTHESIS):
    return network.apply({"params": params["synthesis"]}, ws, noise)


def _judge(params, images, condition, network=recipe.DISCRIMINATOR):
    return network.apply({"params": params}, images, condition)


def _path_penalty(params, inputs):
    """(penalty, what led to it): the regularisation of path lengths (eq. 4)."""
    ws = _ws(params, inputs["z"], inputs["condition"])

    def along(ws):
        images = _draw(params, ws, inputs["noise"])
        return (images * inputs["direction"]).sum() / recipe.IMAGE_SIZE, images

    gradient, images = jax.grad(along, has_aux=True)(ws)
    lengths = jnp.sqrt(jnp.square(gradient).sum(axis=2).mean(axis=1))
    steps = {"w": ws[:, 0], "images": images, "gradient by ws": gradient, "path lengths": lengths}
    return jnp.square(lengths - recipe.MEAN_LENGTH).mean(), steps


def _r1(params, images, condition):
    """(penalty, what led to it): the norm of the gradient by the images."""

    def total(images):
        logits = _judge(params, images, condition)
        return logits.sum(), logits

    gradient, logits = jax.grad(total, has_aux=True)(images)
    steps = {"logits": logits, "gradient by images": gradient}
    return jnp.square(gradient).sum(axis=(1, 2, 3)).mean(), steps


# NVIDIA's numbers.


def _assert_close(found, golden, tolerance=1e-4):
    found, golden = recipe.thinned(found), {k: np.asarray(v) for k, v in golden.items()}
    np.testing.assert_allclose(found["values"], golden["values"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found["size"], golden["size"], rtol=0, atol=tolerance)


def _assert_norms(gradient, golden, prefix):
    found = recipe.named(jax.tree.map(jnp.linalg.norm, jax.tree.map(jnp.ravel, gradient)), prefix)
    assert found.keys() == golden.keys()
    # What is 0 but for rounding is told by what is not.
    smallest = 1e-6 * max(golden.values())
    for name, norm in found.items():
        np.testing.assert_allclose(norm, golden[name], rtol=1e-4, atol=smallest, err_msg=name)


def test_generator_and_path_lengths_are_nvidias():
    golden = GOLDEN["generator"]
    graded = jax.jit(jax.value_and_grad(_path_penalty, has_aux=True))
    (penalty, steps), gradient = graded(_parameters("generator"), _inputs())
    for name, found in steps.items():
        _assert_close(found, golden[name], 1e-5 if name == "w" else 1e-4)
    np.testing.assert_allclose(penalty, golden["path penalty"], rtol=1e-4)
    _assert_norms(gradient, golden["path penalty's gradient"], "generator")


def test_clamped_images_are_nvidias():
    params, inputs = _parameters("generator"), _inputs()
    ws = _ws(params, inputs["z"], inputs["condition"])
    draw = jax.jit(functools.partial(_draw, network=recipe.CLAMPED))
    _assert_close(draw(params, ws, inputs["noise"]), GOLDEN["generator"]["clamped images"])


def test_discriminator_and_r1_are_nvidias():
    golden, inputs = GOLDEN["discriminator"], _inputs()
    graded = jax.jit(jax.value_and_grad(_r1, has_aux=True))
    arguments = _parameters("discriminator"), inputs["images"], inputs["condition"]
    (penalty, steps), gradient = graded(*arguments)
    _assert_close(steps["logits"], golden["logits"])
    _assert_close(steps["gradient by images"], golden["gradient by images"], 1e-6)
    np.testing.assert_allclose(penalty, golden["r1"], rtol=1e-4)
    _assert_norms(gradient, golden["r1's gradient"], "discriminator")


def test_other_discriminators_are_nvidias():
    golden, inputs = GOLDEN["discriminator"], _inputs()
    four = inputs["images"][:4], inputs["condition"][:4]
    _assert_close(jax.jit(_judge)(_parameters("discriminator"), *four), golden["logits of 4"])
    plain = jax.jit(functools.partial(_judge, network=recipe.PLAIN, condition=None))
    _assert_close(plain(_parameters("plain"), inputs["images"]), golden["plain logits"])


@pytest.mark.parametrize("name", recipe.PUBLISHED)
def test_published_networks_have_as_many_parameters(name):
    each = recipe.PUBLISHED[name]
    size, channels = each["image_size"], dict(channel_base=each["base"], channel_max=512)
    synthesis = Synthesis(size, **channels)
    generator = recipe.generator_shapes(
        Mapping(512, each["mapping"]), synthesis, 512, each["condition"]
    )
    network = Discriminator(size, **channels, residual=each["residual"])
    one = lambda *shape: jax.ShapeDtypeStruct((1, *shape), jnp.float32)  # noqa: E731
    inputs = one(size, size, 3), one(each["condition"])
    discriminator = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    found = [sum(leaf.size for leaf in jax.tree.leaves(x)) for x in (generator, discriminator)]
    assert found == GOLDEN["counts"][name]


# Definitions.


@pytest.mark.parametrize("demodulate", (False, True))
@pytest.mark.parametrize("size, up", ((1, False), (3, False), (3, True)))
def test_modulated_convolution_is_as_defined(size, up, demodulate):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(size, size, 3, 4))
    style = 1 + rng.normal(size=(2, 3))
    # With kernels of each example's own: zeros between the pixels and the filter come first.
    padding = size // 2
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    wide = (
        recipe.filtered(x, TAPS, 2, 1, (2 + padding, 2 + padding), 4) if up else np.pad(x, widths)
    )
    side = wide.shape[1] - size + 1
    expected = np.zeros((2, side, side, 4))
    for row in range(2):
        own = kernel * style[row][:, None]
        if demodulate:
            own = own / np.sqrt(np.square(own).sum(axis=(0, 1, 2)) + 1e-8)
        for i in range(side):
            for j in range(side):
                window = wide[row, i : i + size, j : j + size]
                expected[row, i, j] = np.einsum("hwc,hwco->o", window, own)
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (x, kernel, style))
        found = networks.modulated_conv(*arrays, demodulate=demodulate, up=up)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_activation_by_hand():
    x, bias = jnp.array([[-2.0, 0.0, 3.0]]), jnp.array([1.0, -0.5, 0.0])
    root = 2**0.5
    leaky = np.array([[-0.2 * root, -0.1 * root, 3 * root]])
    for options, expected in (
        (dict(), [[-1, -0.5, 3]]),
        (dict(activation="lrelu"), leaky),
        (dict(activation="lrelu", gain=0.5), 0.5 * leaky),
        (dict(activation="lrelu", clamp=4.0, gain=0.5), [[*0.5 * leaky[0, :2], 2]]),
        (dict(clamp=0.75), [[-0.75, -0.5, 0.75]]),
    ):
        np.testing.assert_allclose(networks.activate(x, bias, **options), expected, rtol=1e-6)


def test_demodulated_features_keep_their_deviation():
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    x, kernel, style = normal(4, 16, 16, 64), normal(3, 3, 64, 64), 5 * normal(4, 64)
    inner = networks.modulated_conv(x, kernel, style)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner.std(axis=(1, 2, 3)), 1, atol=0.1)
    plain = networks.modulated_conv(x, kernel, style, demodulate=False)
    assert plain.std() > 50


@pytest.mark.parametrize("image_size, layers", ((4, 2), (8, 4), (32, 8), (256, 14), (1024, 18)))
def test_layers_and_their_noise(image_size, layers):
    assert networks.layer_count(image_size) == layers
    shapes = networks.noise_shapes(image_size)
    sizes = [shape[0] for shape in shapes]
    assert len(shapes) == layers - 1 and sizes[0] == 4 and sizes[-1] == image_size
    assert all(shape == (shape[0], shape[0], 1) for shape in shapes)
    assert sizes == sorted(sizes) and all(sizes.count(size) == 2 for size in sizes[1:])


@pytest.mark.parametrize("image_size", (0, 2, 6, 48))
def test_other_sizes_are_refused(image_size):
    with pytest.raises(ValueError, match=f"not of {image_size}$"):
        networks.image_sizes(image_size)


# What is new is as the paper has it.


@functools.cache
def _new(name):
    """Parameters as training begins, of small networks at 8 pixels."""
    key, row = jax.random.key(0), jnp.zeros((1, 16))
    channels = recipe.CHANNELS
    if name == "mapping":
        return jax.jit(Mapping(64, 2).init)(key, row, row)["params"]
    if name == "synthesis":
        return jax.jit(Synthesis(8, **channels).init)(key, jnp.zeros((1, 4, 16)))["params"]
    network = Discriminator(8, **channels, mapping_layers=1)
    return jax.jit(network.init)(key, jnp.zeros((1, 8, 8, 3)), row)["params"]


@pytest.mark.parametrize("name", ("mapping", "synthesis", "discriminator"))
def test_parameters_begin_as_the_paper_has_them(name):
    for path, leaf in recipe.named(_new(name), name).items():
        assert leaf.dtype == jnp.float32
        if path.endswith("embed/bias"):  # ours: where nothing is given, it alone has a direction
            np.testing.assert_allclose(leaf.std(), 0.3, rtol=5 / leaf.size**0.5)
        elif path.endswith("bias"):
            np.testing.assert_array_equal(leaf, 1.0 if "style" in path else 0.0)
        elif path.endswith("noise_strength"):
            assert leaf.shape == () and leaf == 0
        else:
            deviation = 100 if "mapping/dense" in path else 1
            np.testing.assert_allclose(leaf.std(), deviation, rtol=5 / leaf.size**0.5)


def test_gains_at_run_time_keep_the_deviation():
    x = jax.random.normal(jax.random.key(1), (64, 256))
    for layer in (
        networks.EqualDense(256),
        networks.EqualDense(256, lr_multiplier=0.01),
    ):
        out, _ = layer.init_with_output(jax.random.key(0), x)
        np.testing.assert_allclose(out.std(), 1, atol=0.05)
    images = x.reshape(4, 16, 16, 16)
    out, _ = networks.EqualConv(64, 3).init_with_output(jax.random.key(0), images)
    np.testing.assert_allclose(out[:, 1:-1, 1:-1].std(), 1, atol=0.1)


def test_what_is_learned_goes_by_the_multiplier():
    x = jnp.ones((1, 4))
    layer = networks.EqualDense(3, lr_multiplier=0.1)
    params = layer.init(jax.random.key(0), x)
    gradient = jax.grad(lambda params: layer.apply(params, x).sum())(params)["params"]
    np.testing.assert_allclose(gradient["kernel"], 0.1 / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient["bias"], 0.1, rtol=1e-6)


def test_noise_counts_by_its_strength():
    ws = jax.random.normal(jax.random.key(1), (2, 4, 16))
    shapes = networks.noise_shapes(8)
    noise = tuple(jax.random.normal(jax.random.key(2), (2, *shape)) for shape in shapes)
    network = Synthesis(8, **recipe.CHANNELS)
    draw = jax.jit(lambda params, noise: network.apply({"params": params}, ws, noise))
    silent = draw(_new("synthesis"), None)
    np.testing.assert_allclose(draw(_new("synthesis"), noise), silent, atol=1e-6)
    for layer in range(3):
        name = ("conv4", "up8", "conv8")[layer]
        params = jax.tree.map(lambda x: x, _new("synthesis"))
        params[name]["noise_strength"] = jnp.float32(0.5)
        loud = draw(params, noise)
        assert np.abs(loud - silent).mean() > 1e-2
        # Only this layer's counts, and each row's own.
        mine = tuple(
            one.at[0].set(0) if number == layer else 0 * one for number, one in enumerate(noise)
        )
        there = draw(params, mine)
        np.testing.assert_allclose(there[0], silent[0], atol=1e-6)
        np.testing.assert_allclose(there[1], loud[1], atol=1e-6)


def test_every_layer_has_a_w_of_its_own():
    key, count = jax.random.key(1), networks.layer_count(8)
    ws = jax.random.normal(key, (2, count, 16))
    network = Synthesis(8, **recipe.CHANNELS)
    draw = jax.jit(lambda ws: network.apply({"params": _new("synthesis")}, ws))
    before = draw(ws)
    for layer in range(count):
        after = draw(ws.at[1, layer].multiply(-1))
        np.testing.assert_array_equal(after[0], before[0])
        assert np.abs(after[1] - before[1]).mean() > 1e-2
    with pytest.raises(ValueError, match="4 layers, not 3"):
        network.apply({"params": _new("synthesis")}, ws[:, 1:])


def test_mapping_takes_either_input_or_both():
    z, condition = jax.random.normal(jax.random.key(1), (2, 3, 16))
    network = Mapping(64, 2)
    for inputs in ((z, None), (z, z[:, :0]), (None, condition), (z[:, :0], condition)):
        w, params = network.init_with_output(jax.random.key(0), *inputs)
        assert w.shape == (3, 64)
        assert ("embed" in params["params"]) == (inputs[1] is condition)
    both = jax.jit(network.apply)
    w = both({"params": _new("mapping")}, z, condition)
    # Only the direction of z counts.
    np.testing.assert_allclose(both({"params": _new("mapping")}, 3 * z, condition), w, atol=1e-5)
    assert np.abs(both({"params": _new("mapping")}, z, -condition) - w).mean() > 0.1


def test_bfloat16_is_close_and_what_comes_out_is_float32():
    ws, condition = jnp.asarray(recipe.draw("ws", 4, 4, 16)), jnp.asarray(recipe.draw("c", 4, 16))
    images, outs = jnp.asarray(recipe.draw("small", 4, 8, 8, 3)), []
    for dtype in map(jnp.dtype, ("float32", "bfloat16")):
        options = dict(**recipe.CHANNELS, dtype=dtype)
        judge = Discriminator(8, **options, mapping_layers=1).apply
        drawn = jax.jit(Synthesis(8, **options).apply)({"params": _new("synthesis")}, ws)
        judged = jax.jit(judge)({"params": _new("discriminator")}, images, condition)
        outs.append((drawn, judged))
    for full, half in zip(*outs, strict=True):
        assert full.dtype == half.dtype == jnp.float32
        assert 0 < np.abs(full - half).mean() < 0.03 * np.abs(full).mean()
