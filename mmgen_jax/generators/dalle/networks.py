"""A causal transformer over image tokens, behind a prefix that is read in both directions.

Training sees all tokens at once; sampling one after another, with the keys and values of those
before in a cache of fixed shape. Both are the same call: what is new is written into the cache, and
attends to what a mask lets it see.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmgen_jax.nn.attention import QueryKeyValue, attend
from mmgen_jax.nn.layout import STACKED, by_example
from mmgen_jax.nn.patches import patch_positions
from mmgen_jax.nn.transformer import SwiGLU, scan_layers

Tokens = Float[Array, "batch tokens width"]
Cache = tuple[
    Float[Array, "layers batch all heads channel"], Float[Array, "layers batch all heads channel"]
]


class CachedBlock(nn.Module):
    """Attention and SwiGLU, pre-norm, over what is new and what a layer's cache holds."""

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        mask: Bool[Array, "batch tokens all"],
        positions: Float[Array, "tokens axes"],
        start: Int[Array, ""],
        *cache: Float[Array, "batch all heads channel"],
    ) -> tuple[Tokens, tuple[Float[Array, "batch all heads channel"], ...]]:
        x = by_example(x)
        normed = nn.RMSNorm(dtype=self.dtype, name="attention_norm")(x)
        query, *new = QueryKeyValue(self.num_heads, self.dtype, name="attention")(normed, positions)
        seen = new
        if cache:
            put = jax.lax.dynamic_update_slice_in_dim
            seen = [put(old, part, start, axis=1) for old, part in zip(cache, new, strict=True)]
        mixed = attend(query, *seen, mask)
        x = x + nn.Dense(x.shape[-1], use_bias=False, dtype=self.dtype, name="out")(mixed)
        normed = nn.RMSNorm(dtype=self.dtype, name="feed_norm")(x)
        return x + SwiGLU(self.dtype, name="feed")(normed), tuple(seen) if cache else ()


