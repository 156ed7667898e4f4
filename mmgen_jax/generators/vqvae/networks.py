"""A vision transformer on either side of a small code (Yu et al. 2022, ViT-VQGAN, section 3.1)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmgen_jax.nn.conv import Conv
from mmgen_jax.nn.layout import by_example
from mmgen_jax.nn.patches import patch_positions
from mmgen_jax.nn.transformer import Transformer

Images = Float[Array, "batch height width channel"]
Tokens = Float[Array, "batch tokens channel"]


class PatchTransformer(nn.Module):
    """Tokens on a grid -> tokens on it, each with learned and rotary positions.

    Attributes:
      grid: rows and columns.
      width, depth, num_heads: of the transformer.
      out: channels of what it says, in float32.
      dtype: compute dtype.
      remat: recompute activations in the backward pass.
    """

    grid: tuple[int, int]
    width: int
    depth: int
    num_heads: int
    out: int
    dtype: jnp.dtype
    remat: bool = False

    def setup(self):
        shape = (self.grid[0] * self.grid[1], self.width)
        self.embed = nn.Dense(self.width, dtype=self.dtype)
        self.positions = self.param("positions", nn.initializers.normal(0.02), shape)
        self.transformer = Transformer(self.depth, self.num_heads, self.dtype, self.remat)
        self.out_layer = nn.Dense(self.out, name="out")

    def __call__(self, x: Tokens) -> Float[Array, "batch tokens out"]:
        return self.say(self.read(x))

    def read(self, x: Tokens) -> Float[Array, "batch tokens width"]:
        """What the last layer sees."""
        x = self.embed(x) + self.positions[None]
        mask = jnp.ones(x.shape[:2], bool)
        x = self.transformer(x.astype(self.dtype), mask, patch_positions(*self.grid, 1))
        return x.astype(jnp.float32)

    def say(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens out"]:
        """What the last layer makes of it."""
        return self.out_layer(x)


class FactorisedPrior(nn.Module):
    """A condition's vector -> what each place of the grid says, independently of all others.

    Attributes:
      places: of the grid.
      width: channels of the hidden layer.
      out: numbers that say the distribution of a place.
    """

    places: int
    width: int
    out: int

    @nn.compact
    def __call__(
        self, vector: Float[Array, "batch pooled"], picked: Int[Array, "batch some"]
    ) -> Float[Array, "batch some out"]:
        """What the places say that are picked, by their numbers row by row."""
        x = nn.Dense(self.width, name="hidden")(vector)[:, None]
        place = self.param("places", nn.initializers.normal(1.0), (self.places, self.width))
        x = nn.RMSNorm(name="norm")(nn.silu(x + place[picked]))
        return nn.Dense(self.out, name="out")(by_example(x))


class PatchDiscriminator(nn.Module):
    """How real each part of an image is (Isola et al. 2017, section 3.2.2), as scores.

    Attributes:
      widths: channels of each map; each is half as large as the one before.
      dtype: compute dtype.
    """

    widths: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images: Images) -> Float[Array, "batch parts"]:
        x = images
        for number, width in enumerate(self.widths, 1):
            conv = Conv(width, (4, 4), (2, 2), dtype=self.dtype, name=f"conv_{number}")
            x = by_example(nn.leaky_relu(conv(x), 0.2))
        scores = Conv(1, (3, 3), name="out")(x.astype(jnp.float32))
        return scores.reshape(scores.shape[0], -1)
