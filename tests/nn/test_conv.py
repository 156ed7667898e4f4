"""Our convolution against jax's own, and its gradients of first and second order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn.conv import Axis, Conv, DoublingConv, convolve

# Strides, paddings (negative ones too), gaps in the input (transposed), spread kernels.
AXES = [
    Axis(1, 1, 1),
    Axis(2, 1, 1),
    Axis(2, 0, 1),
    Axis(3, 0, 0),
    Axis(1, -1, 0),
    Axis(1, 1, 2, gap=2),
    Axis(1, 2, 2, spread=2),
    Axis(2, 2, 1, gap=3, spread=2),
]


def usual(x, kernel, axes):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=[a.stride for a in axes],
        padding=[(a.low, a.high) for a in axes],
        lhs_dilation=[a.gap for a in axes],
        rhs_dilation=[a.spread for a in axes],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def derivatives(function, axes):
    """(value, gradients, gradients of the squared norm of the input's gradient)."""

    def scalar(x, kernel):
        return jnp.tanh(function(x, kernel, axes)).sum()

    def penalty(x, kernel):
        return jnp.square(jax.grad(scalar)(x, kernel)).sum()

    return jax.jit(
        lambda x, kernel: (
            function(x, kernel, axes),
            jax.grad(scalar, (0, 1))(x, kernel),
            jax.grad(penalty, (0, 1))(x, kernel),
        )
    )


@pytest.mark.parametrize("axes", [*zip(AXES[:4], AXES[4:], strict=True)])
def test_values_and_derivatives_are_those_of_jax(axes):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(rng.normal(size=s)) for s in [(2, 8, 7, 3), (3, 4, 3, 5)])
        ours, theirs = (derivatives(f, axes)(x, kernel) for f in (convolve, usual))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert jnp.abs(b).max() > 0.1
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 1))])
@pytest.mark.parametrize("strides", [1, 2])
def test_the_layer_is_that_of_linen(padding, strides):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 9, 8, 3)), jnp.float32)
    options = {"kernel_size": (4, 3), "strides": strides, "padding": padding}
    ours, theirs = Conv(5, **options), nn.Conv(5, **options)
    params = theirs.init(jax.random.key(0), x)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), x)
    assert jax.tree.structure(shapes) == jax.tree.structure(params)


def test_groups_are_refused():
    with pytest.raises(ValueError, match="grouped"):
        Conv(4, (3, 3), feature_group_count=2).init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))


@pytest.mark.parametrize("size", [(1, 1), (2, 5)])
def test_doubling_is_flax_transposed_convolution(size):
    ours, theirs = DoublingConv(3), nn.ConvTranspose(3, (4, 4), (2, 2))
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 4)))
        params = theirs.init(jax.random.key(0), x)
        params = jax.tree.map(lambda p: p + 0.1, params)  # a bias that counts
        np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-12)
        made, expected = (m.init(jax.random.key(0), x) for m in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, made, expected)
