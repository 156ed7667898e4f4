"""A generator that fuses its condition at every layer, and a discriminator that projects on it.

Generator: Tao et al. 2022, DF-GAN, section 3.3. Discriminator: Miyato & Koyama 2018. Neither is
normalised; the last layer of each residual branch starts at zero instead (Zhang et al. 2019,
Fixup), as in R3GAN (Huang et al. 2024, section 3.3).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgen_jax.nn.conv import Conv
from mmgen_jax.nn.layout import by_example
from mmgen_jax.nn.patches import depth_to_space, space_to_depth

Maps = Float[Array, "batch height width channel"]
Result = Float[Array, "batch _ _ _"]
SLOPE = 0.2


def doubled(x: Maps) -> Result:
    """Nearest neighbours, twice as large; by shape alone, whose gradient is no scatter."""
    batch, height, width, channel = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channel))
    return x.reshape(batch, 2 * height, 2 * width, channel)


def halved(x: Maps) -> Result:
    """Means of 2 x 2 places; by shape alone."""
    batch, height, width, channel = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channel).mean((2, 4))


class Affine(nn.Module):
    """Scale and shift of every channel, read off a vector; none at first (DF-GAN, eq. 3)."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Maps, vector: Float[Array, "batch values"]) -> Result:
        zeros = nn.initializers.zeros
        dense = nn.Dense(2 * x.shape[-1], kernel_init=zeros, dtype=self.dtype, name="modulation")
        scale, shift = jnp.split(dense(vector)[:, None, None], 2, axis=-1)
        return x * (1 + scale) + shift


class FusionBlock(nn.Module):
    """Two convolutions, each behind two affine layers with their nonlinearity (DF-GAN, fig. 4)."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Maps, vector: Float[Array, "batch values"]) -> Result:
        shortcut = x
        if x.shape[-1] != self.width:
            shortcut = Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype, name="skip")(x)
        for i, init in enumerate([nn.initializers.he_normal(), nn.initializers.zeros]):
            for _ in range(2):
                x = nn.leaky_relu(Affine(self.dtype)(x, vector), SLOPE)
            x = Conv(self.width, (3, 3), kernel_init=init, dtype=self.dtype, name=f"conv{i}")(x)
        return by_example(shortcut + x)


class FusionGenerator(nn.Module):
    """Noise and a condition -> images, around [-1, 1].

    Attributes:
      image_size: height and width.
      patch_size: side of what one place of the last map draws.
      widths: channels of each map, the smallest first; each is twice as large as the one before.
      style_width: channels of what is fused at every layer.
      dtype: compute dtype.
    """

    image_size: int
    patch_size: int
    widths: tuple[int, ...]
    style_width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, noise: Float[Array, "batch noise"], vector: Float[Array, "batch pooled"]
    ) -> Result:
        base = self.image_size // self.patch_size >> len(self.widths) - 1
        style = nn.Dense(self.style_width, dtype=self.dtype, name="style_hidden")(
            jnp.concatenate([noise, vector], axis=-1)
        )
        style = nn.leaky_relu(style, SLOPE)
        style = nn.leaky_relu(nn.Dense(self.style_width, dtype=self.dtype, name="style")(style))
        # Affine layers are the same at every place: where things are must be said here.
        start = jnp.concatenate([noise, style], axis=-1)
        x = nn.Dense(base * base * self.widths[0], dtype=self.dtype, name="start")(start)
        x = x.reshape(-1, base, base, self.widths[0])
        for i, width in enumerate(self.widths):
            if i:
                x = doubled(x)
            x = FusionBlock(width, self.dtype, name=f"block{i}")(x, style)
        x = nn.leaky_relu(x, SLOPE).astype(jnp.float32)
        x = Conv(3 * self.patch_size**2, (3, 3), name="image")(x)
        return depth_to_space(x, self.patch_size)


class DownBlock(nn.Module):
    """Two convolutions beside a shortcut, then half the size."""

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Maps) -> Result:
        shortcut = Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype, name="skip")(x)
        for i, init in enumerate([nn.initializers.he_normal(), nn.initializers.zeros]):
            conv = Conv(self.width, (3, 3), kernel_init=init, dtype=self.dtype, name=f"conv{i}")
            x = conv(nn.leaky_relu(x, SLOPE))
        return by_example(halved(shortcut + x))


class ProjectionDiscriminator(nn.Module):
    """Images -> features; features and a condition -> scores.

    score = f(features) + <features, e(condition)> / sqrt(number of features), where e sums a part
    of the pooled vector and a part of each modality that is given: what is absent drops out.

    Attributes:
      patch_size: side of what one place of the first map sees.
      widths: channels of each map, the smallest map first, as of the generator.
      features: of an image.
      modalities: names of those that a condition can have.
      dtype: compute dtype.
    """

    patch_size: int
    widths: tuple[int, ...]
    features: int
    modalities: tuple[str, ...]
    dtype: jnp.dtype

    def setup(self):
        self.first = Conv(self.widths[-1], (3, 3), dtype=self.dtype)
        self.blocks = [DownBlock(width, self.dtype) for width in self.widths[-2::-1]]
        self.last = Conv(self.widths[0], (3, 3), dtype=self.dtype)
        self.hidden_features = nn.Dense(self.features)
        # Without bias: where only differences of scores count, it would wander.
        self.plain = nn.Dense(1, use_bias=False)
        self.pooled = Projection(self.features)
        self.each = {name: Projection(self.features) for name in self.modalities}

    def read(self, images: Maps) -> Float[Array, "batch features"]:
        """What an image shows."""
        x = self.first(space_to_depth(images, self.patch_size))
        for block in self.blocks:
            x = block(x)
        x = nn.leaky_relu(self.last(nn.leaky_relu(x, SLOPE)), SLOPE)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        return nn.leaky_relu(self.hidden_features(x), SLOPE)

    def score(
        self,
        features: Float[Array, "batch features"],
        vector: Float[Array, "batch pooled"],
        experts: dict[str, Float[Array, "batch expert"]],
        given: dict[str, Float[Array, "batch"]],
    ) -> Float[Array, "batch"]:
        """How real an image is, and how well it goes with a condition, as a logit."""
        embedded = self.pooled(vector)
        for name, projection in self.each.items():
            embedded = embedded + given[name][:, None] * projection(experts[name])
        projected = (features * embedded).sum(-1) / jnp.sqrt(self.features)
        return self.plain(features)[:, 0] + projected

    def __call__(self, images: Maps, *condition: object) -> Float[Array, "batch"]:
        return self.score(self.read(images), *condition)


class Projection(nn.Module):
    """A condition among the features of images."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch values"]) -> Float[Array, "batch features"]:
        x = nn.leaky_relu(nn.Dense(self.features, name="hidden")(x), SLOPE)
        return nn.Dense(self.features, name="out")(x)
