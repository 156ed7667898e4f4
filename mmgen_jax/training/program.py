"""The training step that a config describes, on a mesh, and the shapes of what goes into it."""

from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import codecs
from mmgen_jax import model as models
from mmgen_jax.model import Batch, Model
from mmgen_jax.training import run, sharding
from mmgen_jax.training import step as steps
from mmgen_jax.training.state import TrainState
from mmgen_jax.training.step import Step
from mmgen_jax.training.strategies import STRATEGIES, Strategy


class Program(NamedTuple):
    """What is compiled, run or counted.

    Attributes:
      model: as the step has it; its codec takes what batches hold.
      mesh: the devices; they need not be there.
      state: shapes and dtypes of the training state.
      shardings: where each array of it lies.
      batch: shapes and dtypes of a global batch.
      step: pure, for one device or traced for many.
      strategy: the same compiled for the mesh, and what feeds it.
    """

    model: Model
    mesh: Mesh
    state: TrainState
    shardings: Any
    batch: Batch
    step: Step
    strategy: Strategy


def build(config: ConfigDict, model: Model, mesh: Mesh) -> Program:
    """The program of a validated config; nothing is computed."""
    if config.tokenizer.latents:
        model = model._replace(codec=codecs.encoded(model.codec))
    size = config.train.batch_size
    state = run.state_shapes(config, model)
    shardings = sharding.shard(mesh, state)
    batch = jax.eval_shape(lambda: models.blank_batch(model, size))
    step = steps.build(config, model, run.players(config, model))
    strategy = STRATEGIES[config.train.strategy](step, mesh, shardings, size)
    return Program(model, mesh, state, shardings, batch, step, strategy)
