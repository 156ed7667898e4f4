"""FIR filters and strided convolutions: their definitions, NVIDIA's numbers, their derivatives."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.stylegan import resample
from tests.generators.stylegan import stylegan2_recipe as recipe

GOLDEN = json.loads(Path(__file__).with_name("stylegan2_golden.json").read_text(encoding="utf-8"))[
    "resampled"
]
ODD = (1.0, 2.0, 4.0, 1.0, 3.0)  # no symmetry, and a pixel in the middle


FUNCTIONS = {
    # For each number of taps: their padding.
    "upsample2": (resample.upsample2, dict(up=2, down=1, gain=4), {4: (2, 2), 5: (3, 2)}),
    "downsample2": (resample.downsample2, dict(up=1, down=2, gain=1), {4: (1, 1), 5: (2, 1)}),
    "blur": (
        lambda x, taps: resample.blur(x, 1, taps, gain=4.0),
        dict(up=1, down=1, gain=4),
        {4: (1, 1), 5: (1, 1)},
    ),
}


@pytest.mark.parametrize("taps", (*recipe.TAPS, ODD))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_filters_are_as_defined(name, taps):
    function, options, padding = FUNCTIONS[name]
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(2, 6, 8, 3))
        found = function(jnp.asarray(x), taps)
        expected = recipe.filtered(x, taps, padding=padding[len(taps)], **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", recipe.TAPS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_filters_are_nvidias(name, taps):
    x = recipe.draw("resampled", 1, 6, 6, 2)
    found = recipe.thinned(FUNCTIONS[name][0](jnp.asarray(x), taps))
    np.testing.assert_allclose(found["values"], GOLDEN[f"{name} {taps}"]["values"], atol=1e-6)


def test_shapes_and_what_is_flat_stays_so():
    x = jnp.ones((1, 8, 4, 1))
    for function, shape in ((resample.upsample2, (16, 8)), (resample.downsample2, (4, 2))):
        out = function(x)
        assert out.shape[1:3] == shape
        np.testing.assert_allclose(out[:, 1:-1, 1:-1], 1, rtol=1e-6)
    assert resample.upsample2(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def plain_filter(x, taps, axis, up, down, padding):
    return resample._shifted_sums(x, taps, axis, up, down, padding)


@pytest.mark.parametrize(
    "up, down, padding", ((1, 1, (2, 2)), (2, 1, (3, 1)), (1, 2, (1, 4)), (2, 3, (0, 0)))
)
def test_derivatives_of_filters_are_those_of_jax(up, down, padding):
    arguments = (recipe.TAPS[1], 1, up, down, padding)

    def derivatives(function):
        value = lambda x: jnp.tanh(function(x, *arguments)).sum()  # noqa: E731
        penalty = lambda x: jnp.square(jax.grad(value)(x)).sum()  # noqa: E731
        return jax.jit(jax.grad(value)), jax.jit(jax.grad(penalty))

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3, 2)))
        pairs = zip(derivatives(resample.filtered), derivatives(plain_filter), strict=True)
        for ours, expected in pairs:
            np.testing.assert_allclose(ours(x), expected(x), rtol=0, atol=1e-12)


def jax_strided(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def jax_transposed(x, kernel):
    padding = ((len(kernel) - 1,) * 2,) * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, (2, 2), None, numbers)


@pytest.mark.parametrize("size", (1, 3))
@pytest.mark.parametrize(
    "ours, theirs",
    (
        (resample.strided_convolution, jax_strided),
        (resample.transposed_convolution, jax_transposed),
    ),
)
def test_convolutions_and_their_derivatives_are_those_of_jax(ours, theirs, size):
    def values(function):
        def value(x, kernel):
            return jnp.tanh(function(x, kernel)).sum()

        def penalty(x, kernel):
            by_x, by_kernel = jax.grad(value, (0, 1))(x, kernel)
            return jnp.square(by_x).sum() + jnp.square(by_kernel).sum()

        return jax.jit(
            lambda x, kernel: (
                function(x, kernel),
                jax.grad(value, (0, 1))(x, kernel),
                jax.grad(penalty, (0, 1))(x, kernel),
            )
        )

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        kernel = jnp.asarray(rng.normal(size=(size, size, 3, 4)))
        x = jnp.asarray(rng.normal(size=(2, 8 + size, 6 + size, 3)))
        found, expected = (values(function)(x, kernel) for function in (ours, theirs))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert np.abs(other).max() > 0.1
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
