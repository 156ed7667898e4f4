"""Convolutions whose derivatives are plain convolutions, in every computation.

XLA for CPU runs a convolution fast if its dimensions stand in the usual order. Those of the
gradients that jax derives do not, and are put in order only in a program's outermost computation:
inside `lax.cond` (lazy regularisation) or `lax.scan` (accumulation) they took 35 to 110 times as
long (jax 0.10.2). Here the gradients are written in the usual order. They are convolutions of
the same kind, so that gradients of gradients are fast too.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Maps = Float[Array, "batch height width channel"]
Kernel = Float[Array, "kernel_height kernel_width channel features"]


class Axis(NamedTuple):
    """How a kernel goes along one axis: y[o] = sum_t w[t] x'[o stride + t spread - low].

    x' is x with `gap` - 1 zeros between its values; `high` is the padding at its end. Padding may
    be negative.
    """

    stride: int
    low: int
    high: int
    gap: int = 1
    spread: int = 1


def convolve(x: Maps, kernel: Kernel, axes: tuple[Axis, Axis]) -> Float[Array, "b h w features"]:
    """A convolution, in the sense of networks: without flipping the kernel.

    Args:
      x: images or features.
      kernel: height, width, channels in, channels out.
      axes: for height and for width.
    """
    return _convolve(axes, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(axes: tuple[Axis, Axis], x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=[a.stride for a in axes],
        padding=[(a.low, a.high) for a in axes],
        lhs_dilation=[a.gap for a in axes],
        rhs_dilation=[a.spread for a in axes],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(axes: tuple[Axis, Axis], x: Array, kernel: Array) -> tuple[Array, Any]:
    return _convolve(axes, x, kernel), (x, kernel)


def _backward(axes: tuple[Axis, Axis], saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    sizes = tuple(zip(axes, x.shape[1:3], kernel.shape[:2], g.shape[1:3], strict=True))
    to_x = _convolve(tuple(_towards_input(*s) for s in sizes), g, turned(kernel))
    # Channels are the examples, and examples the channels, of the gradient by the kernel.
    if all(axis.gap == 1 for axis in axes):
        along = tuple(_towards_kernel(*s) for s in sizes)
        to_kernel = _convolve(along, x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3))
        return to_x, to_kernel.transpose(1, 2, 0, 3)
    # The same sums with x as the kernel: less than a quarter of the work, as it has no gaps then.
    along = tuple(_towards_turned_kernel(*s) for s in sizes)
    to_kernel = _convolve(along, g.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3))
    return to_x, turned(to_kernel.transpose(1, 2, 0, 3))


def turned(kernel: Kernel) -> Float[Array, "kernel_height kernel_width features channel"]:
    """By 180 degrees, with the channels that go in and out exchanged."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _towards_input(axis: Axis, size: int, taps: int, out: int) -> Axis:
    """X's gradient: y's, with gaps of the stride, under the flipped kernel."""
    reach = (taps - 1) * axis.spread
    low = reach - axis.low
    high = (size - 1) * axis.gap + reach - (out - 1) * axis.stride - low
    return Axis(axis.gap, low, high, axis.stride, axis.spread)


def _towards_kernel(axis: Axis, size: int, taps: int, out: int) -> Axis:
    """The kernel's gradient: x under y's gradient, whose values lie a stride apart."""
    reach = (out - 1) * axis.stride
    high = (taps - 1) * axis.spread + reach - (size - 1) * axis.gap - axis.low
    return Axis(axis.spread, axis.low, high, axis.gap, axis.stride)


def _towards_turned_kernel(axis: Axis, size: int, taps: int, out: int) -> Axis:
    """The turned kernel's gradient: y's under x, whose values lie a gap apart."""
    reach = (taps - 1) * axis.spread
    low = reach - axis.low
    high = reach + (size - 1) * axis.gap - (out - 1) * axis.stride - low
    return Axis(axis.spread, low, high, axis.stride, axis.gap)


_convolve.defvjp(_forward, _backward)


def _for_linen(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    **others: Any,
) -> Array:
    """`convolve` as `nn.Conv` calls `jax.lax.conv_general_dilated`."""
    if others["feature_group_count"] != 1:
        raise ValueError("grouped convolutions are not written here")
    if isinstance(padding, str):
        reach = [(k - 1) * r + 1 for k, r in zip(kernel.shape[:2], rhs_dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], reach, strides, padding)
    pairs = zip(strides, padding, lhs_dilation, rhs_dilation, strict=True)
    return convolve(x, kernel, tuple(Axis(s, *map(int, p), g, r) for s, p, g, r in pairs))


Conv = functools.partial(nn.Conv, conv_general_dilated=_for_linen)
"""`flax.linen.Conv` with the gradients of this file."""


class DoublingConv(nn.Module):
    """A transposed convolution, kernel 4 x 4 and stride 2, that doubles height and width.

    It is `flax.linen.ConvTranspose(features, (4, 4), (2, 2))`, parameters included, as a sub-pixel
    convolution (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?"):
    at every corner of four pixels a kernel of 2 x 2 says four pixels of the output. Written as a
    product for each of its taps, its gradient is 10 times as fast on a CPU.

    Attributes:
      features: channels out.
      dtype: of what is computed; if None, what input and parameters promote to.
    """

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Maps) -> Float[Array, "batch double_height double_width features"]:
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        # Tap 2a + r lies at pixel a of a corner, and is what it says to the output's pixel 1 - r.
        taps = jnp.flip(kernel.reshape(2, 2, 2, 2, *shape[2:]), (1, 3)).transpose(0, 2, 4, 1, 3, 5)
        taps = taps.reshape(2, 2, x.shape[-1], -1)
        batch, height, width = x.shape[0], x.shape[1] + 1, x.shape[2] + 1
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = sum(
            x[:, a : a + height, b : b + width] @ taps[a, b] for a, b in np.ndindex(taps.shape[:2])
        )
        y = y.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        return y[:, 1:-1, 1:-1] + bias[None, None, None]
