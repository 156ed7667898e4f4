"""StyleGAN2's networks: mapping, synthesis and discriminator (Karras et al. 2020, config F).

They compute what NVIDIA's stylegan2-ada-pytorch does
(`tests/generators/stylegan/test_networks.py`). Parameters are laid out differently: kernels are
HWIO, those that upsample are turned by 180 degrees, and the discriminator's first dense layer takes
its 4 x 4 features as HWC.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgen_jax.generators.stylegan import resample
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.conv import Axis, convolve
from mmgen_jax.nn.layout import by_example

Images = Float[Array, "batch height width channel"]
Vector = Float[Array, "batch features"]
Vectors = Float[Array, "batch ... features"]
Noise = tuple[Float[Array, "batch _ _ 1"], ...]
Activation = Literal["linear", "lrelu"]

FLOAT = jnp.dtype("float32")
SMALLEST = 4  # pixels: where synthesis starts, and the discriminator's convolutions end
EPSILON = 1e-8
ONES = nn.initializers.ones


def image_sizes(image_size: int) -> tuple[int, ...]:
    """The sizes that a network passes through: 4, 8, ... `image_size`."""
    doublings = (image_size // SMALLEST).bit_length()
    sizes = tuple(SMALLEST << number for number in range(doublings))
    if not sizes or sizes[-1] != image_size:
        raise ValueError(f"StyleGAN2 draws images of 4, 8, 16 ... pixels, not of {image_size}")
    return sizes


def layer_count(image_size: int) -> int:
    """How many layers of `Synthesis` take a w; the last convolution's image takes the last."""
    return 2 * len(image_sizes(image_size))


def noise_shapes(image_size: int) -> tuple[tuple[int, int, int], ...]:
    """What one example's noise looks like: (height, width, 1) for each convolution."""
    sizes = image_sizes(image_size)
    return tuple((size, size, 1) for size in sorted(sizes + sizes[1:]))


