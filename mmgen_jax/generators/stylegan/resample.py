"""Images resampled by two: FIR filters, and the strided convolutions that go with them.

All is linear in each argument, and all derivatives are again functions of this file, to any order
of reverse mode: others that give the same numbers take ten times as long on a CPU (jax 0.10.2).
There is no forward mode.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgen_jax.nn.conv import Axis, convolve

Images = Float[Array, "batch height width channel"]
Resized = Float[Array, "batch new_height new_width channel"]
Features = Float[Array, "batch new_height new_width out"]
Kernel = Float[Array, "size size channel out"]
Taps = tuple[float, ...]

TAPS = (1.0, 3.0, 3.0, 1.0)  # the low-pass filter of StyleGAN2 (Karras et al. 2020)


def upsample2(x: Images, taps: Taps = TAPS) -> Resized:
    """Twice the height and width: zeros between the pixels, then the filter, with gain 4."""
    return _both_axes(x, taps, 4.0, 2, 1, ((len(taps) + 1) // 2, len(taps) // 2))


def downsample2(x: Images, taps: Taps = TAPS) -> Resized:
    """Half the height and width, which are even: the filter, then every other pixel."""
    return _both_axes(x, taps, 1.0, 1, 2, ((len(taps) - 1) // 2, (len(taps) - 2) // 2))


def blur(x: Images, padding: int, taps: Taps = TAPS, gain: float = 1.0) -> Resized:
    """The filter, on `padding` zeros at each side: 2 * padding + 1 - len(taps) pixels more."""
    return _both_axes(x, taps, gain, 1, 1, (padding, padding))


def _both_axes(
    x: Images, taps: Taps, gain: float, up: int, down: int, padding: tuple[int, int]
) -> Resized:
    """The outer product of `taps` with themselves, which sums to `gain`, one axis at a time."""
    scaled = tuple(gain**0.5 * tap / sum(taps) for tap in taps)
    for axis in (1, 2):
        x = filtered(x, scaled, axis, up, down, padding)
    return x


def filtered(
    x: Images, taps: Taps, axis: int, up: int, down: int, padding: tuple[int, int]
) -> Resized:
    """Zeros between the pixels, zeros around them, convolution along an axis, some pixels of that.

    Args:
      x: the images.
      taps: of the filter.
      axis: 1 or 2.
      up: there will be `up` - 1 zeros between neighbours.
      down: every `down`-th pixel is kept, the first among them.
      padding: zeros before and after.
    """
    size, after = x.shape[axis], len(taps) - 1

    @jax.custom_vjp
    def linear(x: Images) -> Resized:
        return _shifted_sums(x, taps, axis, up, down, padding)

    def backward(_: None, cotangent: Resized) -> tuple[Images]:
        # What was spread is gathered, and the other way round, with the taps in reverse.
        before = after - padding[0]
        spread = (cotangent.shape[axis] - 1) * down + 1
        rest = (size - 1) * up + 1 + after - spread - before
        return (filtered(cotangent, taps[::-1], axis, down, up, (before, rest)),)

    linear.defvjp(lambda x: (linear(x), None), backward)
    return linear(x)


def _shifted_sums(
    x: Images, taps: Taps, axis: int, up: int, down: int, padding: tuple[int, int]
) -> Resized:
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (*padding, up - 1)
    # Without the barrier XLA computes the sums of one axis anew for each tap of the other. A
    # depthwise convolution takes ten to a hundred times as long on a CPU.
    x = jax.lax.optimization_barrier(jax.lax.pad(x, jnp.zeros((), x.dtype), widths))
    size = x.shape[axis] - len(taps) + 1
    shifted = [
        tap * jax.lax.slice_in_dim(x, first, first + size, down, axis)
        for first, tap in enumerate(taps[::-1])
    ]
    return functools.reduce(jnp.add, shifted)


def strided_convolution(x: Images, kernel: Kernel) -> Features:
    """Every other pixel of a convolution without padding: from 2 n + size - 2 pixels to n."""
    return convolve(x, kernel, (Axis(2, 0, 0),) * 2)


def transposed_convolution(x: Images, kernel: Kernel) -> Features:
    """Convolution of an image with zeros between its pixels: from n pixels to 2 n + size - 2."""
    padding = len(kernel) - 1
    return convolve(x, kernel, (Axis(1, padding, padding, gap=2),) * 2)
