"""Multiply-adds: as many as the definitions of products and convolutions have."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from configs import flow
from mmgen_jax import model as models
from mmgen_jax.data import DataOptions
from mmgen_jax.generators.adversarial import lazily
from mmgen_jax.nn.transformer import Transformer
from mmgen_jax.performance.flops import analytic, multiply_adds
from mmgen_jax.training import run
from mmgen_jax.training import step as steps
from tests.tiny import open_source, tiny_config


def abstract(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products_with_and_without_batch_axes():
    assert multiply_adds(jnp.matmul, abstract(3, 5), abstract(5, 7)) == 3 * 5 * 7
    assert multiply_adds(jnp.vdot, abstract(9), abstract(9)) == 9
    einsum = lambda x, y: jnp.einsum("bqhc,bkhc->bhqk", x, y)  # noqa: E731
    assert multiply_adds(einsum, abstract(2, 3, 4, 5), abstract(2, 6, 4, 5)) == 2 * 3 * 6 * 4 * 5
    assert multiply_adds(lambda x: jnp.tanh(x).sum() + 1, abstract(3, 5)) == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(groups):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (2, 2),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    shapes = abstract(2, 8, 6, 4), abstract(3, 5, 4 // groups, 10)
    assert multiply_adds(convolve, *shapes) == 2 * (4 * 3) * 10 * (3 * 5) * (4 // groups)


def test_control_flow_counts_what_runs():
    square = abstract(4, 4)

    def scan(x):
        return jax.lax.scan(lambda x, _: (jax.jit(jnp.matmul)(x, x), None), x, length=3)

    def nested(x):
        return jax.lax.scan(lambda x, _: (scan(x)[0] @ x, None), x, length=5)

    def branch(x):
        return jax.lax.switch(x[0, 0].astype(int), [lambda x: x, lambda x: x @ x @ x], x)

    def rounds(count):
        return lambda x: jax.lax.fori_loop(0, count(x), lambda _, x: x @ x, x)

    assert multiply_adds(scan, square) == 3 * 64
    assert multiply_adds(nested, square) == 5 * 4 * 64
    assert multiply_adds(branch, square) == 2 * 64
    assert multiply_adds(rounds(lambda x: 6), square) == 6 * 64
    with pytest.raises(ValueError, match="multiply-adds of while cannot be counted"):
        multiply_adds(rounds(lambda x: x[0, 0].astype(int)), square)


@pytest.mark.parametrize(("remat", "times"), [(False, 3), (True, 4)])
def test_a_gradient_costs_twice_its_function_and_recomputation_once_more(remat, times):
    """A layer of products: one forward, one for its input and one for its weights."""

    def loss(weights, x):
        layer = lambda x, kernel: (jnp.tanh(x @ kernel), None)  # noqa: E731
        return jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, weights)[0].sum()

    shapes = abstract(6, 4, 4), abstract(3, 4)
    assert multiply_adds(loss, *shapes) == 6 * 3 * 16
    assert multiply_adds(jax.grad(loss, argnums=(0, 1)), *shapes) == times * 6 * 3 * 16


@pytest.mark.parametrize("depth", [2, 6])
def test_a_transformer(depth):
    """Per token and layer: 4 w^2 of projections, 2 t w of attention and 3 w h of SwiGLU."""
    rows, tokens, width, hidden = 2, 5, 24, 64
    inputs = abstract(rows, tokens, width), jnp.ones((rows, tokens), bool), abstract(tokens, 2)
    made = Transformer(depth, 2, jnp.dtype("float32"))
    shapes = jax.eval_shape(made.init, jax.random.key(0), *inputs)
    each = 4 * width**2 + 2 * tokens * width + 3 * width * hidden
    assert multiply_adds(made.apply, shapes, *inputs) == rows * tokens * depth * each


def test_a_lazy_term_counts_as_often_as_it_is_there():
    def loss(x, step):
        return lazily(step, 4, lambda: jnp.sum(x @ x))

    step = jax.ShapeDtypeStruct((), jnp.int32)
    assert multiply_adds(loss, abstract(4, 4), step) == 64 / 4
    # The term itself is not asked for.
    assert multiply_adds(jax.grad(loss), abstract(4, 4), step) == 2 * 64 / 4


OTHERS = ("dalle", "vae", "vqvae", "gan", "stylegan", "autoencoder")


@pytest.mark.parametrize(
    "family",
    ["flow", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def test_the_cost_of_a_training_step(family):
    """By part, and all of the gradient of the objective as it is; recomputing counts nothing."""
    config = tiny_config(("text", "label"))
    config.generator.name = family
    if family == "dalle":
        config.tokenizer.family, config.objective.recovery_patch_size = "vqvae", 2
    assets = models.fit(config, open_source(config))
    found = analytic(config, assets)
    model = models.build(config, assets)
    state = run.state_shapes(config, model)
    sizes = {group: tree_size(tree) for group, tree in state.params.items()}
    assert found["parameters"] == sizes | {"total": sum(sizes.values())}
    parts = dict(found["forward_multiply_adds_by_part"])
    assert (parts.pop("tokenizer") > 0) == (family == "dalle")
    assert all(part > 0 for part in parts.values())
    assert found["forward_multiply_adds_per_image"] == pytest.approx(sum(parts.values()))
    batch = jax.eval_shape(lambda: models.blank_batch(model, config.train.batch_size))
    step = steps.build(config, model, run.players(config, model))
    counted = 2 * multiply_adds(step, state, batch) / config.train.batch_size
    assert found["model_flops_per_image"] == pytest.approx(counted, rel=0.03)
    if "remat" in config.generator[family]:
        config.generator[family].remat = True
        config.train.grad_accum_steps = 2
        assert analytic(config, assets) == found


def tree_size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_cost_of_a_published_network():
    """DiT-S/2 on latents of 32 x 32 x 4: 33 million parameters, 6.06 G (Peebles & Xie 2023)."""
    config = flow.get_config("size=dit_s_2,modalities=label")
    config.train.batch_size = 2
    source = replace(DataOptions.of(config), image_size=32).open("train")
    found = analytic(config, models.fit(config, source))
    assert found["forward_multiply_adds_by_part"]["generator"] == pytest.approx(6.06e9, rel=0.01)
    assert found["parameters"]["generator"] == pytest.approx(33e6, rel=0.02)
