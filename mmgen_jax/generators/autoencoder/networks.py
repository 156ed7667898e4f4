"""The convolutional autoencoder: an image -> its code -> the image, beside a condition.

The founding example. At 256 x 256 pixels, with the widths that the config has by default:

    layer                   output           parameters
    encoder/conv_1          128x128x64            3,136
    encoder/conv_2          64x64x128           131,200
    encoder/conv_3          32x32x256           524,544
    encoder/conv_4          16x16x512         2,097,664
    encoder/conv_5          16x16x1024        8,389,632
    decoder/dense_1/hidden  4096          1,073,745,920
    decoder/dense_1/norm    4096                  8,192
    decoder/dense_2/hidden  4096             16,781,312
    decoder/dense_2/norm    4096                  8,192
    decoder/dense_3/hidden  32768           134,250,496
    decoder/dense_3/norm    32768                65,536
    decoder/up_1            16x16x512         4,194,816
    decoder/up_2            32x32x256         2,097,408
    decoder/up_3            64x64x128           524,416
    decoder/up_4            128x128x64          131,136
    decoder/image           256x256x3             3,075
    total                                 1,242,956,675

The code is what conv_5 says, flattened: 262,144 values. dense_3 is reshaped to 8 x 8 x 512, which
is 32,768 values; the text that this comes from has a dense layer of 1,024 there, which does not
fill that shape. The condition adds dense_1/condition, its features x 4096 without a bias, to what
dense_1/hidden says; nothing else is changed.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgen_jax.nn.batch_norm import BatchNorm, Moments, Named, batch_moments
from mmgen_jax.nn.conv import Conv, DoublingConv
from mmgen_jax.nn.layout import by_example

Images = Float[Array, "batch height width channel"]
Codes = Float[Array, "batch code"]
SLOPE = 0.2  # of a leaky ReLU below zero


class Encoder(nn.Module):
    """Convolutions of 4 x 4, each with a leaky ReLU; all but the last halve the size."""

    widths: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images: Images) -> Codes:
        x = images
        for number, width in enumerate(self.widths, 1):
            strides = (1, 1) if number == len(self.widths) else (2, 2)
            conv = Conv(width, (4, 4), strides, dtype=self.dtype, name=f"conv_{number}")
            x = by_example(nn.leaky_relu(conv(x), SLOPE))
        return x.reshape(x.shape[0], -1)


class DenseBlock(nn.Module):
    """Dense, ReLU, batch norm; a condition's vector joins before the ReLU."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch features"],
        vector: Float[Array, "batch pooled"] | None,
        moments: Moments | None,
    ) -> tuple[Float[Array, "batch width"], Moments]:
        x = nn.Dense(self.width, dtype=self.dtype, name="hidden")(x)
        if vector is not None:
            # Small, but not zero: a condition counts from the first step on.
            sizes = dict(use_bias=False, kernel_init=nn.initializers.normal(0.02))
            x = x + nn.Dense(self.width, dtype=self.dtype, name="condition", **sizes)(vector)
        x, moments = BatchNorm(self.dtype, name="norm")(nn.relu(x), moments)
        return by_example(x), moments


class Decoder(nn.Module):
    """Dense blocks, then transposed convolutions, each of which doubles the size."""

    image_size: int
    dense_widths: tuple[int, ...]
    base_width: int
    widths: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, code: Codes, vector: Float[Array, "batch pooled"], moments: Named | None = None
    ) -> tuple[Images, Named]:
        """(images in [-1, 1], moments used by each dense block); see `BatchNorm`."""
        side = self.image_size // 2 ** (len(self.widths) + 1)
        dense_widths = (*self.dense_widths, side * side * self.base_width)
        x, used = code, {}
        for number, width in enumerate(dense_widths, 1):
            name = f"dense_{number}"
            given = None if moments is None else moments[name]
            block = DenseBlock(width, self.dtype, name=name)
            x, used[name] = block(x, vector if number == 1 else None, given)
        x = x.reshape(-1, side, side, self.base_width)
        for number, width in enumerate(self.widths, 1):
            double = DoublingConv(width, self.dtype, name=f"up_{number}")
            x = by_example(nn.leaky_relu(double(x), SLOPE))
        # The last one computes in the type of its parameters, float32.
        return jnp.tanh(DoublingConv(3, name="image")(x)), used


class AutoEncoder(nn.Module):
    """Both halves.

    Attributes:
      image_size: height and width, a multiple of 2 ** (len(decoder_widths) + 1).
      encoder_widths, dense_widths, base_width, decoder_widths: see `config`.
      dtype: of what is computed; the last layer, and all moments, are float32.
    """

    image_size: int
    encoder_widths: tuple[int, ...]
    dense_widths: tuple[int, ...]
    base_width: int
    decoder_widths: tuple[int, ...]
    dtype: jnp.dtype

    def setup(self):
        self.encoder = Encoder(self.encoder_widths, self.dtype)
        self.decoder = Decoder(
            self.image_size, self.dense_widths, self.base_width, self.decoder_widths, self.dtype
        )

    def __call__(
        self, images: Images, vector: Float[Array, "batch pooled"], moments: Named | None = None
    ) -> tuple[Images, Named]:
        """(reconstructions, moments): those used by the dense blocks, and the batch's code's."""
        code = self.encoder(images)
        reconstructed, used = self.decoder(code, vector, moments)
        return reconstructed, used | {"code": batch_moments(code)}

    def decode(self, code: Codes, vector: Float[Array, "batch pooled"], moments: Named) -> Images:
        """Images of codes, normalised with the given moments."""
        return self.decoder(code, vector, moments)[0]
