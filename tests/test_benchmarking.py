"""Multiply-adds: as many as the definitions of products and convolutions have."""

import jax
import jax.numpy as jnp
import pytest

from mmgen_jax.benchmarking import multiply_adds
from mmgen_jax.nn.transformer import Transformer


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
