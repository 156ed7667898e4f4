"""The one training loop: restore -> batch -> step -> log -> sample -> save."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import gallery
from mmgen_jax import model as models
from mmgen_jax.data import SOURCES
from mmgen_jax.data.pipeline import TrainingBatches, prepare_example, training_batches
from mmgen_jax.model import Model
from mmgen_jax.training import checkpoints, optimizers, run, sharding
from mmgen_jax.training import step as steps
from mmgen_jax.training.checkpoints import Checkpoints
from mmgen_jax.training.interrupts import Interrupted, Interrupts
from mmgen_jax.training.logbook import Logbook
from mmgen_jax.training.preview import Preview
from mmgen_jax.training.state import TrainState, create


class NotFinite(RuntimeError):
    """The loss or a gradient is not finite; the last good checkpoint stands."""


def train(config: ConfigDict, workdir: Path, accept_config_change: bool = False) -> None:
    """Trains until config.train.steps, from the newest whole checkpoint if there is one.

    Args:
      config: a validated config.
      workdir: the run's directory, made if missing.
      accept_config_change: continue although the checkpoint was made by another config.

    Raises:
      InputError: for a config that cannot work here, or that is not the checkpoint's.
      NotFinite: naming the step.
      Interrupted: after SIGTERM or Ctrl-C, once the state is saved.
    """
    configs.validate(config, jax.device_count())
    source = SOURCES[config.data.name].open(config.data, config.data.split)
    last = checkpoints.latest(workdir)
    if last is not None and not accept_config_change:
        run.check_config(workdir, config, last)
    with ExitStack() as stack:
        keep = config.checkpoint
        saver = stack.enter_context(Checkpoints(workdir, keep.keep_last, keep.keep_every))
        assets = run.prepare(workdir, config, source, resuming=last is not None)
        model = models.build(config, assets)
        batches = _batches(config, model, source)
        stack.callback(batches.close)
        mesh = sharding.make_mesh(config.sharding)
        state = _initial_state(config, model, mesh, saver, last, batches)
        logbook = stack.enter_context(Logbook(workdir, last, config.train.steps))
        interrupts = stack.enter_context(Interrupts())
        Loop(config, workdir, model, mesh, batches, saver, logbook, interrupts).run(state)


def _batches(config: ConfigDict, model: Model, source: Any) -> TrainingBatches:
    prepare = partial(
        prepare_example, modalities=model.modalities, image_size=config.data.image_size
    )
    return training_batches(
        source,
        prepare,
        config.train.batch_size,
        config.data.seed,
        process=(jax.process_index(), jax.process_count()),
        threads=config.data.threads,
        on_bad_record=config.data.on_bad_record,
    )


def _initial_state(
    config: ConfigDict,
    model: Model,
    mesh: jax.sharding.Mesh,
    saver: Checkpoints,
    last: int | None,
    batches: TrainingBatches,
) -> TrainState:
    """A fresh state, or the checkpoint's, with the data moved to its position."""
    everywhere = sharding.replicated(mesh)
    if last is not None:
        restored = saver.restore(last, run.abstract_state(config, model, everywhere))
        batches.set_state(restored.data)
        return restored.state
    players = _players(config, model)
    start = jax.jit(lambda: create(model, players, config.train.seed), out_shardings=everywhere)
    return start()


def _players(config: ConfigDict, model: Model) -> dict[str, Any]:
    return {
        player: optimizers.build(config.optimizer[player], config.train.steps)
        for player in model.generator.players
    }


class Loop:
    """One run's moving parts, and the loop over them."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        model: Model,
        mesh: jax.sharding.Mesh,
        batches: TrainingBatches,
        saver: Checkpoints,
        logbook: Logbook,
        interrupts: Interrupts,
    ):
        self._config, self._workdir, self._mesh = config, workdir, mesh
        self._batches, self._saver = batches, saver
        self._logbook, self._interrupts = logbook, interrupts
        everywhere = sharding.replicated(mesh)
        self._step = jax.jit(
            steps.build(config, model, _players(config, model)),
            in_shardings=(everywhere, sharding.split(mesh)),
            out_shardings=everywhere,
            donate_argnums=0,
        )
        self._preview = Preview(config, model) if config.train.sample_every else None
        self._clock = Clock()
        self._interval: list[dict[str, Any]] = []

    def run(self, state: TrainState) -> TrainState:
        """Trains to the last step. The state given is donated."""
        config, pending, step = self._config, None, int(state.step)
        while step < config.train.steps:
            batch = sharding.to_devices(self._mesh, next(self._batches))
            state, metrics = self._step(state, batch)
            # Metrics are read one step late, so that the host runs ahead of the device.
            self._read(pending)
            step, pending = step + 1, (step + 1, metrics)
            self._logbook.advance(step)
            last = step == config.train.steps
            stop = self._interrupts.requested
            save = last or stop or step % config.checkpoint.every == 0
            sample = self._preview and (last or step % config.train.sample_every == 0)
            if save or sample or step % config.train.log_every == 0:
                self._read(pending)
                pending = None
            if last or step % config.train.log_every == 0:
                self._log(step)
            with self._clock.paused():
                if save:
                    self._save(step, state)
                if sample and not stop:
                    self._draw(step, state)
            if stop and not last:
                self._saver.wait()
                raise Interrupted(stop)
        return state

    def _read(self, pending: tuple[int, dict[str, Any]] | None) -> None:
        """Fetches a step's metrics, and stops the run if they are not finite."""
        if pending is None:
            return
        step, metrics = pending
        values = jax.device_get(metrics)
        self._clock.tick()
        for name, value in values.items():
            if not np.isfinite(value):
                raise NotFinite(
                    f"{name} is {value} at step {step}; the last checkpoint in {self._workdir}"
                    " is from before it"
                )
        self._interval.append(values)

    def _log(self, step: int) -> None:
        """Logs the means since the last line."""
        means = {
            name: np.mean([values[name] for values in self._interval], dtype=np.float64)
            for name in self._interval[0]
        }
        self._interval.clear()
        speed = self._clock.rate() * self._config.train.batch_size
        if speed:
            means["images_per_second"] = speed
            means["images_per_second_per_device"] = speed / self._mesh.size
        means["skipped_records"] = self._batches.skipped
        self._logbook.log(step, means)

    def _save(self, step: int, state: TrainState) -> None:
        self._logbook.sync()
        self._saver.save(step, state, self._batches.get_state(), self._config.to_dict())

    def _draw(self, step: int, state: TrainState) -> None:
        picture = self._preview(state.ema, state.state)
        gallery.save_png(self._workdir / "samples" / f"{step:08d}.png", picture)
        self._logbook.image(step, "samples", picture)


class Clock:
    """Counts steps per second of training alone: compilation, sampling and saving are left out."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._steps = 0
        self._seconds = 0.0

    def tick(self) -> None:
        """A step has ended. The first one, which holds the compilation, only starts the clock."""
        now = time.monotonic()
        if self._since is not None:
            self._steps += 1
            self._seconds += now - self._since
        self._since = now

    def rate(self) -> float:
        """Steps per second since it was last asked; 0 if none was counted."""
        rate = self._steps / self._seconds if self._seconds else 0.0
        self._steps, self._seconds = 0, 0.0
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here does not count."""
        before = time.monotonic()
        yield
        if self._since is not None:
            self._since += time.monotonic() - before
