"""Networks that read an image to recover what it was asked to show."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, UInt32

from mmgen_jax.modalities import Encoding, Recovery, Shared
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.patches import patch_positions, patchify
from mmgen_jax.nn.transformer import Transformer


class ImageReader(nn.Module):
    """A small vision transformer: image -> one feature vector."""

    shared: Shared

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch features"]:
        sizes, dtype = self.shared.reader, jnp.dtype(self.shared.dtype)
        x = nn.Dense(sizes.width, dtype=dtype, name="embed")(patchify(images, sizes.patch_size))
        positions = patch_positions(*images.shape[1:3], sizes.patch_size)
        # Absolute positions besides the rotary ones: a label may say *where* a thing is.
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])[None]
        mask = jnp.ones(x.shape[:2], bool)
        x = Transformer(sizes.depth, sizes.num_heads, dtype)(x, mask, positions)
        return x.mean(axis=1).astype(jnp.float32)


class ContrastiveReader(nn.Module):
    """Recovers a value by telling it from the other values of the batch (InfoNCE)."""

    shared: Shared

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channel"],
        encoding: Encoding,
        identity: Integer[Array, "batch words"],
    ) -> Recovery:
        width = self.shared.reader.width
        query = nn.Dense(width, name="query")(ImageReader(self.shared)(images))
        key = nn.Dense(width, name="key")(encoding.mean)
        log_scale = self.param("log_scale", nn.initializers.constant(2.3), ())
        # At most 100, as in CLIP (Radford et al. 2021, section 2.5).
        scale = jnp.exp(jnp.minimum(log_scale, 4.6))
        return info_nce(scale * _unit(query), _unit(key), encoding.present, identity)


def info_nce(
    query: Float[Array, "batch features"],
    key: Float[Array, "batch features"],
    present: Bool[Array, "batch"],
    identity: Integer[Array, "batch words"],
) -> Recovery:
    """The InfoNCE bound (van den Oord et al. 2018, eq. 4) over the global batch.

    Rows i compete as log(exp(s_ii) / sum_j exp(s_ij)) + log K, where j runs over the K rows
    that are present, without the other rows of equal `identity`: two equal captions are no
    negatives of one another. In expectation it bounds log p(x|y) - log p(x) from below, and it
    never exceeds log K, the `ceiling`. `correct` is the share of the other K - 1 rows that score
    below the row itself (a half where they score the same): 0.5 is chance whatever K is, and where
    an image shows one of two meanings, 0.75 is the best.
    """
    keys = global_batch.gather(key)
    identities, presents = global_batch.gather(identity), global_batch.gather(present)
    rows = global_batch.positions(query.shape[0])
    own = rows[:, None] == jnp.arange(keys.shape[0])[None, :]
    equal = (identity[:, None, :] == identities[None, :, :]).all(-1)
    candidate = own | (presents[None, :] & ~equal)
    scores = jnp.where(candidate, query @ keys.T, -jnp.inf)
    chosen = jnp.where(own, scores, 0).sum(-1)
    ceiling = jnp.log(candidate.sum(-1))
    bound = chosen - jax.nn.logsumexp(scores, axis=-1) + ceiling
    rival, own_score = candidate & ~own, chosen[:, None]
    beaten = (rival & (scores < own_score)) + 0.5 * (rival & (scores == own_score))
    rivals = rival.sum(-1)
    correct = jnp.where(rivals > 0, beaten.sum(-1) / jnp.maximum(rivals, 1), 0.5)
    return Recovery(bound, correct, chosen, ceiling)


def identity(value: Any) -> UInt32[Array, "batch 2"]:
    """Hashes each row of a value, all of it, into 64 bits by which equal rows are found.

    Every number's bits are mixed with its position (the finalizer of MurmurHash3), and the results
    are added up: that is one pass over the value, in any order.

    Args:
      value: arrays, or a tree of them, of 32 bits or less, with one row for each example.
    """
    rows = [_bits(leaf) for leaf in jax.tree.leaves(value)]
    bits = jnp.concatenate(rows, axis=1)
    places = jnp.arange(bits.shape[1], dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
    words = []
    for seed in (0x3C6EF372, 0xA54FF53A):
        x = (bits ^ jnp.uint32(seed)) * jnp.uint32(0xCC9E2D51) + places[None]
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ (x >> shift)) * jnp.uint32(factor)
        words.append((x ^ (x >> 16)).sum(axis=1, dtype=jnp.uint32))
    return jnp.stack(words, axis=1)


def _bits(leaf: Any) -> UInt32[Array, "batch numbers"]:
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        leaf = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return leaf.astype(jnp.uint32).reshape(leaf.shape[0], -1)


def _unit(x: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)
