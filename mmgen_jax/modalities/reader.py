"""Networks that read an image to recover what it was asked to show."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmgen_jax.modalities import Encoding, Recovery, Shared
from mmgen_jax.nn.patches import patch_positions, patchify
from mmgen_jax.nn.transformer import Transformer
from mmgen_jax.training import crossbatch


class ImageReader(nn.Module):
    """A small vision transformer: image -> one feature vector."""

    shared: Shared

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch features"]:
        sizes, dtype = self.shared.reader, jnp.dtype(self.shared.dtype)
        x = nn.Dense(sizes.width, dtype=dtype, name="embed")(patchify(images, sizes.patch))
        positions = patch_positions(*images.shape[1:3], sizes.patch)
        # Absolute positions besides the rotary ones: a label may say *where* a thing is.
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])[None]
        mask = jnp.ones(x.shape[:2], bool)
        x = Transformer(sizes.depth, sizes.heads, dtype)(x, mask, positions)
        return x.mean(axis=1).astype(jnp.float32)


class ContrastiveReader(nn.Module):
    """Recovers a value by telling it from the other values of the batch (InfoNCE)."""

    shared: Shared

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channel"],
        encoding: Encoding,
        identity: Int[Array, "batch digits"],
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
    identity: Int[Array, "batch digits"],
) -> Recovery:
    """The InfoNCE bound (van den Oord et al. 2018, eq. 4) over the global batch.

    Rows i compete as log(exp(s_ii) / sum_j exp(s_ij)) + log K, where j runs over the K rows
    that are present, without the other rows of equal `identity`: two equal captions are no
    negatives of one another. In expectation it bounds log p(x|y) - log p(x) from below.
    """
    keys = crossbatch.gather(key)
    identities, presents = crossbatch.gather(identity), crossbatch.gather(present)
    rows = crossbatch.positions(query.shape[0])
    own = rows[:, None] == jnp.arange(keys.shape[0])[None, :]
    equal = (identity[:, None, :] == identities[None, :, :]).all(-1)
    candidate = own | (presents[None, :] & ~equal)
    scores = jnp.where(candidate, query @ keys.T, -jnp.inf)
    chosen = jnp.where(own, scores, 0).sum(-1)
    bound = chosen - jax.nn.logsumexp(scores, axis=-1) + jnp.log(candidate.sum(-1))
    # Of equal scores the first wins: an encoder that has collapsed is no perfect one.
    correct = (scores.argmax(-1) == rows).astype(jnp.float32)
    return Recovery(bound, correct, chosen)


def _unit(x: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)
