"""From an encoder's vectors to codes: what a tokenizer's latents are drawn from.

A `Quantizer` is a few pure functions. Its state says what it learned otherwise than by gradients.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mmgen_jax.nn import global_batch, moving_average

Vectors = Float[Array, "batch tokens channel"]
Tokens = Int[Array, "batch tokens"]
Counts = Float[Array, "codes"]
ROUNDING = 1e-3  # keeps the outermost levels of FSQ within reach of its tanh


class Quantized(NamedTuple):
    """What became of a batch's vectors.

    Attributes:
      vectors: quantised, with gradients that go straight through to the encoder's.
      loss: what the encoder pays to stay near its codes.
      state: the new state.
      metrics: scalars for the log.
    """

    vectors: Vectors
    loss: Float[Array, ""]
    state: Any
    metrics: dict[str, Any]


class Quantizer(NamedTuple):
    """One way to make latents.

    Attributes:
      channels: of an encoder's vector.
      latent: of a latent, quantised or drawn.
      codes: in the vocabulary; 0 where latents are continuous.
      init: (key) -> state.
      quantise: (state, vectors, keys[batch], count) -> Quantized; in training. `count` is the
        number of batches before.
      settle: (state, vectors) -> latents; afterwards, without randomness.
      tokens: (state, latents) -> Int[batch, tokens]; None where latents are continuous.
      embed: (state, tokens) -> latents; None where latents are continuous.
    """

    channels: int
    latent: int
    codes: int
    init: Callable[..., Any]
    quantise: Callable[..., Quantized]
    settle: Callable[..., Any]
    tokens: Callable[..., Any] | None = None
    embed: Callable[..., Any] | None = None


def straight_through(value: Array, through: Array) -> Array:
    """`value`, with the gradient of `through` (Bengio et al. 2013; VQ-VAE, section 3.1)."""
    return through + jax.lax.stop_gradient(value - through)


def ema(codes: int, width: int, decay: float, commitment: float, restart_below: float) -> Quantizer:
    """A learned codebook on the unit sphere (van den Oord et al. 2017, VQ-VAE, appendix A.1).

    Vectors and codes have length 1 (Yu et al. 2022, ViT-VQGAN, section 3.2), so that the nearest
    code is that of the largest product. A code is the running mean, of unit length again, of what
    chose it. One that hardly any vector chooses starts again at one of the batch (Dhariwal et al.
    2020, Jukebox, section 3.1): all of them at the first batch, so that none begins far from all.

    Args:
      codes: in the book.
      width: of a code.
      decay: of the running sums of a long training.
      commitment: weight of the mean squared distance to the chosen code (VQ-VAE, eq. 3, beta).
      restart_below: share of an even use below which a code starts again.
    """

    def init(key: Key[Array, ""]) -> Any:
        book = unit(jax.random.normal(key, (codes, width)))
        return {"codes": book, "sums": jnp.zeros((codes, width)), "use": jnp.zeros(codes)}

    def tokens(state: Any, latents: Vectors) -> Tokens:
        return jnp.argmax(latents @ state["codes"].T, axis=-1)

    def embed(state: Any, ids: Tokens) -> Vectors:
        return state["codes"][ids]

    def settle(state: Any, vectors: Vectors) -> Vectors:
        return embed(state, tokens(state, vectors))

    def quantise(state: Any, vectors: Vectors, keys: Key[Array, "batch"], count: Any) -> Quantized:
        vectors = unit(vectors)
        ids = tokens(state, jax.lax.stop_gradient(vectors))
        chosen = embed(state, ids)
        distance = global_batch.mean(jnp.square(vectors - chosen).sum(-1).mean(-1))
        moved, metrics = move(state, jax.lax.stop_gradient(vectors), ids, keys, count)
        metrics |= {"distance": distance}
        return Quantized(straight_through(chosen, vectors), commitment * distance, moved, metrics)

    def move(state: Any, vectors: Vectors, ids: Tokens, keys: Any, count: Any) -> tuple[Any, Any]:
        rate = moving_average.rate(count, decay)
        use = rate * state["use"] + (1 - rate) * frequencies(ids, codes)
        chosen = global_batch.total(
            jax.ops.segment_sum(vectors.reshape(-1, width), ids.ravel(), codes)
        )
        sums = rate * state["sums"] + (1 - rate) * chosen / (global_batch.size(ids) * ids.shape[1])
        dead = use < restart_below / codes
        fresh = _draw(vectors, keys, codes)
        use = jnp.where(dead, 1 / codes, use)
        sums = jnp.where(dead[:, None], fresh / codes, sums)
        metrics = usage(use, dead) | {"restarts": dead.sum().astype(jnp.float32)}
        return {"codes": unit(sums), "sums": sums, "use": use}, metrics

    return Quantizer(width, width, codes, init, quantise, settle, tokens, embed)


def fsq(levels: Sequence[int], decay: float) -> Quantizer:
    """Finite scalar quantization (Mentzer et al. 2024): each channel is rounded to its levels.

    Levels of a channel lie evenly in [-1, 1]; the vocabulary is their product. Nothing is learned.

    Args:
      levels: of each channel; at least 2.
      decay: of the running use of codes, for the log.
    """
    counts = np.array(levels)
    half = counts // 2
    places = np.cumprod([1, *levels[:-1]])

    def bound(vectors: Vectors) -> Vectors:
        reach = jnp.asarray((counts - 1) * (1 + ROUNDING) / 2, jnp.float32)
        offset = jnp.asarray(np.where(counts % 2, 0.0, 0.5), jnp.float32)
        shift = jnp.arctanh(offset / reach)
        return jnp.tanh(vectors + shift[None, None]) * reach[None, None] - offset[None, None]

    def settle(state: Any, vectors: Vectors) -> Vectors:
        return jnp.round(bound(vectors)) / half.astype(np.float32)[None, None]

    def tokens(state: Any, latents: Vectors) -> Tokens:
        digits = jnp.round(latents * half.astype(np.float32)[None, None]).astype(jnp.int32)
        return ((digits + half[None, None]) * places[None, None]).sum(-1)

    def embed(state: Any, ids: Tokens) -> Vectors:
        digits = ids[..., None] // places[None, None] % counts[None, None]
        return (digits - half[None, None]) / half.astype(np.float32)[None, None]

    def quantise(state: Any, vectors: Vectors, keys: Key[Array, "batch"], count: Any) -> Quantized:
        bounded = bound(vectors)
        latents = (
            straight_through(jnp.round(bounded), bounded) / half.astype(np.float32)[None, None]
        )
        found = frequencies(tokens(state, jax.lax.stop_gradient(latents)), math.prod(levels))
        rate = moving_average.rate(count, decay)
        use = rate * state["use"] + (1 - rate) * found
        metrics = usage(use, use < UNUSED / len(use))
        return Quantized(latents, jnp.zeros(()), {"use": use}, metrics)

    def init(key: Key[Array, ""]) -> Any:
        return {"use": jnp.zeros(math.prod(levels))}

    width = len(levels)
    return Quantizer(width, width, math.prod(levels), init, quantise, settle, tokens, embed)


def gaussian(width: int, weight: float) -> Quantizer:
    """Continuous latents: a Gaussian of each vector (Rombach et al. 2022, section 3.1, KL-reg).

    Afterwards latents are its mean.

    Args:
      width: channels of a latent.
      weight: of the KL divergence to a standard normal, per channel.
    """

    def split(vectors: Float[Array, "batch tokens both"]) -> tuple[Vectors, Vectors]:
        mean, log_variance = jnp.split(vectors, 2, axis=-1)
        return mean, jnp.clip(log_variance, -30, 20)

    def quantise(
        state: Any,
        vectors: Float[Array, "batch tokens both"],
        keys: Key[Array, "batch"],
        count: Any,
    ) -> Quantized:
        mean, log_variance = split(vectors)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
        kl = global_batch.mean(kl.mean(axis=(1, 2)))
        drawn = mean + jnp.exp(0.5 * log_variance) * noise
        return Quantized(drawn, weight * kl, state, {"kl": kl})

    def settle(state: Any, vectors: Float[Array, "batch tokens both"]) -> Vectors:
        return split(vectors)[0]

    return Quantizer(2 * width, width, 0, lambda key: {}, quantise, settle)


UNUSED = 1e-3  # share of an even use below which a code counts as dead


def usage(use: Counts, dead: Any) -> dict[str, Any]:
    """Metrics of how often each code is chosen, frequencies that sum to about 1.

    `perplexity` is exp(entropy): how many codes, evenly used, would be as varied.
    """
    share = use / use.sum()
    entropy = -jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0).sum()
    return {
        "usage": 1 - dead.mean(dtype=jnp.float32),
        "dead_codes": dead.sum().astype(jnp.float32),
        "perplexity": jnp.exp(entropy),
    }


def frequencies(ids: Tokens, codes: int) -> Counts:
    """How often each code stands in the global batch; sums to 1."""
    found = global_batch.total(jnp.zeros(codes).at[ids.ravel()].add(1.0))
    return found / (global_batch.size(ids) * ids.shape[1])


def unit(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Vectors along the last axis, with length 1."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def _draw(
    vectors: Float[Array, "batch tokens both"], keys: Key[Array, "batch"], count: int
) -> Float[Array, "count channel"]:
    """Vectors of the global batch, `count` of them at random; the same on every device."""
    every = global_batch.gather(vectors).reshape(-1, vectors.shape[-1])
    words = global_batch.gather(jax.random.key_data(keys))[0]
    key = jax.random.wrap_key_data(words)
    return every[jax.random.randint(key, (count,), 0, len(every))]
