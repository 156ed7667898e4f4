"""What a model draws while it trains: one picture, always of the same conditions."""

from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mmgen_jax.data import DataOptions
from mmgen_jax.data.pipeline import fixed_batch, spread
from mmgen_jax.media import gallery
from mmgen_jax.media.images import quantise
from mmgen_jax.model import Model
from mmgen_jax.sampling.inputs import describe
from mmgen_jax.sampling.sampler import Sampler


class Preview:
    """Draws for conditions of config.eval.split, chosen by `spread`, all that they have given.

    Args:
      config: the run's.
      model: what to draw with.
      mesh: where its parameters lie; all processes draw together.
    """

    def __init__(self, config: ConfigDict, model: Model, mesh: Mesh):
        source = DataOptions.of(config).open(config.eval.split)
        indices = spread(source, config.eval.count)
        self._batch = fixed_batch(source, model.prepare, indices, config.data.on_bad_record)
        self._captions, self._thumbnails = describe(
            model, self._batch["values"], self._batch["has"]
        )
        self._weights = model.guidance_weights
        self._seed = config.train.seed
        options = config.generator[config.generator.name].sample
        # A run that diverges is told so by its losses, not here.
        self._sampler = Sampler(model, options, len(indices), mesh, finish=quantise)

    def __call__(self, params: Any, state: Any) -> UInt8[np.ndarray, "height width 3"]:
        """A captioned grid from these (averaged) parameters."""
        values, has = self._batch["values"], self._batch["has"]
        images = self._sampler(params, state, values, has, self._weights, self._seed)
        return gallery.grid(images, self._captions, thumbnails=self._thumbnails)
