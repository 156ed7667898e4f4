"""The one training loop: restore -> batch -> step -> log -> sample -> save."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from mmgen_jax import STARTED
from mmgen_jax import model as models
from mmgen_jax.data.pipeline import TrainingBatches, training_batches
from mmgen_jax.errors import Failure, InputError, writing
from mmgen_jax.media import gallery
from mmgen_jax.media.outputs import check_workdir
from mmgen_jax.modalities import statistics
from mmgen_jax.model import Model
from mmgen_jax.training import (
    agreement,
    arrays,
    capacity,
    processes,
    run,
    sharding,
)
from mmgen_jax.training.checkpoints import Checkpoints
from mmgen_jax.training.clock import Clock
from mmgen_jax.training.interrupts import Interrupted, Interrupts
from mmgen_jax.training.logbook import Logbook, NoLogbook
from mmgen_jax.training.means import Means
from mmgen_jax.training.preview import Preview
from mmgen_jax.training.program import Program, build
from mmgen_jax.training.skipped import Skipped
from mmgen_jax.training.start import Allowed, check_devices, facts, opened, start_of
from mmgen_jax.training.state import TrainState


class NotFinite(Failure):
    """A loss, a gradient or the parameters are not finite; the last good checkpoint stands."""


class Origin(NamedTuple):
    """What the checkpoints of a run say that it was trained on.

    Attributes:
      data: its fingerprint, see `agreement.check`.
      assets: their digests, see `run.digests`.
    """

    data: dict[str, Any] | None = None
    assets: dict[str, str] | None = None


def train(config: ConfigDict, workdir: Path, allowed: Allowed = Allowed()) -> None:  # noqa: B008
    """Trains until config.train.steps, from the newest whole checkpoint if there is one.

    Every process of the run calls it, with the same arguments.

    Args:
      config: a validated config.
      workdir: the run's directory, made if missing; all processes see the same one.
      allowed: what a person has allowed it to go on after.

    Raises:
      InputError: for a config that cannot work here, or that is not the checkpoint's; for data that
        is not the checkpoint's; if the processes differ, or another run is in `workdir`.
      NotFinite: naming the step.
      Failure: if the disk is full, or gone.
      Interrupted: after SIGTERM or Ctrl-C, once the state is saved.
    """
    check_workdir(workdir)
    check_devices(config)
    workdir = arrays.plain(workdir)
    shared = facts(workdir, allowed)  # refuses a path where nothing can be kept
    source = opened(config)
    fingerprint = agreement.check(config, source, shared)
    with processes.only_run(workdir) as check_lock, ExitStack() as stack:
        start = start_of(config, workdir, source, fingerprint, allowed)
        config = start.config
        saver = stack.enter_context(_saver(config, workdir, check_lock))
        assets = start.assets()
        model = models.build(config, assets)
        mesh = sharding.make_mesh(config.sharding)
        program = build(config, model, mesh)
        capacity.check(config, program)
        batches = feed(config, model, source, sharding.rows(mesh, config.train.batch_size))
        stack.callback(batches.close)
        origin = Origin(start.fingerprint, run.digests(assets))
        trainer = Loop(config, workdir, model, program, batches, saver, origin)
        state, remarks = start.state(trainer, assets)
        main = processes.is_main()
        logbook = Logbook(workdir, start.step, config.train.steps) if main else NoLogbook()
        stack.enter_context(logbook)
        if main:
            remarks = [*statistics.extents(config, model.modalities, source), *remarks]
            for line in (*remarks, statistics.account(source, config, state.params)):
                logbook.say(line)
        trainer.run(state, logbook, stack.enter_context(Interrupts(begin=False)))


def _saver(config: ConfigDict, workdir: Path, check: Callable[[], None]) -> Checkpoints:
    keep = config.checkpoint
    sign = 1 if keep.best_is == "smallest" else -1

    def cost(log: dict[str, Any]) -> float | None:
        value = log["newest"].get(keep.best_metric)  # none before the first line
        return None if value is None else sign * value

    kept = keep.keep_last, keep.keep_every, keep.keep_best
    return Checkpoints(workdir, *kept, cost, partial(run.announce, workdir, config), check)


def feed(config: ConfigDict, model: Model, source: Any, rows: list[int]) -> TrainingBatches:
    """The batches that a config trains on: these rows of each."""
    return training_batches(
        source,
        model.prepare,
        config.train.batch_size,
        config.data.seed,
        rows=rows,
        threads=config.data.threads,
        workers=config.data.workers,
        on_bad_record=config.data.on_bad_record,
    )


class Loop:
    """One run's moving parts, and the loop over them.

    Args:
      config: the run's.
      workdir: its folder.
      model: as pictures are drawn with it.
      program: the config's training step, and where it lies.
      batches: what it is fed.
      saver: of its checkpoints.
      origin: what its checkpoints say that it was trained on.

    Raises:
      InputError: if checkpoints are to be kept by a metric that is not there.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        model: Model,
        program: Program,
        batches: TrainingBatches,
        saver: Checkpoints,
        origin: Origin = Origin(),  # noqa: B008
    ):
        self._config, self._workdir, self.model, self.program = config, workdir, model, program
        self._batches, self._saver, self._origin = batches, saver, origin
        self._check_metric()
        self._preview = Preview(config, model, program.mesh) if config.train.sample_every else None
        self._norm = jax.jit(optax.tree.norm)
        self._vote = processes.Vote(program.mesh)
        self._clock = Clock()
        self._means = Means()
        self._skipped = Skipped()
        self._startup: dict[str, float] = {}  # for the first line of the log

    def restore(self, step: int, other_data: bool) -> TrainState:
        """A checkpoint's state; the data and the log's means move to where they were.

        Bad records of `other_data` than now are forgotten.
        """
        restored = self._saver.restore(step, self.program.placed)
        try:
            self._batches.set_state({"position": restored.data["position"]})
            self._means = Means(restored.log)
            self._skipped = Skipped({} if other_data else restored.data["skipped"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise InputError(
                f"checkpoint {step} of {self._workdir} cannot be resumed: its position in the data"
                f" or its log is malformed ({type(error).__name__}: {said})"
            ) from error
        return restored.state

    def run(self, state: TrainState, logbook: Logbook, interrupts: Interrupts) -> TrainState:
        """Trains to the last step. The state given is donated."""
        config, pending, step = self._config, None, int(state.step)
        strategy = self.program.strategy
        while step < config.train.steps:
            state, metrics = strategy.step(state, strategy.place(next(self._batches)))
            interrupts.begin()  # what ends before, as in a compiler, has nothing to save
            # Metrics are read one step late, so that the host runs ahead of the device.
            self._read(pending)
            step, pending = step + 1, (step + 1, metrics)
            logbook.advance(step)
            last = step == config.train.steps
            stop = self._vote(interrupts.requested)
            save = last or stop or step % config.checkpoint.every == 0
            sample = self._preview and (last or step % config.train.sample_every == 0)
            if save or sample or step % config.train.log_every == 0:
                self._read(pending)
                pending = None
            if last or step % config.train.log_every == 0:
                logbook.log(step, self._line())
            with self._clock.paused():
                if save:
                    logbook.sync()
                    self._save(step, state)
                if sample and not stop:
                    self._draw(step, state, logbook)
            if stop and not last:
                self._saver.wait()
                raise Interrupted(stop)
        if self._skipped:
            logbook.say(self._skipped.describe())
        self._saver.wait()  # a signal shall not end the last save
        return state

    def _read(self, pending: tuple[int, dict[str, Any]] | None) -> None:
        """Fetches a step's metrics, and stops the run if they are not finite."""
        if pending is None:
            return
        step, metrics = pending
        values = jax.device_get(metrics)
        if self._clock.tick():
            self._startup = {"startup_seconds": time.monotonic() - STARTED}
        for name, value in values.items():
            self._check_finite(name, value, step)
        self._means.add(values)

    def _check_finite(self, name: str, value: Any, step: int) -> None:
        if not np.isfinite(value):
            raise NotFinite(
                f"{name} is {value} at step {step}; the last checkpoint in {self._workdir}"
                " is from before it"
            )

    def _line(self) -> dict[str, float]:
        """The means since the last line of the log, and the speed."""
        means = self._means.take()
        speed = self._clock.rate() * self._config.train.batch_size
        if speed:
            means["images_per_second"] = speed
            means["images_per_second_per_device"] = speed / self.program.mesh.size
        means |= self._startup
        self._startup = {}
        means["skipped_records"] = len(self._skipped.gather(self._batches.skipped))
        return means

    def _save(self, step: int, state: TrainState) -> None:
        # The metrics of a step are from before it moved anything.
        self._check_finite("the norm of all parameters", self._norm(state.params), step)
        skipped = self._skipped.gather(self._batches.skipped)
        data = self._batches.get_state() | {"skipped": skipped}
        if self._origin.data is not None:
            data["fingerprint"] = self._origin.data
        config, log = self._config.to_dict(), self._means.to_json()
        self._saver.save(step, state, data, config, log, self._origin.assets)
        if self._skipped and processes.is_main():
            self._skipped.write(self._workdir)

    def _draw(self, step: int, state: TrainState, logbook: Logbook) -> None:
        picture = self._preview(state.averaged, state.state)
        path = self._workdir / "samples" / f"{step:08d}.png"
        if processes.is_main():
            with writing(path):
                gallery.save_png(path, picture)
        logbook.image(step, "samples", picture)

    def _check_metric(self) -> None:
        """Refuses a metric that is not there, before an hour has gone into a run."""
        keep = self._config.checkpoint
        if not keep.keep_best:
            return
        program = self.program
        _, metrics = jax.eval_shape(program.step, program.state, program.batch)
        if keep.best_metric not in metrics:
            raise InputError(
                f"config.checkpoint.best_metric = {keep.best_metric!r}; allowed: "
                + ", ".join(sorted(metrics))
            )
