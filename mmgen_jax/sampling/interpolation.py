"""Pictures between latents, and of mixed ones, from a trained model."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from mmgen_jax.conditioning import fusion
from mmgen_jax.errors import InputError
from mmgen_jax.model import encode
from mmgen_jax.nn.keys import key_per_example
from mmgen_jax.sampling.inputs import conditions
from mmgen_jax.sampling.sampler import in_batches, seed_bits
from mmgen_jax.training.run import Trained

Grid = UInt8[np.ndarray, "rows columns height width 3"]
BATCH_SIZE = 32


class Mixer:
    """Draws latents, and pictures from any latents, for one condition.

    Args:
      trained: the run.
      raws: by modality, the raw inputs; any subset of the model's.
      options: config.generator.FAMILY.sample.

    Raises:
      InputError: if the family has no latents, or for an input that it cannot use.
    """

    def __init__(self, trained: Trained, raws: Mapping[str, Any], options: Any):
        model, self._trained = trained.model, trained
        self._latents = model.generator.latents
        if self._latents is None:
            family = trained.config.generator.name
            raise InputError(f"family {family!r} has no latents to blend or mix")
        values, has = jax.tree.map(jnp.asarray, conditions(model, raws, BATCH_SIZE))

        def condition(params: Any) -> Any:
            h = encode(model, params, values, has)
            return fusion.fuse(params["encoders"]["fusion"], h, has)

        def draw(params: Any, state: Any, numbers: Any, seed: Any) -> Any:
            keys = _keys(numbers, seed)
            return self._latents.draw(params, state, condition(params), keys, options)

        def render(params: Any, state: Any, latents: Any, numbers: Any, seed: Any) -> Any:
            keys = _keys(numbers, seed)
            images = self._latents.render(params, state, condition(params), latents, keys)
            return model.codec.decode(params, images)

        self._draw, self._render = jax.jit(draw), jax.jit(render)

    def latents(self, numbers: list[int], seed: int) -> np.ndarray:
        """Float [n, layers, width]: latents by number; each is the same whatever the others."""
        made = []
        bits = seed_bits(seed)
        for start in range(0, len(numbers), BATCH_SIZE):
            part = np.resize(np.array(numbers[start:][:BATCH_SIZE], np.uint32), BATCH_SIZE)
            found = self._draw(self._trained.params, self._trained.state, part, bits)
            made.append(np.asarray(found)[: len(numbers) - start])
        return np.concatenate(made)

    def pictures(self, latents: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
        """uint8 [n, height, width, 3]; `numbers` choose the noise that latents leave open."""
        draw = partial(self._render, self._trained.params, self._trained.state)
        bits = seed_bits(seed)
        whole = lambda rows, numbers: draw(rows, numbers, bits)  # noqa: E731
        return in_batches(whole, BATCH_SIZE, latents, numbers.astype(np.uint32))

    def interpolation(self, rows: int, columns: int, seed: int) -> Grid:
        """Each row goes from one picture to another: latents blended in equal steps."""
        ends = self.latents([*range(2 * rows)], seed)
        share = np.tile(np.linspace(0, 1, columns, dtype=np.float32), rows)
        first, second = (np.repeat(ends[k::2], columns, axis=0) for k in range(2))
        blended = np.asarray(self._latents.blend(*map(jnp.asarray, (first, second, share))))
        # One row, one noise: what changes along it is the latent's.
        images = self.pictures(blended, np.repeat(np.arange(rows), columns), seed)
        return images.reshape(rows, columns, *images.shape[1:])

    def mixture(self, rows: int, columns: int, layers: range, seed: int) -> Grid:
        """Row r's latents, but `layers` from column c's; the first row and column show both alone.

        Raises:
          InputError: if the family's latents have no such layers.
        """
        latents = self.latents([*range(rows + columns)], seed)
        count = latents.shape[1]
        if count < 2 or not 0 <= layers.start < layers.stop <= count:
            allowed = f"within 0-{count - 1}" if count > 1 else "a family with more than one layer"
            raise InputError(
                f"layers {layers.start}-{layers.stop - 1} cannot be mixed; allowed: {allowed}"
            )
        numbers = np.arange(rows + columns)
        alone = self.pictures(latents, numbers, seed)
        of_rows, of_columns = latents[:rows], latents[rows:]
        mixed = np.repeat(of_rows, columns, axis=0)
        mixed[:, layers] = np.tile(of_columns, (rows, 1, 1))[:, layers]
        images = self.pictures(mixed, np.repeat(np.arange(rows), columns), seed)
        grid = np.full((rows + 1, columns + 1, *images.shape[1:]), 255, np.uint8)
        grid[1:, 1:] = images.reshape(rows, columns, *images.shape[1:])
        grid[1:, 0], grid[0, 1:] = alone[:rows], alone[rows:]
        return grid


def _keys(numbers: Any, seed: Any) -> Any:
    return key_per_example(jax.random.key(seed), numbers)
