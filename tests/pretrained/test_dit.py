"""The diffusion transformer: equal to its authors' code, of the published sizes, zero at first."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.nn import layout
from mmgen_jax.nn.patches import patchify
from mmgen_jax.performance.flops import multiply_adds
from mmgen_jax.pretrained.dit import DiT, DiTBlock, Norm, sincos_positions
from mmgen_jax.pretrained.dit_sizes import PATCHES, SIZES
from mmgen_jax.pretrained.dit_weights import load
from tests.nn import reference
from tests.pretrained import dit_recipe as recipe

GOLDEN = json.loads(Path(__file__).with_name("dit_golden.json").read_text(encoding="utf-8"))
FLOAT = jnp.dtype("float32")
# Millions of parameters and billions of multiply-adds, with patches of 2 (DiT, tables 1 and 4).
PUBLISHED = {"S": (33, 6.06), "B": (130, 23.01), "L": (458, 80.71), "XL": (675, 118.64)}


def abstract(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@functools.cache
def network(case="rectangle", dtype=FLOAT, remat=False):
    return DiT(**recipe.CASES[case], dtype=dtype, remat=remat)


@functools.cache
def inputs(case="rectangle"):
    """(noisy images, timesteps, vectors)."""
    width = recipe.CASES[case]["width"]
    vector = recipe.draw("vector", len(recipe.LABELS), width)
    timestep = jnp.array(recipe.TIMESTEPS) / 1000
    return jnp.asarray(recipe.noisy(case)), timestep, jnp.asarray(vector)


@functools.cache
def weights(case="rectangle"):
    shapes = jax.eval_shape(network(case).init, jax.random.key(0), *inputs(case))["params"]
    return jax.tree.map(jnp.asarray, reference.randomised(shapes)[0])


@functools.cache
def run(case="rectangle", dtype=FLOAT, remat=False):
    made = network(case, dtype, remat)
    return jax.jit(lambda params, *inputs: made.apply({"params": params}, *inputs))


@functools.cache
def initial():
    return jax.jit(network().init)(jax.random.key(0), *inputs())["params"]


def gradient(params, remat=False):
    def loss(params):
        return jnp.square(run(remat=remat)(params, *inputs()) - 1).mean()

    return jax.grad(loss)(params)


# The authors' code.


def loaded(case, folder):
    """The case's weights, through a file under the authors' keys: (params, vectors of labels)."""
    path = folder / "dit.safetensors"
    safetensors.numpy.save_file(recipe.case_state_dict(case), path)
    params, labels = load(path, network(case), recipe.IMAGES[case][2])
    return params, jnp.asarray(labels[np.array(recipe.LABELS)])


@pytest.mark.parametrize("case", recipe.CASES)
def test_output_is_that_of_the_authors_code(case, tmp_path):
    params, vector = loaded(case, tmp_path)
    noisy, timestep, _ = inputs(case)
    out = run(case)(params, noisy, timestep, vector)
    assert out.dtype == np.float32
    if case == "rectangle":
        out = patchify(out, recipe.CASES[case]["patch_size"])
    golden = np.array(GOLDEN[case])
    assert np.abs(golden).mean() > 0.5
    np.testing.assert_allclose(out, golden, atol=1e-4, rtol=0)


def test_positions_are_those_of_the_authors_code():
    np.testing.assert_allclose(sincos_positions(*recipe.GRID), GOLDEN["positions"], atol=1e-6)
    with pytest.raises(ValueError, match="a multiple of 4, not 10"):
        sincos_positions(2, 3, 10)


def test_norms_add_what_the_authors_do_to_the_variance():
    # It is lost among the rest in the output; here it is as large as the variance.
    x = 1e-3 * jnp.array([[1.0, -1.0, 1.0, -1.0]])
    out = Norm(dtype=FLOAT).apply({}, x)
    np.testing.assert_allclose(out, np.sign(x) / np.sqrt(2), rtol=1e-5)


# The published sizes: images of 32 x 32 x 4, 1000 classes and none.


@functools.cache
def published(name):
    """(network, shapes of its parameters, inputs), nothing of it computed."""
    made = DiT(patch_size=2, **SIZES[name], dtype=FLOAT, learn_sigma=True)
    arguments = abstract(1, 32, 32, 4), abstract(1), abstract(1, made.width)
    shapes = jax.eval_shape(made.init, jax.random.key(0), *arguments)["params"]
    return made, shapes, arguments


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    made, shapes, _ = published(name)
    labels = 1001 * made.width
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes)) + labels
    assert count == GOLDEN["counts"][f"DiT-{name}/2"]
    # The paper counts the fixed positions, too.
    assert count + 256 * made.width == pytest.approx(1e6 * PUBLISHED[name][0], rel=5e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_are_as_many_as_published(name):
    made, shapes, arguments = published(name)
    count = multiply_adds(
        lambda params, *inputs: made.apply({"params": params}, *inputs), shapes, *arguments
    )
    assert count == pytest.approx(1e9 * PUBLISHED[name][1], rel=1e-2)


def test_sizes_fit_heads_positions_and_latents():
    for each in SIZES.values():
        assert each["width"] % each["num_heads"] == each["width"] % 4 == 0
    assert all(32 % patch_size == 0 for patch_size in PATCHES)


# How training begins.


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_block_is_the_identity(dtype):
    x = jnp.asarray(recipe.draw("x", 3, 12, 48)).astype(dtype)
    params = {"params": reference.layer(initial()["layers"], 1)}
    block = DiTBlock(num_heads=3, dtype=jnp.dtype(dtype))
    after, none = jax.jit(block.apply)(params, x, inputs()[2])
    assert none is None and after.dtype == dtype
    np.testing.assert_array_equal(after, x)


def test_a_new_network_says_zero_and_can_learn():
    params = initial()
    out = run()(params, *inputs())
    np.testing.assert_array_equal(out, np.zeros(out.shape))
    kernel = params["layers"]["qkv"]["kernel"]
    assert kernel.shape[0] == 5 and not np.allclose(kernel[0], kernel[1])
    assert np.abs(gradient(params)["out"]["kernel"]).max() > 0


def test_new_kernels_are_as_large_as_the_authors():
    params = initial()
    for name in ("hidden", "out"):
        assert np.std(params["timestep"][name]["kernel"]) == pytest.approx(0.02, rel=0.1)
    for leaf in (params["embed"], *(params["layers"][n] for n in ("qkv", "out", "hidden", "down"))):
        # Uniform over +-sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010, eq. 16).
        fan_in, fan_out = leaf["kernel"].shape[-2:]
        expected = np.sqrt(2 / (fan_in + fan_out))
        assert np.std(leaf["kernel"]) == pytest.approx(expected, rel=0.05)
        np.testing.assert_array_equal(leaf["bias"], 0)


# How it is called, and where it runs.


def test_the_variance_is_made_of_further_channels():
    noisy = inputs("square")[0]
    assert run("square")(weights("square"), *inputs("square")).shape == (*noisy.shape[:3], 8)
    assert run()(weights(), *inputs()).shape == inputs()[0].shape


def test_every_input_reaches_every_row_and_rows_do_not_meet():
    before = run()(weights(), *inputs())
    for number, each in enumerate(inputs()):
        changed = list(inputs())
        changed[number] = each.at[1:].multiply(0.5).at[1:].add(0.1)
        after = run()(weights(), *changed)
        np.testing.assert_array_equal(after[0], before[0])
        assert np.abs(after - before)[1:].max(axis=(1, 2, 3)).min() > 1e-3


def test_recomputation_is_asked_for():
    # That it changes no gradient is tested with the transformer.
    graded = [functools.partial(gradient, remat=remat) for remat in (False, True)]
    texts = [str(jax.make_jaxpr(each)(weights())) for each in graded]
    assert [bool(re.search("remat|checkpoint", text)) for text in texts] == [False, True]


def test_bfloat16_is_close_and_the_output_is_float32():
    full, half = (run(dtype=jnp.dtype(d))(weights(), *inputs()) for d in ("float32", "bfloat16"))
    assert full.dtype == half.dtype == jnp.float32
    assert 0 < np.abs(half - full).mean() < 0.03 * np.abs(full).mean()
    # Parameters are float32 whatever the network computes in.
    made = network(dtype=jnp.dtype("bfloat16"))
    shapes = jax.eval_shape(made.init, jax.random.key(0), *inputs())
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {FLOAT}


def test_features_within_layers_may_be_split():
    """Over `tensor`: queries, keys and values and the hidden features by what comes out of them."""
    axes = {
        layout.path_name(path): layout.tensor_axis(path, leaf.ndim)
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights()["layers"])
        if layout.path_name(path).endswith("kernel")
    }
    expected = {"qkv": 2, "hidden": 2, "out": 1, "down": 1, "modulation/parts": None}
    assert axes == {f"{name}/kernel": axis for name, axis in expected.items()}


def test_what_layers_carry_is_split_by_example():
    """That results are then those of one device is tested with the MM-DiT (`test_layout.py`)."""
    made = network()
    arguments = abstract(4, 8, 24, 3), abstract(4), abstract(4, 48)
    mesh = jax.sharding.AbstractMesh(
        (2, 2, 1), layout.AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    with jax.sharding.use_abstract_mesh(mesh):
        program = jax.make_jaxpr(made.apply)({"params": weights()}, *arguments)
    for shape in ("4,12,48", "4,48"):
        assert len(re.findall(rf"f32\[{shape}\] = sharding_constraint", str(program))) == 1