class PrefixTransformer(nn.Module):
    """Condition tokens and image tokens -> logits of the next image token.

    Its parts are those of LlamaGen (Sun et al. 2024, section 3.2): RMSNorm before each layer,
    SwiGLU, rotary positions in two dimensions; to which come QK-norm and learned positions. The
    prefix holds the pooled condition and its tokens; it attends to itself alone, in both
    directions, so that the order of the modalities does not matter.

    Attributes:
      codes: in the vocabulary.
      grid: rows and columns of the image tokens.
      width, depth, num_heads: of the transformer.
      dtype: compute dtype; logits are float32.
      remat: recompute activations in the backward pass.
    """

    codes: int
    grid: tuple[int, int]
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype
    remat: bool = False

    def setup(self):
        self.condition = nn.Dense(self.width, dtype=self.dtype)
        self.pooled = nn.Dense(self.width, dtype=self.dtype)
        normal = nn.initializers.normal(0.02)
        places = self.grid[0] * self.grid[1]
        self.embed = nn.Embed(self.codes, self.width, embedding_init=normal, dtype=self.dtype)
        self.begin = self.param("begin", normal, (self.width,))
        self.places = self.param("places", normal, (places, self.width))
        self.transformer = Layers(
            self.depth, self.num_heads, self.dtype, self.remat, name="transformer"
        )
        self.norm = nn.RMSNorm(dtype=self.dtype)
        # Zero: at first every code is as likely as any other.
        self.logits = nn.Dense(self.codes, use_bias=False, kernel_init=nn.initializers.zeros)

    def __call__(
        self,
        ids: Int[Array, "batch places"],
        tokens: Float[Array, "batch condition features"],
        mask: Bool[Array, "batch condition"],
        positions: Float[Array, "condition axes"],
        vector: Float[Array, "batch pooled"],
    ) -> Float[Array, "batch places codes"]:
        """Logits at every place, given the codes of all places before it."""
        prefix, mask, positions = self._prefix(tokens, mask, positions, vector)
        x = jnp.concatenate([prefix, self._inputs(ids)], axis=1)
        positions = jnp.concatenate([positions, patch_positions(*self.grid, 1)])
        x, _ = self.transformer(x, self._visible(mask), positions)
        return self._logits(x[:, mask.shape[1] :])

    def read(
        self,
        tokens: Float[Array, "batch condition features"],
        mask: Bool[Array, "batch condition"],
        positions: Float[Array, "condition axes"],
        vector: Float[Array, "batch pooled"],
    ) -> tuple[Cache, Bool[Array, "batch all"]]:
        """(a cache that holds the prefix, which of its places a token at the end may see)."""
        prefix, mask, positions = self._prefix(tokens, mask, positions, vector)
        places = self.grid[0] * self.grid[1]
        room = mask.shape[1] + places
        shape = (self.depth, len(mask), room, self.num_heads, self.width // self.num_heads)
        empty = (jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        seen = jnp.pad(mask, ((0, 0), (0, places)))
        visible = jnp.broadcast_to(seen[:, None], (*mask.shape, room))
        _, cache = self.transformer(prefix, visible, positions, jnp.zeros((), jnp.int32), empty)
        return cache, jnp.pad(mask, ((0, 0), (0, places)), constant_values=True)

    def extend(
        self,
        cache: Cache,
        visible: Bool[Array, "batch all"],
        before: Int[Array, "batch"],
        place: Int[Array, ""],
    ) -> tuple[Cache, Float[Array, "batch codes"]]:
        """(the cache with one place more, logits at that place).

        Args:
          cache: of the prefix and all places before.
          visible: as from `read`.
          before: code of the place before; anything at the first one.
          place: which one.
        """
        begin = self.begin.astype(self.dtype)[None]
        x = jnp.where(place == 0, begin, self.embed(before))
        x = (x + self.places[place].astype(self.dtype)[None])[:, None]
        prefix = visible.shape[1] - len(self.places)
        mask = visible & (jnp.arange(visible.shape[1]) <= prefix + place)[None]
        position = patch_positions(*self.grid, 1)[place][None]
        x, cache = self.transformer(x, mask[:, None], position, prefix + place, cache)
        return cache, self._logits(x)[:, 0]

    def _prefix(
        self, tokens: Array, mask: Array, positions: Array, vector: Array
    ) -> tuple[Tokens, Bool[Array, "batch prefix"], Float[Array, "prefix axes"]]:
        pooled = self.pooled(vector)[:, None]
        prefix = jnp.concatenate([pooled, self.condition(tokens)], axis=1)
        mask = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        return prefix, mask, jnp.pad(positions, ((1, 0), (0, 0)))

    def _inputs(self, ids: Int[Array, "batch places"]) -> Tokens:
        """What stands at each place: the code of the one before, and where it is."""
        begin = jnp.broadcast_to(self.begin.astype(self.dtype), (len(ids), 1, self.width))
        x = jnp.concatenate([begin, self.embed(ids[:, :-1])], axis=1)
        return x + self.places.astype(self.dtype)[None]

    def _visible(self, mask: Bool[Array, "batch prefix"]) -> Bool[Array, "batch all all"]:
        """The prefix sees itself, an image token the prefix and what is not behind it."""
        places, prefix = len(self.places), mask.shape[1]
        causal = jnp.tril(jnp.ones((prefix + places,) * 2, bool))
        image = jnp.pad(mask, ((0, 0), (0, places)), constant_values=True)[:, None] & causal[None]
        seen = jnp.pad(mask, ((0, 0), (0, places)))[:, None]
        of_prefix = (jnp.arange(prefix + places) < prefix)[None, :, None]
        return jnp.where(of_prefix, seen, image)

    def _logits(self, x: Tokens) -> Float[Array, "batch tokens codes"]:
        return self.logits(self.norm(x).astype(jnp.float32))


class Layers(nn.Module):
    """The stack of blocks."""

    depth: int
    num_heads: int
    dtype: jnp.dtype
    remat: bool

    @nn.compact
    def __call__(
        self,
        x: Tokens,
        mask: Bool[Array, "batch tokens all"],
        positions: Float[Array, "tokens axes"],
        start: Int[Array, ""] | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tokens, Cache | tuple[()]]:
        """(what the last layer says, the new cache, empty if none is given).

        Args:
          x: what is new.
          mask: what each of them may see of the cache, or of one another if there is none.
          positions: of what is new.
          start: where they go in the cache.
          cache: keys and values, stacked by layer.
        """
        start = jnp.zeros((), jnp.int32) if start is None else start
        each = cache or ()
        stack = scan_layers(CachedBlock, self.depth, self.remat, broadcasts=3, each=len(each))
        layers = stack(self.num_heads, self.dtype, name=STACKED)
        return layers(x.astype(self.dtype), mask, positions, start, *each)
