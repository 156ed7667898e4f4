"""The diffusion transformer, DiT: a condition's vector modulates every layer of a transformer.

Peebles & Xie 2023, "Scalable Diffusion Models with Transformers": section 3.2, with the blocks
called adaLN-zero (figure 3), as in the authors' code, so that their weights fit
(`mmgen_jax.pretrained.dit_weights`). `dit_sizes` has the published sizes.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmgen_jax.nn.attention import attend
from mmgen_jax.nn.layout import STACKED, by_example
from mmgen_jax.nn.modulation import Modulation, TimestepEmbedding, modulate
from mmgen_jax.nn.patches import patchify, unpatchify
from mmgen_jax.nn.transformer import scan_layers

Tokens = Float[Array, "batch tokens width"]
Vector = Float[Array, "batch width"]

# Of every layer that does not start at zero or, as the timestep's do, small (DiT's code).
XAVIER = nn.initializers.xavier_uniform()
SMALL = nn.initializers.normal(0.02)
# Layer norm (Ba et al. 2016) without parameters: the modulation has the scale and the shift.
Norm = functools.partial(
    nn.LayerNorm, epsilon=1e-6, use_bias=False, use_scale=False, use_fast_variance=False
)


class DiTBlock(nn.Module):
    """Attention and a feed-forward layer, each modulated and behind a gate (adaLN-zero).

    A new block is the identity, as its gates are zero.

    Attributes:
      num_heads: of the attention; the width is a multiple of them.
      dtype: of products and of what comes out; parameters are float32.
    """

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Tokens, vector: Vector) -> tuple[Tokens, None]:
        x = by_example(x)
        width = x.shape[-1]

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, kernel_init=XAVIER, dtype=self.dtype, name=name)

        parts = Modulation(6, self.dtype, name="modulation")(vector)
        fused = dense(3 * width, "qkv")(modulate(Norm(dtype=self.dtype)(x), parts[0], parts[1]))
        # By heads first, so that a part of the features is whole heads (`layout.TENSOR_RULES`).
        qkv = jnp.split(fused.reshape(*x.shape[:2], self.num_heads, -1), 3, axis=-1)
        x = x + parts[2][:, None] * dense(width, "out")(attend(*qkv))
        hidden = dense(4 * width, "hidden")(modulate(Norm(dtype=self.dtype)(x), parts[3], parts[4]))
        fed = dense(width, "down")(nn.gelu(hidden, approximate=True))
        return x + parts[5][:, None] * fed, None


class DiT(nn.Module):
    """A noisy image, its timestep and a condition's vector -> an image-shaped prediction.

    The vector is added to the timestep's embedding; in DiT it is the label's row of a table, which
    is not part of this network. The output starts at zero. Parameters depend on no image size.

    Attributes:
      patch_size: height and width of a patch in pixels; those of the image are multiples of it.
      width: of tokens and of the vector, a multiple of 4 and of `num_heads`.
      depth: number of blocks.
      num_heads: of each block's attention.
      dtype: that layers compute in; parameters and what comes out are float32.
      learn_sigma: if True, twice as many channels come out: the prediction, then what a variance
        between DDPM's bounds is made of (Nichol & Dhariwal 2021, eq. 15).
      remat: if True, activations within a block are recomputed in the backward pass.

    The call's arguments are the image, its timestep between 0 and 1, of which the authors' code
    takes the thousandfold, and the vector.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype
    learn_sigma: bool = False
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        noisy: Float[Array, "batch height image_width channel"],
        timestep: Float[Array, "batch"],
        vector: Vector,
    ) -> Float[Array, "batch height image_width out"]:
        height, width, channel = noisy.shape[1:]
        embed = nn.Dense(self.width, kernel_init=XAVIER, dtype=self.dtype, name="embed")
        positions = sincos_positions(
            height // self.patch_size, width // self.patch_size, self.width
        )
        x = embed(patchify(noisy, self.patch_size)) + jnp.asarray(positions)[None]
        vector = vector + TimestepEmbedding(self.width, kernel_init=SMALL, name="timestep")(
            timestep
        )
        layers = scan_layers(DiTBlock, self.depth, self.remat, broadcasts=1)
        vector = by_example(vector)
        x, _ = layers(self.num_heads, self.dtype, name=STACKED)(x.astype(self.dtype), vector)
        shift, scale = Modulation(2, self.dtype, name="modulation")(vector)
        x = modulate(Norm(dtype=self.dtype)(x), shift, scale)
        values = self.patch_size**2 * channel * (2 if self.learn_sigma else 1)
        out = nn.Dense(values, kernel_init=nn.initializers.zeros, name="out")
        return unpatchify(out(x.astype(jnp.float32)), height, width, self.patch_size)


class PooledDiT(nn.Module):
    """A DiT whose vector is read off a pooled condition, whatever that is made of.

    The call takes what `mmdit.MMDiT`'s does; of the condition's tokens it makes nothing.

    Attributes:
      dit: the network.
    """

    dit: DiT

    @nn.compact
    def __call__(
        self,
        noisy: Float[Array, "batch height image_width channel"],
        timestep: Float[Array, "batch"],
        tokens: Float[Array, "batch condition features"],
        mask: Bool[Array, "batch condition"],
        positions: Float[Array, "condition axes"],
        vector: Float[Array, "batch pooled"],
    ) -> Float[Array, "batch height image_width out"]:
        return self.dit(noisy, timestep, nn.Dense(self.dit.width, name="pooled")(vector))


def sincos_positions(rows: int, columns: int, width: int) -> Float[np.ndarray, "tokens width"]:
    """A fixed embedding of each patch's place, row by row (section 3.2; He et al. 2022, MAE).

    The first half of the features is of the column, the second of the row; of each, the first half
    are sines and the second cosines (Vaswani et al. 2017, section 3.5).

    Args:
      rows: number of rows of patches.
      columns: number of columns of patches.
      width: number of features, a multiple of 4.

    Raises:
      ValueError: if it is not.
    """
    if width % 4:
        raise ValueError(f"sine-cosine positions need a width that is a multiple of 4, not {width}")
    frequencies = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    row, column = np.indices((rows, columns)).reshape(2, -1)
    angles = [place[:, None] * frequencies[None] for place in (column, row)]
    parts = [function(angle) for angle in angles for function in (np.sin, np.cos)]
    return np.concatenate(parts, axis=-1).astype(np.float32)
