"""The log of a run: metrics.jsonl, TensorBoard events, and a progress line for people."""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter
from tqdm import tqdm

from mmgen_jax.training.manifest import write_atomically

_SHORT_NAMES = {"images_per_second": "images/s"}
_NOT_FOR_PEOPLE = {"images_per_second_per_device"}


class Logbook:
    """Writes what a run measures; a context manager.

    Each line of `workdir`/metrics.jsonl is one JSON object, `step` first; a value that is not
    finite is null, because JSON has no NaN. A line is handed to the operating system at once, so
    that the death of the process loses none; `sync` brings what was written to the disk, so that
    a power cut does not either. TensorBoard events go to `workdir`/tensorboard.

    When a run resumes, metrics.jsonl is cut back to the restored step, and TensorBoard is told to
    forget what came after it.

    Args:
      workdir: the run's directory.
      resume_step: the step that was restored; None starts afresh, and keeps no old line.
      total_steps: the step at which training will end, for the progress line.
    """

    def __init__(self, workdir: str | Path, resume_step: int | None, total_steps: int):
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        kept = -1 if resume_step is None else resume_step
        _cut_back(workdir / "metrics.jsonl", kept)
        self._metrics = (workdir / "metrics.jsonl").open("ab")
        # The suffix: tensorboardX names a file by the second, and overwrites one of that name.
        self._events = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=kept + 1, filename_suffix=f".{kept + 1}"
        )
        self._progress = _Progress(resume_step or 0, total_steps)

    def log(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Writes the scalars of one step everywhere, and shows them.

        Raises:
          OSError: if the disk is full.
        """
        values = {name: float(value) for name, value in metrics.items()}
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._metrics.write(json.dumps({"step": step, **numbers}).encode() + b"\n")
        self._metrics.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._progress.show(step, values)

    def image(self, step: int, name: str, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Shows a picture in TensorBoard."""
        self._events.add_image(name, picture, step, dataformats="HWC")

    def advance(self, step: int) -> None:
        """Moves the progress bar; cheap enough for every step."""
        self._progress.advance(step)

    def sync(self) -> None:
        """Brings what was written to the disk; call it before a checkpoint is saved."""
        os.fsync(self._metrics.fileno())
        self._events.flush()

    def close(self) -> None:
        """Syncs, and closes the files."""
        self._progress.close()
        self.sync()
        self._metrics.close()
        self._events.close()

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Progress:
    """A tqdm bar on a terminal, plain lines elsewhere; both on stderr."""

    def __init__(self, step: int, total_steps: int):
        self._total_steps = total_steps
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._seen = step, time.monotonic()
        self._seconds_per_step: float | None = None

    def advance(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        shown = " ".join(
            f"{_SHORT_NAMES.get(name, name)} {value:.4g}"
            for name, value in values.items()
            if name not in _NOT_FOR_PEOPLE
        )
        if self._bar.disable:
            line = f"step {step}/{self._total_steps} {shown}{self._eta(step)}"
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(shown)

    def close(self) -> None:
        self._bar.close()

    def _eta(self, step: int) -> str:
        # The pace of the last interval only: the first one holds the compilation.
        seen_step, seen_time = self._seen
        if step > seen_step:
            now = time.monotonic()
            self._seconds_per_step = (now - seen_time) / (step - seen_step)
            self._seen = step, now
        if self._seconds_per_step is None:
            return ""
        return f" eta {_duration(self._seconds_per_step * (self._total_steps - step))}"


def _duration(seconds: float) -> str:
    """12s, 3m, 2h05m."""
    if round(seconds) < 60:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def _cut_back(path: Path, step: int) -> None:
    """Drops the lines of `path` above `step`, and one that was only half written."""
    if path.exists():
        with path.open("rb") as lines:
            write_atomically(path, _lines_until(lines, step))


def _lines_until(lines: Iterator[bytes], step: int) -> Iterator[bytes]:
    for line in lines:
        try:
            keep = json.loads(line)["step"] <= step and line.endswith(b"\n")
        except (ValueError, KeyError, TypeError):
            keep = False
        if keep:
            yield line
