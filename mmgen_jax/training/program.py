"""The training step that a config describes, on a mesh, and the shapes of what goes into it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import model as models
from mmgen_jax.generators import codecs
from mmgen_jax.model import Batch, Model
from mmgen_jax.training import run, sharding
from mmgen_jax.training import step as steps
from mmgen_jax.training.state import TrainState, create
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
      init: () -> a fresh state, each device's share made where it is to lie.
    """

    model: Model
    mesh: Mesh
    state: TrainState
    shardings: Any
    batch: Batch
    step: Step
    strategy: Strategy
    init: Callable[[], TrainState]

    def lower(self) -> jax.stages.Lowered:
        """The step as the compiler gets it; the devices need not be there."""
        return self.strategy.step.lower(self.placed, self.strategy.batch)

    @property
    def placed(self) -> TrainState:
        """Shapes and dtypes of the state, each with its sharding."""
        return sharding.placed(self.state, self.shardings)


def build(config: ConfigDict, model: Model, mesh: Mesh) -> Program:
    """The program of a validated config; nothing is computed."""
    if config.tokenizer.latents:
        model = model._replace(codec=codecs.encoded(model.codec))
    players = run.players(config, model)
    # One function for its shapes and to compile it: it is traced once.
    fresh = functools.partial(create, model, players, config.train.seed)
    state = jax.eval_shape(fresh)
    shardings = sharding.shard(mesh, state)
    batch = jax.eval_shape(lambda: models.blank_batch(model, config.train.batch_size))
    step = steps.build(config, model, players)
    strategy = STRATEGIES[config.train.strategy](step, mesh, shardings, batch)
    init = jax.jit(fresh, out_shardings=shardings)
    return Program(model, mesh, state, shardings, batch, step, strategy, init)
