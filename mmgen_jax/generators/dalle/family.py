"""Family `dalle`: a transformer draws a trained tokenizer's codes, one after another.

DALL-E (Ramesh et al. 2021) with the parts of LlamaGen (Sun et al. 2024). The tokenizer is another
run (`config.tokenizer`), and stays as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.generators import ONE_PLAYER, Generator, Losses
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.dalle.keys import DALLEOptions, DALLESampling
from mmgen_jax.generators.dalle.networks import PrefixTransformer
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.keys import fold_in_each

Latents = Float[Array, "batch rows columns channel"]
Codes = Int[Array, "batch places"]
Known = tuple[Codes, Bool[Array, "batch places"]]


def build(options: DALLEOptions, codec: Codec, dtype: str) -> Generator:
    """A transformer over the condition's tokens and those of the image, row by row.

    The likelihood term is exact: -log p(codes | condition), in nats per code. There is no
    differentiable image, so that recovery trains its heads alone.
    """
    rows, columns, _ = codec.shape
    places = rows * columns
    network = PrefixTransformer(
        codes=codec.codes,
        grid=(rows, columns),
        width=options.width,
        depth=options.depth,
        num_heads=options.num_heads,
        dtype=jnp.dtype(dtype),
        remat=options.remat,
    )

    def variables(params: Any) -> Any:
        return {"params": params["generator"]}

    def init(key: Key[Array, ""], images: Latents, condition: Condition) -> tuple[Any, Any]:
        ids = jnp.zeros((images.shape[0], places), jnp.int32)
        return {"generator": network.init(key, ids, *condition.inputs)["params"]}, {}

    def losses(
        params: Any,
        state: Any,
        images: Latents,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        ids = codec.tokens(params, images)
        logits = network.apply(variables(params), ids, *condition.inputs)
        surprise = -jnp.take_along_axis(jax.nn.log_softmax(logits), ids[..., None], axis=-1)
        nats = global_batch.mean(surprise.mean(axis=(1, 2)))
        right = global_batch.mean((logits.argmax(-1) == ids).astype(jnp.float32).mean(-1))
        return Losses({"generator": nats}, state, {"nats_per_code": nats, "accuracy": right})

    def sample(
        params: Any,
        state: Any,
        guidance: Guidance,
        keys: Key[Array, "batch"],
        options: DALLESampling,
        known: Known | None = None,
    ) -> Latents:
        weights, condition = variables(params), guidance.condition
        cache, visible = network.apply(weights, *condition.inputs, method="read")

        def advance(carry: Any, place: Int[Array, ""]) -> Any:
            cache, before = carry
            before = guidance.tile(before)
            cache, logits = network.apply(weights, cache, visible, before, place, method="extend")
            here = fold_in_each(keys, place)
            ids = draw(guidance.combine(logits), here, options)
            if known is not None:
                ids = jnp.where(known[1][:, place], known[0][:, place], ids)
            return (cache, ids), ids

        first = jnp.zeros(keys.shape[0], jnp.int32)
        _, ids = jax.lax.scan(advance, (cache, first), jnp.arange(places))
        return codec.embed(params, ids.T)

    def inpaint(
        params: Any,
        state: Any,
        guidance: Guidance,
        keys: Key[Array, "batch"],
        options: DALLESampling,
        images: Latents,
        keep: Bool[Array, "batch rows columns"],
    ) -> Latents:
        known = codec.tokens(params, images), keep.reshape(keep.shape[0], -1)
        return sample(params, state, guidance, keys, options, known)

    return Generator(
        players=ONE_PLAYER,
        init=init,
        losses=losses,
        sample=sample,
        inpaint=inpaint,
    )


def draw(
    logits: Float[Array, "batch codes"], keys: Key[Array, "batch"], options: DALLESampling
) -> Int[Array, "batch"]:
    """One code per row, from the likeliest of them.

    Args:
      logits: of every code.
      keys: one per row.
      options: `temperature`, 0 for the likeliest code; `top_k`, how many codes are eligible, 0 for
        all; `top_p`, eligible are the fewest likeliest codes whose probabilities sum to at least it
        (Holtzman et al. 2020, nucleus sampling), after the temperature and top_k.
    """
    if options.temperature == 0:
        return logits.argmax(-1)
    logits = logits / options.temperature
    if options.top_k:
        least = jax.lax.top_k(logits, min(options.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if options.top_p < 1:
        ordered = -jnp.sort(-logits, axis=-1)
        probable = jax.nn.softmax(ordered)
        eligible = probable.cumsum(-1) - probable < options.top_p  # the first one always is
        least = jnp.where(eligible, ordered, jnp.inf).min(-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.vmap(jax.random.categorical)(keys, logits)
