"""A hierarchical variational autoencoder on patches: bottom-up features, top-down latents.

Groups of latents are drawn one after another, from coarse to fine (Sønderby et al. 2016, "Ladder
variational autoencoders"; Child 2021, "Very deep VAEs", section 2): the prior of each is a Gaussian
read off what has been drawn so far and the condition, the posterior sees the image's features too.

A latent is z = μ + σ ε, with its prior's μ and σ. All that is said here of posteriors is said of ε,
whose prior is N(0, 1); KL divergence and density ratio are the same for ε and z. The networks say
the posterior's moments of z, though: said relative to the prior's, as in NVAE (Vahdat & Kautz 2020,
section 3.2), the divergence would teach the prior nothing, and hardly would the condition.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmgen_jax.nn.layout import by_example
from mmgen_jax.nn.patches import depth_to_space, patch_positions, space_to_depth
from mmgen_jax.nn.transformer import Transformer

Images = Float[Array, "batch height width channel"]
Maps = Float[Array, "batch rows columns features"]
Vectors = Float[Array, "batch pooled"]
Noise = Float[Array, "batch groups latent"]

SMALLEST_LOG_SCALE = -7.0  # of a pixel: its level is then all but certain (PixelCNN++'s own bound)


class Posterior(NamedTuple):
    """q(ε | image, condition), a Gaussian with independent values, where the prior is N(0, 1).

    Attributes:
      mean, log_deviation: of ε.
      noise: ε as drawn.
    """

    mean: Noise
    log_deviation: Noise
    noise: Noise


class Likelihood(NamedTuple):
    """p(image | z, condition), a logistic distribution for each value of each pixel.

    Attributes:
      mean, log_scale: of the distribution, before it is cut into levels.
    """

    mean: Images
    log_scale: Images


def means(x: Maps, cell: int) -> Float[Array, "batch _ _ features"]:
    """Means of cell x cell places; by shape alone."""
    batch, rows, columns, width = x.shape
    return x.reshape(batch, rows // cell, cell, columns // cell, cell, width).mean((2, 4))


class Trunk(nn.Module):
    """Transformer layers over all places of a map."""

    depth: int
    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        batch, rows, columns, width = x.shape
        tokens = x.reshape(batch, rows * columns, width)
        mask, places = jnp.ones(tokens.shape[:2], bool), patch_positions(rows, columns, 1)
        layers = Transformer(self.depth, self.num_heads, self.dtype, name="transformer")
        return by_example(layers(tokens, mask, places).reshape(x.shape))


class Group(nn.Module):
    """One group of latents, side x side places: draws it, and adds it to the map.

    Attributes:
      side: places along each side.
      latent: values, of all places together.
      dtype: compute dtype; what is said of Gaussians is float32.
    """

    side: int
    latent: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Maps, noise: Float[Array, "batch latent"], features: Maps | None
    ) -> tuple[Maps, tuple[Float[Array, "batch latent"], ...]]:
        """(the map with the latent, the posterior's fields); without features ε is the noise."""
        cell = x.shape[1] // self.side
        channels = self.latent // self.side**2

        # Of means: with a layer over all places at once a single place's posterior collapsed (on
        # digits to 3 nats in 300 steps, and stayed there; of means it had 14 nats by then).
        def gaussian(x: Maps, name: str, init: Any) -> tuple[Float[Array, "batch latent"], ...]:
            dense = nn.Dense(2 * channels, kernel_init=init, name=name)
            said = dense(means(x, cell).astype(jnp.float32))
            return tuple(part.reshape(noise.shape) for part in jnp.split(said, 2, axis=-1))

        mean, log_deviation = gaussian(x, "prior", nn.initializers.zeros)
        if features is None:
            shift, log_narrowing = jnp.zeros_like(noise), jnp.zeros_like(noise)
        else:
            # The prior begins as N(0, 1), the posterior with something to say of each image.
            both, init = jnp.concatenate([x, features], axis=-1), nn.initializers.lecun_normal()
            posterior_mean, log_posterior = gaussian(both, "posterior", init)
            shift = (posterior_mean - mean) * jnp.exp(-log_deviation)
            log_narrowing = log_posterior - log_deviation
        drawn = shift + jnp.exp(log_narrowing) * noise
        latent = (mean + jnp.exp(log_deviation) * drawn).reshape(-1, self.side, self.side, channels)
        said = nn.Dense(cell**2 * x.shape[-1], dtype=self.dtype, name="latent")(latent)
        return by_example(x + depth_to_space(said, cell)), (shift, log_narrowing, drawn)


class HierarchicalVAE(nn.Module):
    """Both directions.

    Attributes:
      image_size: height and width.
      patch_size: side in pixels of a patch; a map has image_size / patch places along each side.
      width: channels of maps.
      depth: layers of the encoder, and of the decoder after each group of latents.
      num_heads: attention heads.
      latent: values of each group.
      sides: places along each side of each group, in the order in which they are drawn.
      dtype: compute dtype; latents and what is said of pixels are float32.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    latent: int
    sides: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, vector: Vectors, noise: Noise, images: Images | None = None
    ) -> tuple[Likelihood, Posterior]:
        """Draws latents, from the posterior given images and from the prior without.

        Args:
          vector: the condition.
          noise: standard normal, one for each value of each group; zeros give the means.
          images: in [-1, 1].
        """
        features = None if images is None else self.features(images, vector)
        x, fields = self.start(vector, "start"), []
        for number, side in enumerate(self.sides):
            group = Group(side, self.latent, self.dtype, name=f"group_{number}")
            x, of_group = group(x, noise[:, number], features)
            x = self.trunk(f"decoder_{number}")(x)
            fields.append(of_group)
        posterior = Posterior(*(jnp.stack(field, axis=1) for field in zip(*fields, strict=True)))
        return self.likelihood(x), posterior

    def trunk(self, name: str) -> Trunk:
        return Trunk(self.depth, self.num_heads, self.dtype, name=name)

    def start(self, vector: Vectors, name: str) -> Maps:
        """What each place begins with: its position, and the condition."""
        side = self.image_size // self.patch_size
        position = self.param(
            f"{name}_position", nn.initializers.normal(1), (side, side, self.width)
        )
        hidden = nn.silu(nn.Dense(self.width, dtype=self.dtype, name=f"{name}_hidden")(vector))
        said = nn.Dense(self.width, dtype=self.dtype, name=f"{name}_condition")(hidden)
        return by_example(said[:, None, None] + position[None].astype(self.dtype))

    def features(self, images: Images, vector: Vectors) -> Maps:
        """What the posterior reads off images."""
        patches = space_to_depth(images, self.patch_size)
        seen = nn.Dense(self.width, dtype=self.dtype, name="patches")(patches)
        return self.trunk("encoder")(seen + self.start(vector, "encoder"))

    def likelihood(self, x: Maps) -> Likelihood:
        said = nn.Dense(6 * self.patch_size**2, name="image")(x.astype(jnp.float32))
        mean, log_scale = jnp.split(depth_to_space(said, self.patch_size), 2, axis=-1)
        return Likelihood(mean, jnp.maximum(log_scale, SMALLEST_LOG_SCALE))
