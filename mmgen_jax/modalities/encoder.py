"""From a sequence of features to an `Encoding`: what the encoders of all modalities share."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgen_jax.modalities import Encoding, Shared
from mmgen_jax.nn.transformer import Transformer

# Experts weigh one another by precision: bounded, so that none can silence the rest.
LOG_PRECISION_BOUNDS = (-6.0, 6.0)


class ExpertHead(nn.Module):
    """Hands features on as condition tokens and as a Gaussian expert.

    The expert is read off the mean of the valid tokens. With `shared.pool_tokens` that mean,
    projected, is also the only condition token.
    """

    shared: Shared

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch tokens features"], mask: Bool[Array, "batch tokens"]
    ) -> Encoding:
        dtype = jnp.dtype(self.shared.dtype)
        weight = mask[..., None].astype(x.dtype)
        pooled = (x * weight).sum(1) / jnp.maximum(weight.sum(1), 1)
        expert = nn.Dense(2 * self.shared.pooled, dtype=jnp.float32, name="expert")(pooled)
        mean, log_precision = jnp.split(expert, 2, axis=-1)
        present = mask.any(axis=-1)
        if self.shared.pool_tokens:
            x, mask = pooled[:, None], present[:, None]
        tokens = nn.Dense(self.shared.width, dtype=dtype, name="tokens")(x)
        return Encoding(tokens, mask, mean, jnp.clip(log_precision, *LOG_PRECISION_BOUNDS), present)


class SequenceEncoder(nn.Module):
    """A transformer over embedded tokens, then an `ExpertHead`."""

    depth: int
    num_heads: int
    shared: Shared

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens features"],
        mask: Bool[Array, "batch tokens"],
        positions: Float[Array, "tokens axes"],
    ) -> Encoding:
        # A row whose tokens are all masked attends to its first, so that its softmax is finite;
        # its output is masked again below.
        seen = mask.at[:, 0].set(True)
        x = Transformer(self.depth, self.num_heads, jnp.dtype(self.shared.dtype))(
            x, seen, positions
        )
        return ExpertHead(self.shared)(x, mask)
