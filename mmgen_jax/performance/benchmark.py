"""How fast a config trains and draws on the devices that are here, part by part."""

import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from mmgen_jax import model as models
from mmgen_jax.data import Source
from mmgen_jax.model import Assets
from mmgen_jax.performance import flops as benchmarking
from mmgen_jax.sampling.sampler import Sampler
from mmgen_jax.training import capacity, devices, loop, processes, program, run, sharding
from mmgen_jax.training.interrupts import Interrupts
from mmgen_jax.training.logbook import Logbook, NoLogbook

WARM = 3  # steps that are not timed
ROUNDS = 3  # in which every part is timed
DRAWN = 64  # pictures that each device draws at once, at most
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Seconds(NamedTuple):
    """How long something took, over and over: seconds."""

    median: float
    p90: float

    @classmethod
    def of(cls, taken: list[float]) -> "Seconds":
        """Of single times."""
        return cls(float(np.median(taken)), float(np.quantile(taken, 0.9)))


class Benchmark:
    """A config's training step on the devices of all processes, with a fresh state.

    Every process of a run makes it and measures with it, with the same arguments. Each finds the
    same of the steps, that they make together; its own of compiling, memory and its share of the
    input pipeline.

    Args:
      config: a validated one.
      source: of its data.
      assets: what the modalities learned of that.
      steps: that are timed, of each part and in each round.
    """

    def __init__(self, config: ConfigDict, source: Source, assets: Assets, steps: int):
        self._config, self._source, self._assets = config, source, assets
        self._mesh = sharding.make_mesh(config.sharding)
        self._model = models.build(config, assets)
        self._program = program.build(config, self._model, self._mesh)
        capacity.check(config, self._program)
        self._size, self._steps = config.train.batch_size, steps
        # So many batches may be there, read while something else was measured; grain's buffers.
        self._ahead = max(1, config.data.workers) * (2 * config.data.threads + 3)

    def report(self, profile: Path | None = None) -> dict[str, Any]:
        """Measures everything; JSON-able.

        Args:
          profile: folder for a trace of the timed steps (xprof, TensorBoard).
        """
        with _cache_of_its_own():  # so that the step is compiled once
            compiled = self._compiling()
            batches = self._batches()
            pipeline = self._pipeline(batches)
            steps, speeds = self._rounds(batches, profile)
            batches.close()
            sampling = self._sampling()
        found = self._facts() | benchmarking.analytic(self._config, self._assets)
        return found | {
            "compile_seconds": compiled,
            "step_seconds": steps._asdict(),
            **self._speed(speeds["model"], found["model_flops_per_image"]),
            "parts": {"pipeline": self._size / pipeline} | speeds,
            "peak_memory_bytes": peak_memory(),
            "sampling_images_per_second": sampling,
        }

    def _rounds(self, batches: Any, profile: Path | None) -> tuple[Seconds, dict[str, float]]:
        """Times of the step alone, and images a second of every part: of rounds the median.

        Parts take turns, so that what else the machine does is no advantage of one.
        """
        place, alone, speeds = self._program.strategy.place, [], defaultdict(list)
        fed = WARM + self._ahead
        for number in range(ROUNDS):
            again = itertools.repeat(self._placed(batches))
            taken = self._timed(again, WARM, profile if number == 0 else None)
            alone += taken
            speeds["model"].append(taken)
            one = itertools.repeat(next(batches))
            speeds["train.py, one batch again"].append(self._looped(one, WARM))
            speeds["both"].append(self._timed(map(place, batches), fed))
            speeds["train.py, pipeline"].append(self._looped(batches, fed))
        # Means: what a step does only every so often (`lazily`) counts in part.
        rates = {part: [self._size / np.mean(taken) for taken in of] for part, of in speeds.items()}
        return Seconds.of(alone), {part: float(np.median(of)) for part, of in rates.items()}

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

    def _placed(self, batches: Iterator[Any]) -> Any:
        return jax.block_until_ready(self._program.strategy.place(next(batches)))

    def _pipeline(self, batches: Iterator[Any]) -> float:
        """Seconds that a batch takes to be read and brought onto the devices, on average."""
        for _ in range(self._ahead):
            self._placed(batches)
        start = time.monotonic()
        for _ in range(self._steps):
            self._placed(batches)
        return (time.monotonic() - start) / self._steps

    def _timed(self, batches: Iterator[Any], warm: int, profile: Path | None = None) -> list[float]:
        """Seconds of single steps, made as the loop does: the host waits for the one before."""
        state, pending, ends = self._program.init(), None, []
        for number in range(warm + self._steps + 1):
            if profile and number == warm:
                jax.profiler.start_trace(str(profile))
            state, metrics = self._program.strategy.step(state, next(batches))
            jax.block_until_ready(pending)
            ends.append(time.monotonic())
            pending = metrics
        jax.block_until_ready(state)
        if profile:
            jax.profiler.stop_trace()
        return list(np.diff(ends)[warm:])

    def _looped(self, batches: Any, warm: int) -> list[float]:
        """Seconds of the loop's steps, by when it asks for batches; one logs, none saves."""
        config = self._config.copy_and_resolve_references()
        last = config.train.steps = config.checkpoint.every = warm + self._steps + 1
        config.train.sample_every = config.checkpoint.keep_best = 0
        config.train.log_every = warm + 1
        asked = _Asked(batches)
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder)
            trainer = loop.Loop(config, workdir, self._model, self._program, asked, _Nowhere())
            logbook = Logbook(workdir, None, last) if processes.is_main() else NoLogbook()
            with logbook, Interrupts() as interrupts:
                trainer.run(self._program.init(), logbook, interrupts)
        return list(np.diff(asked.times)[warm:])

    def _sampling(self) -> float:
        """Images a second that are drawn, of the conditions of a training batch."""
        size = min(self._size, DRAWN * self._mesh.size)
        batches = self._batches(list(range(size)))  # the same for every process
        batch = next(batches)
        batches.close()
        options, weights = run.sample_options(self._config), self._model.guidance_weights
        sampler = Sampler(self._model, options, size, self._mesh, finish=np.asarray)
        state, taken = self._program.init(), []
        for seed in range(3):
            start = time.monotonic()
            sampler(state.averaged, state.state, batch["values"], batch["has"], weights, seed)
            taken.append(time.monotonic() - start)
        return size / min(taken[1:])

    def _speed(self, rate: float, flops: float) -> dict[str, Any]:
        """Of so many images a second, of so many operations each."""
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
    """Bytes that a device of this process has had in use at most; None if it does not say."""
    found = [device.memory_stats() for device in jax.local_devices()]
    name = "peak_bytes_in_use"
    return max((stats[name] for stats in found if stats and name in stats), default=None)


class _Asked:
    """Batches, as the input pipeline hands them out, and when they were asked for: seconds."""

    def __init__(self, batches: Iterator[Any]):
        self._batches, self.times, self.skipped = batches, [], {}

    def __next__(self) -> Any:
        self.times.append(time.monotonic())
        return next(self._batches)

    def get_state(self) -> dict[str, int]:
        """No position that anybody goes back to."""
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
