"""The encoder of T5: text tokens -> one vector per token, for weights that were trained elsewhere.

`mmgen_jax.pretrained.t5_weights` reads such weights.
"""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mmgen_jax.nn.layout import STACKED, by_example
from mmgen_jax.nn.transformer import scan_layers


class T5Sizes(NamedTuple):
    """The sizes of a T5 encoder.

    Attributes:
      vocabulary: number of tokens that have an embedding.
      width: values per token between layers.
      head_width: values per token and head; `heads * head_width` need not be `width`.
      feed_forward: hidden width of the feed-forward layers.
      depth: number of layers.
      heads: attention heads per layer.
      gated: whether the feed-forward layers are gated, as in T5 v1.1, or plain, as in T5 v1.0.
      buckets: of the relative positions, both directions together; at least 4.
      max_distance: in tokens, from where on all positions share a bucket; above buckets / 4.
      epsilon: what the norms add to the mean square.
    """

    vocabulary: int
    width: int
    head_width: int
    feed_forward: int
    depth: int
    heads: int
    gated: bool
    buckets: int = 32
    max_distance: int = 128
    epsilon: float = 1e-6


def relative_buckets(
    tokens: int, buckets: int, max_distance: int
) -> Int[np.ndarray, "queries keys"]:
    """The bucket of each key's position relative to each query's (Raffel et al. 2020, section 2.1).

    One half of the buckets is for keys up to the query, the other for keys after it. Of a half with
    n buckets, the first e = n // 2 hold a distance each. The others part the distances from e to
    `max_distance` evenly on a logarithmic scale: distance d is in bucket
    e + floor((n - e) log(d / e) / log(max_distance / e)), or in the last one if d is too far.
    """
    half = buckets // 2
    exact = half // 2
    wide = half - exact
    # The first distance of each bucket but bucket 0. The logarithms are compared as powers, in
    # integers: a rounded one would put distances such as 16 and 32 in a bucket by chance.
    starts = list(range(1, exact + 1)) + [
        next(
            distance
            for distance in itertools.count(exact)
            if distance**wide * exact**bucket >= max_distance**bucket * exact**wide
        )
        for bucket in range(1, wide)
    ]
    offset = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
    return np.where(offset > 0, half, 0) + np.searchsorted(starts, abs(offset), side="right")


class T5Attention(nn.Module):
    """Self-attention with a bias per pair of positions, and logits that are not scaled.

    softmax(q k^T + bias) v, with the softmax in float32 (Raffel et al. 2020, section 2.1). A masked
    key gets weight exactly 0.
    """

    sizes: T5Sizes
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens width"],
        mask: Bool[Array, "batch tokens"],
        bias: Float[Array, "1 heads tokens tokens"],
    ) -> Float[Array, "batch tokens width"]:
        heads, channel = self.sizes.heads, self.sizes.head_width

        def project(name: str, scale: float = 1.0) -> Float[Array, "batch tokens heads channel"]:
            start = nn.initializers.variance_scaling(scale, "fan_in", "normal")
            dense = nn.Dense(
                heads * channel, use_bias=False, dtype=self.dtype, kernel_init=start, name=name
            )
            return dense(x).reshape(*x.shape[:2], heads, channel)

        # T5 scales the queries' initial weights where others scale the logits.
        query = project("query", 1 / channel)
        mixed = jax.nn.dot_product_attention(
            query, project("key"), project("value"), bias, mask[:, None, None, :], scale=1.0
        )
        out = nn.Dense(x.shape[-1], use_bias=False, dtype=self.dtype, name="out")
        return out(mixed.reshape(*x.shape[:2], -1))


class T5FeedForward(nn.Module):
    """Two dense layers with a ReLU (T5 v1.0), or a gate: W2(gelu(W x) * V x) (T5 v1.1).

    The gated layer is GEGLU (Shazeer 2020, eq. 6), with the tanh approximation of GELU.
    """

    hidden: int
    gated: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)

        if self.gated:
            gate = nn.gelu(dense(self.hidden, "gate")(x), approximate=True)
            hidden = gate * dense(self.hidden, "up")(x)
        else:
            hidden = nn.relu(dense(self.hidden, "hidden")(x))
        return dense(x.shape[-1], "down")(hidden)


class T5Block(nn.Module):
    """Attention and feed-forward, each on RMS-normalised input with a residual connection.

    The norm divides by the root mean square and scales; it subtracts no mean and adds no bias
    (Zhang & Sennrich 2019, eq. 4). It is computed in float32.
    """

    sizes: T5Sizes
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens width"],
        mask: Bool[Array, "batch tokens"],
        bias: Float[Array, "1 heads tokens tokens"],
    ) -> tuple[Float[Array, "batch tokens width"], None]:
        x = by_example(x)
        norm = dict(epsilon=self.sizes.epsilon, dtype=self.dtype)
        normed = nn.RMSNorm(**norm, name="attention_norm")(x)
        x = x + T5Attention(self.sizes, self.dtype, name="attention")(normed, mask, bias)
        feed = T5FeedForward(self.sizes.feed_forward, self.sizes.gated, self.dtype, name="feed")
        x = x + feed(nn.RMSNorm(**norm, name="feed_norm")(x))
        return x, None


class T5Encoder(nn.Module):
    """The encoder of T5 v1.0 (Raffel et al. 2020, section 2.1) or v1.1 (with GEGLU, Shazeer 2020).

    Pre-norm layers, all with the same bias by relative position, and a final norm. There is no
    dropout: the weights are used as they are.

    Attributes:
      sizes: see `T5Sizes`.
      dtype: of products and of the output. Norms, softmax and the sums between layers are float32:
        trained ones reach thousands, where bfloat16 would lose what a layer adds.
    """

    sizes: T5Sizes
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch tokens"], mask: Bool[Array, "batch tokens"]
    ) -> Float[Array, "batch tokens width"]:
        """Encodes; what stands at a token whose `mask` is False has no meaning.

        Args:
          tokens: numbers below `sizes.vocabulary`.
          mask: False at padding, which may stand anywhere; True at one token of a row at least.
        """
        sizes = self.sizes
        x = nn.Embed(sizes.vocabulary, sizes.width, name="embed")(tokens)
        buckets = relative_buckets(tokens.shape[1], sizes.buckets, sizes.max_distance)
        bias = nn.Embed(sizes.buckets, sizes.heads, name="relative_bias")(jnp.asarray(buckets))
        layers = scan_layers(T5Block, sizes.depth, remat=False, broadcasts=2)(
            sizes, self.dtype, name=STACKED
        )
        x, _ = layers(x, mask, bias.transpose(2, 0, 1)[None])
        return nn.RMSNorm(epsilon=sizes.epsilon, dtype=self.dtype, name="norm")(x)
