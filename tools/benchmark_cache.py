"""Measures what the cache of keys and values saves where `dalle` draws codes one after another.

    python -m tools.benchmark_cache --config=configs/dalle.py:size=tiny --side=16

Both draw the likeliest codes of a fresh network, in turns: with the cache, and by running all codes
so far through the network for each new one, in an array of full length, as compiled code does. The
time per code is also told by quarters of the picture, as with the cache it must not grow.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.errors import InputError

CONFIG = cli.define_config("configs/dalle.py:size=tiny")
SIDE = flags.DEFINE_integer(
    "side", 16, "Codes along each side of a picture.", lower_bound=2, upper_bound=64
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 16, "Pictures drawn at once.", lower_bound=1, upper_bound=1_024
)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each way.", lower_bound=1, upper_bound=10_000)
MOST_CODES = 2**18  # of all pictures that are drawn at once: each has its keys and values
PARTS = 4


def main() -> None:
    recipe = CONFIG.value
    config.validate(recipe)
    if recipe.generator.name != "dalle":
        raise InputError(f"config.generator.name = {recipe.generator.name!r}; allowed: 'dalle'")
    if SIDE.value**2 % PARTS:
        raise InputError(f"--side={SIDE.value}; allowed: an even number")
    if (codes := SIDE.value**2 * BATCH_SIZE.value) > MOST_CODES:
        raise InputError(
            f"--side={SIDE.value} --batch_size={BATCH_SIZE.value} draws {codes} codes at once;"
            f" allowed: at most {MOST_CODES}"
        )
    import jax  # after the config is known to be good

    cached, recomputed = ways(recipe, SIDE.value, BATCH_SIZE.value)
    found = [(timed(cached), timed(recomputed)) for _ in range(ROUNDS.value + 1)][1:]  # warm
    seconds = [
        [statistics.median(part) for part in zip(*way, strict=True)]
        for way in zip(*found, strict=True)
    ]
    each = SIDE.value**2 // PARTS * BATCH_SIZE.value
    print(f"{BATCH_SIZE.value} pictures of {SIDE.value}x{SIDE.value} codes, {jax.devices()[0]}")
    for name, parts in zip(("cached", "recomputed"), seconds, strict=True):
        quarters = ", ".join(f"{1e3 * part / each:.3f}" for part in parts)
        print(f"{name}: {sum(parts):.2f} s; ms per code in each quarter: {quarters}")
    print(f"recomputed / cached: {sum(seconds[1]) / sum(seconds[0]):.1f}")


def timed(part: Callable[[int, Any], Any]) -> list[float]:
    """Seconds that each quarter of the codes takes."""
    carry, seconds = None, []
    for number in range(PARTS):
        start = time.perf_counter()
        carry = part(number, carry)
        seconds.append(time.perf_counter() - start)
    return seconds


def ways(recipe: Any, side: int, rows: int) -> tuple[Callable[[int, Any], Any], ...]:
    """(number of a quarter, what the one before left) -> what is left to the next; both ways."""
    import jax
    import jax.numpy as jnp

    from mmgen_jax.conditioning import fusion
    from mmgen_jax.generators.dalle.networks import PrefixTransformer

    options, places = recipe.generator.dalle, side * side
    sizes = (options.width, options.depth, options.num_heads, jnp.dtype(recipe.train.dtype))
    network = PrefixTransformer(1_024, (side, side), *sizes)
    tokens = jnp.ones((rows, 4, recipe.fusion.width))
    inputs = (
        tokens,
        jnp.ones(tokens.shape[:2], bool),
        fusion.sequence_positions(tokens.shape[1]),
        jnp.ones((rows, 2 * recipe.fusion.pooled)),
    )
    blank = jnp.zeros((rows, places), jnp.int32)
    params = jax.jit(network.init)(jax.random.key(0), blank, *inputs)

    @jax.jit
    def read() -> Any:
        return *network.apply(params, *inputs, method="read"), blank[:, 0]

    @functools.partial(jax.jit, static_argnums=0)
    def extend(number: int, carry: Any) -> Any:
        def one(carry: Any, place: Any) -> Any:
            cache, visible, before = carry
            new, logits = network.apply(params, cache, visible, before, place, method="extend")
            return (new, visible, logits.argmax(-1)), None

        return jax.lax.scan(one, carry, _quarter(number, places))[0]

    @functools.partial(jax.jit, static_argnums=0)
    def again(number: int, ids: Any) -> Any:
        def one(ids: Any, place: Any) -> Any:
            logits = network.apply(params, ids, *inputs)[:, place]
            return ids.at[:, place].set(logits.argmax(-1)), None

        return jax.lax.scan(one, ids, _quarter(number, places))[0]

    def cached(number: int, carry: Any) -> Any:
        return jax.block_until_ready(extend(number, read() if carry is None else carry))

    def recomputed(number: int, ids: Any) -> Any:
        return jax.block_until_ready(again(number, blank if ids is None else ids))

    return cached, recomputed


def _quarter(number: int, places: int) -> Any:
    import jax.numpy as jnp

    return jnp.arange(number * places // PARTS, (number + 1) * places // PARTS)


if __name__ == "__main__":
    cli.run(main)
