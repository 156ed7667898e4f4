"""A compiled `sample` for conditions from the host, in batches of one size."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool

from mmgen_jax.conditioning.fusion import Presence, Values
from mmgen_jax.conditioning.guidance import check_weights, passes_needed
from mmgen_jax.errors import InputError
from mmgen_jax.media.images import quantise
from mmgen_jax.model import Model
from mmgen_jax.nn.keys import key_per_example
from mmgen_jax.nn.layout import by_example, on_mesh
from mmgen_jax.sampling.sample import Known, sample


def in_batches(
    draw: Callable[..., Array],
    size: int,
    *arrays: Any,
    finish: Callable[[np.ndarray], np.ndarray] = quantise,
) -> np.ndarray:
    """What a compiled `draw` makes of all rows of host arrays, as uint8 [rows, height, width, 3].

    It is called with `size` rows at a time; where fewer are left, the last one fills up. What it
    makes need not be pictures, with another `finish`.
    """
    rows, pictures = len(jax.tree.leaves(arrays)[0]), []
    for start in range(0, rows, size):
        take = np.minimum(np.arange(start, start + size), rows - 1)
        # numpy's arrays go to every device, of all processes.
        part = draw(*jax.tree.map(lambda x, take=take: np.asarray(x)[take], arrays))
        pictures.append(finish(jax.device_get(part))[: rows - start])
    return np.concatenate(pictures)


def seed_bits(seed: int) -> np.uint32:
    """A seed as a device has it.

    Raises:
      InputError: if it does not fit.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed}; allowed: 0 to {2**32 - 1}")
    return np.uint32(seed)


def pictures(images: np.ndarray) -> np.ndarray:
    """What a run drew, in [-1, 1], as uint8.

    Raises:
      InputError: if it is no number.
    """
    if not np.isfinite(images).all():
        raise InputError(
            "the run draws NaN or infinite values: its parameters have diverged, or guidance is"
            " too strong; allowed: an earlier checkpoint, by --step, or lower weights"
        )
    return quantise(images)


class Sampler:
    """A compiled `sample` for conditions from the host, in batches of one size.

    Args:
      model: what to draw with.
      options: config.generator.FAMILY.sample.
      batch_size: pictures drawn at once.
      mesh: where the parameters lie, and the pictures are drawn; None where that is one device.
      finish: makes uint8 of what is drawn.
    """

    def __init__(
        self,
        model: Model,
        options: Any,
        batch_size: int,
        mesh: Mesh | None = None,
        finish: Callable[[np.ndarray], np.ndarray] = pictures,
    ):
        self._batch_size, self._finish = batch_size, finish

        def draw(
            params: Any,
            state: Any,
            values: Values,
            has: Presence,
            weights: Any,
            rows: Array,
            known: Known | None,
            seed: Array,
            passes: tuple[int, ...],
        ) -> Array:
            arrays = (values, has, weights, rows, known)
            values, has, weights, rows, known = jax.tree.map(by_example, arrays)
            keys = key_per_example(jax.random.key(seed), rows)
            return sample(model, params, state, values, has, weights, keys, options, passes, known)

        if mesh is None:
            self._draw = jax.jit(draw, static_argnames="passes")
        else:
            whole = NamedSharding(mesh, PartitionSpec())  # so that every host can read them
            draw_there = on_mesh(mesh, draw)
            self._draw = jax.jit(draw_there, static_argnames="passes", out_shardings=whole)

    def __call__(
        self,
        params: Any,
        state: Any,
        values: Values,
        has: Mapping[str, Bool[np.ndarray, "rows"]],
        weights: Mapping[str, float],
        seed: int,
        known: Known | None = None,
        first: int = 0,
    ) -> np.ndarray:
        """uint8 [rows, height, width, 3].

        Row i is drawn from seed and first + i alone, whatever the batch size.

        Raises:
          InputError: if what is drawn is no number, for weights that are not one for each
            modality, and as `seed_bits` does.
        """
        rows = len(next(iter(has.values())))
        bits = seed_bits(seed)
        check_weights(weights, list(has))
        passes = passes_needed(list(weights.values()))

        def draw(*arrays: Any) -> Array:
            return self._draw(params, state, *arrays, bits, passes=passes)

        full = {m: np.full(rows, weights[m], np.float32) for m in has}
        numbers = np.arange(first, first + rows, dtype=np.uint32)
        inputs = values, dict(has), full, numbers, known
        return in_batches(draw, self._batch_size, *inputs, finish=self._finish)
