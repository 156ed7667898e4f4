"""The multimodal diffusion transformer: image and condition tokens in one attention."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgen_jax.nn.attention import QueryKeyValue, attend
from mmgen_jax.nn.layout import STACKED, by_example
from mmgen_jax.nn.modulation import Modulation, TimestepEmbedding, modulate
from mmgen_jax.nn.patches import patch_positions, patchify, unpatchify
from mmgen_jax.nn.transformer import SwiGLU, scan_layers

Tokens = Float[Array, "batch tokens width"]
Vector = Float[Array, "batch width"]


class Stream(nn.Module):
    """One stream's half of a block: its own weights, what attention mixes between the streams."""

    width: int
    num_heads: int
    dtype: jnp.dtype

    def setup(self):
        self.modulation = Modulation(6, self.dtype)
        self.attention_norm = nn.RMSNorm(use_scale=False, dtype=self.dtype)
        self.feed_norm = nn.RMSNorm(use_scale=False, dtype=self.dtype)
        self.projection = QueryKeyValue(self.num_heads, self.dtype)
        self.out = nn.Dense(self.width, use_bias=False, dtype=self.dtype)
        self.feed = SwiGLU(self.dtype)

    def before(
        self, x: Tokens, vector: Vector, positions: Float[Array, "tokens axes"]
    ) -> tuple[list[Vector], tuple[Float[Array, "batch tokens heads channel"], ...]]:
        """What the attention needs of this stream: (modulation, (queries, keys, values))."""
        parts = self.modulation(vector)
        normed = modulate(self.attention_norm(x), parts[0], parts[1])
        return parts, self.projection(normed, positions)

    def after(self, x: Tokens, mixed: Tokens, parts: list[Vector]) -> Tokens:
        """Adds what attention brought, then the feed-forward layer, each behind its gate."""
        x = x + parts[2][:, None] * self.out(mixed)
        normed = modulate(self.feed_norm(x), parts[3], parts[4])
        return x + parts[5][:, None] * self.feed(normed)


class MMDiTBlock(nn.Module):
    """Joint attention over both streams (Esser et al. 2024, SD3, figure 2b)."""

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        streams: tuple[Tokens, Float[Array, "batch condition width"]],
        vector: Vector,
        mask: Bool[Array, "batch all"],
        image_positions: Float[Array, "tokens axes"],
        condition_positions: Float[Array, "condition axes"],
    ) -> tuple[tuple[Tokens, Float[Array, "batch condition width"]], None]:
        image, condition = map(by_example, streams)
        sizes = (image.shape[-1], self.num_heads, self.dtype)
        image_stream = Stream(*sizes, name="image")
        condition_stream = Stream(*sizes, name="condition")
        image_parts, image_qkv = image_stream.before(image, vector, image_positions)
        parts, qkv = condition_stream.before(condition, vector, condition_positions)
        joint = (jnp.concatenate(pair, axis=1) for pair in zip(image_qkv, qkv, strict=True))
        mixed = attend(*joint, mask[:, None])
        tokens = image.shape[1]
        image = image_stream.after(image, mixed[:, :tokens], image_parts)
        condition = condition_stream.after(condition, mixed[:, tokens:], parts)
        return (image, condition), None


class MMDiT(nn.Module):
    """A noisy image, its timestep and what conditions it -> an image-shaped prediction.

    Condition tokens join the attention; the timestep and a pooled vector modulate every layer.
    Pre-norm RMSNorm, SwiGLU, QK-norm, rotary positions; the output starts at zero.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        noisy: Float[Array, "batch height image_width channel"],
        timestep: Float[Array, "batch"],
        tokens: Float[Array, "batch condition features"],
        mask: Bool[Array, "batch condition"],
        positions: Float[Array, "condition axes"],
        vector: Float[Array, "batch pooled"],
    ) -> Float[Array, "batch height image_width channel"]:
        height, width, channel = noisy.shape[1:]
        image = nn.Dense(self.width, dtype=self.dtype, name="embed")(
            patchify(noisy, self.patch_size)
        )
        image = image + self.param("positions", nn.initializers.normal(0.02), image.shape[1:])[None]
        tokens = nn.Dense(self.width, dtype=self.dtype, name="condition")(tokens)
        vector = nn.Dense(self.width, name="pooled")(vector)
        vector = vector + TimestepEmbedding(self.width, name="timestep")(timestep)
        mask = jnp.concatenate([jnp.ones(image.shape[:2], bool), mask], axis=1)
        image_positions = patch_positions(height, width, self.patch_size)
        layers = scan_layers(MMDiTBlock, self.depth, self.remat, broadcasts=4)(
            self.num_heads, self.dtype, name=STACKED
        )
        streams, vector = (image.astype(self.dtype), tokens), by_example(vector)
        (image, _), _ = layers(streams, vector, mask, image_positions, positions)
        shift, scale = Modulation(2, self.dtype, name="modulation")(vector)
        image = modulate(nn.RMSNorm(use_scale=False, dtype=self.dtype)(image), shift, scale)
        values = self.patch_size * self.patch_size * channel
        zeros = nn.initializers.zeros
        out = nn.Dense(values, kernel_init=zeros, name="out")(image.astype(jnp.float32))
        return unpatchify(out, height, width, self.patch_size)
