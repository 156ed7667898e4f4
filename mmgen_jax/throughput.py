"""How fast a config trains and draws on the devices that are here, part by part."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from mmgen_jax import benchmarking, devices
from mmgen_jax import model as models
from mmgen_jax.data import Source
from mmgen_jax.model import Assets
from mmgen_jax.sampling import Sampler
from mmgen_jax.training import loop, program, run, sharding
from mmgen_jax.training.interrupts import Interrupts
from mmgen_jax.training.logbook import Logbook

WARM = 3  # steps that are not timed
DRAWN = 64  # pictures that each device draws at once, at most
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Seconds(NamedTuple):
    """How long something took, over and over: seconds."""

    median: float
    p90: float
    mean: float

    @classmethod
    def of(cls, taken: list[float]) -> "Seconds":
        """Of single times."""
        return cls(float(np.median(taken)), float(np.quantile(taken, 0.9)), float(np.mean(taken)))


class Benchmark:
    """A config's training step on the devices of all processes, with a fresh state.

    Every process of a run makes it and measures with it, with the same arguments.

    Args:
      config: a validated one.
      source: of its data.
      assets: what the modalities learned of that.
    """

    def __init__(self, config: ConfigDict, source: Source, assets: Assets):
        self._config, self._source, self._assets = config, source, assets
        self._mesh = sharding.make_mesh(config.sharding)
        self._model = models.build(config, assets)
        self._program = program.build(config, self._model, self._mesh)
        self._size = config.train.batch_size

    def report(self, steps: int, profile: Path | None = None) -> dict[str, Any]:
        """Measures everything; JSON-able.

        Args:
          steps: that are timed, of each part.
          profile: folder for a trace of the timed steps (xprof, TensorBoard).
        """
        with _cache_of_its_own():  # so that the step is compiled once
            return self._report(steps, profile)

    def _report(self, steps: int, profile: Path | None) -> dict[str, Any]:
        compiled = self._compiling()
        state = self._program.init()
        batches = self._batches()
        pipeline = self._pipeline(self._drained(batches), steps)
        state, model = self._steps(state, itertools.repeat(self._placed(batches)), steps, profile)
        placed = map(self._program.strategy.place, self._drained(batches))
        both = self._steps(state, placed, steps)[1]
        looped = {name: self._looped(kind, steps) for name, kind in self._kinds(batches).items()}
        batches.close()
        found = self._facts() | benchmarking.analytic(self._config, self._assets)
        return found | {
            "compile_seconds": compiled,
            "step_seconds": model._asdict(),
            **self._speed(model.median, found["model_flops_per_image"]),
            "parts": {
                "pipeline": self._size / pipeline.mean,
                "model": self._size / model.mean,
                "both": self._size / both.mean,
                **{f"train.py, {name}": speed for name, speed in looped.items()},
            },
            "peak_memory_bytes": peak_memory(),
            "sampling_images_per_second": self._sampling(),
        }

    def _compiling(self) -> dict[str, float]:
        """Seconds to trace and lower the step, to compile it, and to read it from the cache."""
        found: dict[str, float] = {}
        for name in ("cold", "cached"):
            jax.clear_caches()
            start = time.monotonic()
            lowered = self._program.lower()
            found["lower"] = time.monotonic() - start
            lowered.compile()
            found[name] = time.monotonic() - start - found["lower"]
        return found

    def _batches(self, rows: list[int] | None = None) -> Any:
        rows = sharding.rows(self._mesh, self._size) if rows is None else rows
        return loop.feed(self._config, self._model, self._source, rows)

    def _drained(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same without those that were read ahead while others were measured."""
        data = self._config.data
        for _ in range(2 * data.threads + 2 * data.workers + 2):
            next(batches)
        return batches

    def _placed(self, batches: Iterator[Any]) -> Any:
        return jax.block_until_ready(self._program.strategy.place(next(batches)))

    def _pipeline(self, batches: Iterator[Any], steps: int) -> Seconds:
        """The input pipeline alone, onto the devices."""
        taken = []
        for _ in range(WARM + steps):
            start = time.monotonic()
            self._placed(batches)
            taken.append(time.monotonic() - start)
        return Seconds.of(taken[WARM:])

    def _steps(
        self, state: Any, batches: Iterator[Any], steps: int, profile: Path | None = None
    ) -> tuple[Any, Seconds]:
        """Steps as the loop makes them: the host waits for the one before the last."""
        pending, taken, since = None, [], None
        for number in range(WARM + steps + 1):
            if profile and number == WARM:
                jax.profiler.start_trace(str(profile))
            state, metrics = self._program.strategy.step(state, next(batches))
            if pending is not None:
                jax.block_until_ready(pending)
                now = time.monotonic()
                taken += [] if since is None else [now - since]
                since = now
            pending = metrics
        jax.block_until_ready(state)
        if profile:
            jax.profiler.stop_trace()
        return state, Seconds.of(taken[WARM - 1 :])

    def _kinds(self, batches: Any) -> dict[str, Any]:
        return {"one batch again": _Again(next(batches)), "pipeline": self._drained(batches)}

    def _looped(self, batches: Any, steps: int) -> float:
        """Images a second of the training loop, as it logs them itself."""
        config = self._config.copy_and_resolve_references()
        config.train.steps = WARM + steps
        config.train.sample_every, config.checkpoint.every = 0, WARM + steps
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder)
            saver = _Nowhere()
            trainer = loop.Loop(config, workdir, self._model, self._mesh, batches, saver)
            with Logbook(workdir, None, config.train.steps) as logbook, Interrupts() as interrupts:
                trainer.run(self._program.init(), logbook, interrupts)
            lines = (workdir / "metrics.jsonl").read_text().splitlines()
        last, seconds = 1, 0.0  # the first step, which compiles, is not counted
        for line in map(json.loads, lines):
            if "images_per_second" not in line:
                continue  # of the first step alone
            seconds += (line["step"] - last) * self._size / line["images_per_second"]
            last = line["step"]
        return (last - 1) * self._size / seconds

    def _sampling(self) -> float:
        """Images a second that are drawn, of the conditions of a training batch."""
        size = min(self._size, DRAWN * self._mesh.size)
        batches = self._batches(list(range(size)))  # the same for every process
        batch = next(batches)
        batches.close()
        options, modalities = run.sample_options(self._config), self._config.modalities
        weights = {name: modalities[name].guidance for name in self._model.modalities}
        sampler = Sampler(self._model, options, size, self._mesh, finish=np.asarray)
        state, taken = self._program.init(), []
        for seed in range(3):
            start = time.monotonic()
            sampler(state.averaged, state.state, batch["values"], batch["has"], weights, seed)
            taken.append(time.monotonic() - start)
        return size / min(taken[1:])

    def _speed(self, seconds: float, flops: float) -> dict[str, Any]:
        rate = self._size / seconds
        each = rate / self._mesh.size
        kind = devices.kind_of(jax.devices()[0].device_kind)
        return {
            "images_per_second": rate,
            "images_per_second_per_device": each,
            "tflops_per_second_per_device": each * flops / 1e12,
            "peak_tflops_per_device": kind.peak / 1e12 if kind else None,
            "mfu": each * flops / kind.peak if kind else None,
        }

    def _facts(self) -> dict[str, Any]:
        return {
            "device": jax.devices()[0].device_kind,
            "devices": self._mesh.size,
            "mesh": dict(self._mesh.shape),
            "batch_size": self._size,
            "dtype": self._config.train.dtype,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Of what computes, by name."""
    return {name: version(name) for name in LIBRARIES}


def peak_memory() -> int | None:
    """Bytes that any device has had in use at most, so far; None where they do not say."""
    found = [device.memory_stats() for device in jax.local_devices()]
    name = "peak_bytes_in_use"
    return max((stats[name] for stats in found if stats and name in stats), default=None)


class _Again:
    """One batch, over and over, as the input pipeline hands batches out."""

    def __init__(self, batch: Any):
        self._batch, self.skipped = batch, {}

    def __next__(self) -> Any:
        return self._batch

    def get_state(self) -> dict[str, int]:
        """No position."""
        return {"position": 0}


class _Nowhere:
    """Takes the last step's checkpoint, which nobody wants."""

    def save(self, *_: Any) -> None:
        """Nothing is kept."""

    def wait(self) -> None:
        """There is nothing to wait for."""


@contextmanager
def _cache_of_its_own() -> Iterator[None]:
    """The persistent compilation cache is an empty one, and holds everything."""
    mine = {
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    with tempfile.TemporaryDirectory() as folder:
        mine["jax_compilation_cache_dir"] = folder
        before = {name: getattr(jax.config, name) for name in mine}
        try:
            for name, value in mine.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
