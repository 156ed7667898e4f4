"""Multi-head attention pieces: rotary positions, normalised queries and keys, masked products."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def rotate(
    x: Float[Array, "batch tokens heads channel"],
    positions: Float[Array, "tokens axes"],
    base: float = 10_000.0,
) -> Float[Array, "batch tokens heads channel"]:
    """Rotary position embedding over any number of axes (RoPE, Su et al. 2021, eq. 34).

    The channel pairs are shared out among the axes, so that a token at (0, row, column) and one
    at (index, 0, 0) meet in the same attention. A token at the origin is left as it is.
    """
    pairs = x.shape[-1] // 2
    shares = [len(part) for part in np.array_split(np.arange(pairs), positions.shape[-1])]
    frequencies = np.concatenate([base ** -(np.arange(n) / max(n, 1)) for n in shares])
    axis = np.repeat(np.arange(len(shares)), shares)
    angle = positions[:, axis] * frequencies[None].astype(np.float32)
    cos, sin = (f(angle)[None, :, None, :].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


class QueryKeyValue(nn.Module):
    """Projects tokens to queries, keys and values; queries and keys are RMS-normalised per head.

    QK-norm (Dehghani et al. 2023, section 2; with RMSNorm as in SD3, Esser et al. 2024,
    section 5.3.2) keeps attention logits bounded in bfloat16.
    """

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch tokens width"], positions: Float[Array, "tokens axes"]
    ) -> tuple[Float[Array, "batch tokens heads channel"], ...]:
        fused = nn.Dense(3 * x.shape[-1], use_bias=False, dtype=self.dtype, name="qkv")(x)
        query, key, value = jnp.split(fused.reshape(*x.shape[:2], self.num_heads, -1), 3, axis=-1)
        query = nn.RMSNorm(dtype=self.dtype, name="query_norm")(query)
        key = nn.RMSNorm(dtype=self.dtype, name="key_norm")(key)
        return rotate(query, positions), rotate(key, positions), value


def attend(
    query: Float[Array, "batch tokens heads channel"],
    key: Float[Array, "batch keys heads channel"],
    value: Float[Array, "batch keys heads channel"],
    mask: Bool[Array, "batch #tokens keys"] | None = None,
) -> Float[Array, "batch tokens width"]:
    """Softmax attention over the keys whose `mask` is True, or over all; heads are merged.

    A masked key gets weight exactly 0, and gradient exactly 0. A row without any key is the
    caller's mistake: attention would be uniform over nothing.
    """
    mask = None if mask is None else mask[:, None]
    mixed = jax.nn.dot_product_attention(query, key, value, mask=mask)
    return mixed.reshape(*mixed.shape[:2], -1)
