"""A pre-norm transformer over one stream of tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgen_jax.nn.attention import QueryKeyValue, attend
from mmgen_jax.nn.layout import STACKED, by_example, gathered

UNROLLED = 4


class SwiGLU(nn.Module):
    """Gated feed-forward layer, W2(silu(W1 x) * V x) (Shazeer 2020, eq. 6), W1 and V fused.

    The hidden width is 8/3 of the model's, which costs what a plain layer of ratio 4 costs. From
    1,024 on it is a multiple of 256, as LLaMA's (Touvron et al. 2023): tiles of a TPU are filled.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        width = x.shape[-1]
        hidden = 8 * width // 3
        multiple = 256 if hidden >= 1024 else 8
        hidden = -(-hidden // multiple) * multiple
        fused = nn.Dense(2 * hidden, use_bias=False, dtype=self.dtype, name="gate_up")(x)
        gate, up = jnp.split(fused, 2, axis=-1)
        return nn.Dense(width, use_bias=False, dtype=self.dtype, name="down")(nn.silu(gate) * up)


class TransformerBlock(nn.Module):
    """Attention and SwiGLU, each on RMS-normalised input with a residual connection."""

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens width"],
        mask: Bool[Array, "batch tokens"],
        positions: Float[Array, "tokens axes"],
    ) -> tuple[Float[Array, "batch tokens width"], None]:
        x = by_example(x)
        normed = nn.RMSNorm(dtype=self.dtype)(x)
        mixed = attend(*QueryKeyValue(self.num_heads, self.dtype)(normed, positions), mask[:, None])
        x = x + nn.Dense(x.shape[-1], use_bias=False, dtype=self.dtype, name="out")(mixed)
        x = x + SwiGLU(self.dtype)(nn.RMSNorm(dtype=self.dtype)(x))
        return x, None


def scan_layers(
    block: type[nn.Module], depth: int, remat: bool, broadcasts: int, each: int = 0
) -> Any:
    """`block` repeated `depth` times by `nn.scan`: parameters stacked on axis 0, compiled once.

    Args:
      block: a module whose call takes the carry, `broadcasts` arguments equal in all layers, then
        `each` that are stacked by layer, and returns (carry, what is to be stacked by layer).
      depth: number of layers.
      remat: if True, activations within a layer are recomputed in the backward pass.
      broadcasts: number of arguments after the carry.
      each: number of arguments after those.
    """
    # Within what is recomputed: what is gathered is not kept for the backward pass.
    block = nn.map_variables(block, "params", gathered, init=True)
    if remat:
        block = nn.remat(block, prevent_cse=False)
    return nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(nn.broadcast,) * broadcasts + (0,) * each,
        length=depth,
        # A loop costs a quarter of a CPU's step; a short stack compiles fast enough without.
        unroll=depth if depth <= UNROLLED else 1,
    )


class Transformer(nn.Module):
    """`depth` transformer blocks and a final RMSNorm."""

    depth: int
    num_heads: int
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens width"],
        mask: Bool[Array, "batch tokens"],
        positions: Float[Array, "tokens axes"],
    ) -> Float[Array, "batch tokens width"]:
        layers = scan_layers(TransformerBlock, self.depth, self.remat, broadcasts=2)
        x, _ = layers(self.num_heads, self.dtype, name=STACKED)(x, mask, positions)
        return nn.RMSNorm(dtype=self.dtype, name="norm")(x)