def channels_at(size: int, channel_base: int, channel_max: int) -> int:
    """Channels of the features at this size."""
    return min(channel_base // size, channel_max)


def activate(
    x: Float[Array, "batch ... features"],
    bias: Float[Array, "features"] | None,
    activation: Activation = "linear",
    gain: float = 1.0,
    clamp: float | None = None,
) -> Float[Array, "batch ... features"]:
    """Bias, activation and gain; leaky ReLU (slope 0.2) has a gain of sqrt(2) of its own.

    `clamp`, times `gain`, bounds what comes out: 256 where NVIDIA trains in half precision. The
    family leaves it out: bfloat16 has the range of float32.
    """
    if bias is not None:
        x = x + jnp.expand_dims(bias.astype(x.dtype), range(x.ndim - 1))
    if activation == "lrelu":
        x = 2**0.5 * jax.nn.leaky_relu(x, 0.2)
    x = gain * x
    return x if clamp is None else jnp.clip(x, -gain * clamp, gain * clamp)


def second_moment_normalised(x: Vectors) -> Vectors:
    """Each vector scaled to a mean square of 1 (Karras et al. 2018, section 4.2)."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + EPSILON)


def convolution(
    x: Images, kernel: Float[Array, "size size channel out"]
) -> Float[Array, "batch height width out"]:
    """Convolution with an odd kernel, which keeps the size."""
    if len(kernel) == 1:
        return x @ kernel[0, 0]
    padding = len(kernel) // 2
    return convolve(x, kernel, (Axis(1, padding, padding),) * 2)


def has_values(x: Vectors | None) -> bool:
    """Whether there is a vector, and it has any values."""
    return x is not None and x.shape[-1] > 0


class EqualDense(nn.Module):
    """A dense layer with an equalized learning rate (Karras et al. 2018, section 4.1).

    The kernel is stored with a deviation of 1 / `lr_multiplier`, and scaled at run time, so that
    steps of one size move the outputs of all layers alike, times `lr_multiplier`.
    """

    features: int
    activation: Activation = "linear"
    lr_multiplier: float = 1.0
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Vectors) -> Float[Array, "batch ... out"]:
        normal = nn.initializers.normal(1 / self.lr_multiplier)
        kernel = self.param("kernel", normal, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,))
        gain = self.lr_multiplier / x.shape[-1] ** 0.5
        return activate(x @ (gain * kernel), self.lr_multiplier * bias, self.activation)


class EqualConv(nn.Module):
    """A convolution with an equalized learning rate; `down` halves the size, after a blur."""

    features: int
    kernel_size: int
    activation: Activation = "linear"
    use_bias: bool = True
    down: bool = False
    gain: float = 1.0
    clamp: float | None = None
    dtype: jnp.dtype = FLOAT

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch down_height down_width out"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        zeros = nn.initializers.zeros
        bias = self.param("bias", zeros, (self.features,)) if self.use_bias else None
        kernel = (kernel / (shape[0] * shape[1] * shape[2]) ** 0.5).astype(self.dtype)
        x = x.astype(self.dtype)
        if not self.down:
            x = convolution(x, kernel)
        elif self.kernel_size == 1:
            x = convolution(resample.downsample2(x), kernel)
        else:
            blurred = resample.blur(x, padding=self.kernel_size // 2 + 1)
            x = resample.strided_convolution(blurred, kernel)
        return activate(x, bias, self.activation, self.gain, self.clamp)


class Mapping(nn.Module):
    """A latent z and a vector of conditions, or only one of them -> w.

    Computes in float32 whatever the other networks do: it is small, and all depends on w. What is
    None or of width 0 is not there.
    """

    width: int = 512
    layers: int = 8
    lr_multiplier: float = 0.01

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "batch latent"] | None,
        condition: Float[Array, "batch ... condition"] | None,
    ) -> Float[Array, "batch ... width"]:
        inputs = []
        if has_values(z):
            inputs.append(second_moment_normalised(z))
        if has_values(condition):
            # Where nothing is given, zeros come: without a bias they would have no direction, and
            # a slope of 10,000 in the normalisation.
            bias = nn.initializers.normal(0.3)
            embedded = EqualDense(self.width, bias_init=bias, name="embed")(condition)
            inputs.append(second_moment_normalised(embedded))
        x = jnp.concatenate(inputs, axis=-1)
        for number in range(self.layers):
            layer = EqualDense(self.width, "lrelu", self.lr_multiplier, name=f"dense{number}")
            x = layer(x)
        return by_example(x)


def modulated_conv(
    x: Images,
    kernel: Float[Array, "size size channel out"],
    style: Float[Array, "batch channel"],
    demodulate: bool = True,
    up: bool = False,
) -> Float[Array, "batch up_height up_width out"]:
    """Convolution with a kernel for each example, whose input channels its style scales.

    The kernel is style * kernel (Karras et al. 2020, eq. 1), if demodulated of norm 1 for each
    output channel (eq. 3). Scaling the images before and after is the same, and lets all examples
    share one convolution.

    Args:
      x: the features.
      kernel: shared by all examples; 3 x 3 if `up`.
      style: of each example.
      demodulate: whether outputs keep the deviation of inputs, whatever the style.
      up: doubles the size: zeros between the pixels, convolution, then a blur.
    """
    scaled, shared = x * style[:, None, None].astype(x.dtype), kernel.astype(x.dtype)
    if up:
        y = resample.blur(resample.transposed_convolution(scaled, shared), padding=1, gain=4.0)
    else:
        y = convolution(scaled, shared)
    if not demodulate:
        return y
    norms = jnp.square(style) @ jnp.square(kernel).sum(axis=(0, 1))
    return y * jax.lax.rsqrt(norms + EPSILON)[:, None, None].astype(x.dtype)


class StyledConv(nn.Module):
    """A layer of synthesis: modulated convolution, noise of a learned strength, leaky ReLU."""

    features: int
    up: bool
    clamp: float | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Images, w: Vector, noise: Float[Array, "batch up_height up_width 1"] | None
    ) -> Float[Array, "batch up_height up_width out"]:
        channels = x.shape[-1]
        style = EqualDense(channels, bias_init=ONES, name="style")(w)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (3, 3, channels, self.features))
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = modulated_conv(x.astype(self.dtype), kernel, style, up=self.up)
        if noise is not None:
            x = x + (strength * noise).astype(self.dtype)
        return by_example(activate(x, bias, "lrelu", clamp=self.clamp))


class ToImage(nn.Module):
    """Features -> what they add to the image, in float32; modulated, not demodulated."""

    channels: int
    clamp: float | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Images, w: Vector) -> Float[Array, "batch height width out"]:
        channels = x.shape[-1]
        style = EqualDense(channels, bias_init=ONES, name="style")(w) / channels**0.5
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, channels, self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        x = modulated_conv(x.astype(self.dtype), kernel, style, demodulate=False)
        return by_example(activate(x, bias, clamp=self.clamp).astype(jnp.float32))


class Synthesis(nn.Module):
    """A w for each of `layer_count` layers, and noise -> images.

    Grows a learned 4 x 4 constant; every size adds to the image (Karras et al. 2020, figure 7b).
    Without noise there is none; with it, it comes as `noise_shapes` says.
    """

    image_size: int
    channel_base: int = 32768
    channel_max: int = 512
    channels: int = 3
    clamp: float | None = None
    dtype: jnp.dtype = FLOAT

    @nn.compact
    def __call__(
        self, ws: Float[Array, "batch layers features"], noise: Noise | None = None
    ) -> Images:
        sizes = image_sizes(self.image_size)
        if ws.shape[1] != layer_count(self.image_size):
            raise ValueError(f"there are {layer_count(self.image_size)} layers, not {ws.shape[1]}")
        width = channels_at(SMALLEST, self.channel_base, self.channel_max)
        shape = (SMALLEST, SMALLEST, width)
        constant = self.param("constant", nn.initializers.normal(1.0), shape)
        x = by_example(jnp.broadcast_to(constant[None], (ws.shape[0], *shape)))
        noise = (None,) * (len(ws[0]) - 1) if noise is None else noise
        how, image = (self.clamp, self.dtype), None
        for number, size in enumerate(sizes):
            width, layer = channels_at(size, self.channel_base, self.channel_max), 2 * number
            if number:
                upsampling = StyledConv(width, True, *how, name=f"up{size}")
                x = upsampling(x, ws[:, layer - 1], noise[layer - 1])
            x = StyledConv(width, False, *how, name=f"conv{size}")(x, ws[:, layer], noise[layer])
            drawn = ToImage(self.channels, *how, name=f"image{size}")(x, ws[:, layer + 1])
            image = drawn if image is None else resample.upsample2(image) + drawn
        return by_example(image)


def minibatch_deviation(x: Images, group: int) -> Float[Array, "batch height width more"]:
    """How much examples differ from each other, in a new channel (Karras et al. 2018, section 3).

    The standard deviation over a group of examples, averaged over pixels and features. Groups are
    of the global batch, as large as divides it but no larger than `group`; of n groups, number m
    holds the examples m, m + n, m + 2 n ...
    """
    everyone = global_batch.gather(x)
    examples, height, width, features = everyone.shape
    size = max(size for size in range(1, group + 1) if examples % size == 0)
    count = examples // size
    groups = everyone.reshape(size, count, height, width, features)
    deviations = jnp.sqrt(groups.var(axis=0) + EPSILON).mean(axis=(1, 2, 3))
    own = deviations[global_batch.positions(x.shape[0]) % count]
    spread = jnp.broadcast_to(own[:, None, None, None], (*x.shape[:3], 1))
    return by_example(jnp.concatenate([x, spread], axis=-1))


class Discriminator(nn.Module):
    """Images, and a vector of conditions -> logits, high for what seems real.

    Of several vectors per image each has a logit; images are looked at once.

    Residual blocks (Karras et al. 2020, figure 7c), the minibatch's standard deviation, and for
    conditions a projection (Miyato & Koyama 2018). The last layers compute in float32.
    """

    image_size: int
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mbstd_group: int = 4
    residual: bool = True
    clamp: float | None = None
    dtype: jnp.dtype = FLOAT

    @nn.compact
    def __call__(
        self, images: Images, condition: Float[Array, "batch ... condition"] | None = None
    ) -> Float[Array, "batch ..."]:
        x = self._convolved(images).astype(jnp.float32)
        width = x.shape[-1]
        x = minibatch_deviation(x, self.mbstd_group)
        x = EqualConv(width, 3, "lrelu", clamp=self.clamp, name="last")(x)
        x = EqualDense(width, "lrelu", name="dense")(x.reshape(x.shape[0], -1))
        if not has_values(condition):
            return EqualDense(1, name="logits")(x)[:, 0]
        projected = EqualDense(width, name="logits")(x)
        mapped = Mapping(width, self.mapping_layers, name="mapping")(None, condition)
        projected = jnp.expand_dims(projected, range(1, mapped.ndim - 1))
        return (projected * mapped).sum(axis=-1) / width**0.5

    def _convolved(self, images: Images) -> Float[Array, "batch 4 4 out"]:
        how = dict(clamp=self.clamp, dtype=self.dtype)
        width = channels_at(self.image_size, self.channel_base, self.channel_max)
        x = EqualConv(width, 1, "lrelu", **how, name="from_image")(images)
        # Two branches of unit variance, added, have it again.
        gain = 0.5**0.5 if self.residual else 1.0
        for size in reversed(image_sizes(self.image_size)[1:]):
            y = EqualConv(x.shape[-1], 3, "lrelu", **how, name=f"conv{size}")(x)
            width = channels_at(size // 2, self.channel_base, self.channel_max)
            halving = dict(down=True, gain=gain, dtype=self.dtype)
            main = EqualConv(width, 3, "lrelu", clamp=self.clamp, **halving, name=f"down{size}")
            y = main(y)
            if self.residual:
                skip = EqualConv(width, 1, use_bias=False, **halving, name=f"skip{size}")
                y = y + skip(x)
            x = by_example(y)
        return x
