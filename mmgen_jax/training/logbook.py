"""The log of a run: metrics.jsonl, TensorBoard events, and a progress line for people."""

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import SupportsFloat

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tqdm import tqdm

from mmgen_jax.errors import Failure, writing
from mmgen_jax.storage import write_whole

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

    Raises (all methods):
      Failure: if the disk is full, or gone.
    """

    def __init__(self, workdir: str | Path, resume_step: int | None, total_steps: int):
        workdir = Path(workdir)
        self._path = workdir / "metrics.jsonl"
        kept = -1 if resume_step is None else resume_step
        with writing(self._path):
            workdir.mkdir(parents=True, exist_ok=True)
            _cut_back(self._path, kept)
            self._metrics = self._path.open("ab")
            self._events = _Events(workdir / "tensorboard", kept + 1)
        self._progress = _Progress(resume_step or 0, total_steps)

    def log(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Writes the scalars of one step everywhere, and shows them."""
        values = {name: float(value) for name, value in metrics.items()}
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self._path):
            self._metrics.write(json.dumps({"step": step, **numbers}).encode() + b"\n")
            self._metrics.flush()
            for name, value in values.items():
                self._events.add(step, summary.scalar(name, value))
        self._progress.show(step, values)

    def image(self, step: int, name: str, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Shows a picture in TensorBoard."""
        with writing(self._path):
            self._events.add(step, summary.image(name, picture, dataformats="HWC"))

    def advance(self, step: int) -> None:
        """Moves the progress bar; cheap enough for every step."""
        self._progress.advance(step)

    def say(self, line: str) -> None:
        """Tells people something, beside the progress."""
        tqdm.write(line, file=sys.stderr)

    def sync(self) -> None:
        """Brings what was written to the disk; call it before a checkpoint is saved."""
        with writing(self._path):
            os.fsync(self._metrics.fileno())
            self._events.sync()

    def close(self) -> None:
        """Syncs, and closes the files."""
        self._progress.close()
        with writing(self._path), contextlib.ExitStack() as stack:  # closes all, whatever fails
            stack.callback(self._metrics.close)
            stack.callback(self._events.close)
            stack.callback(self.sync)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What already fails need not be told that the disk is still full.
        with contextlib.suppress(Failure) if error else contextlib.nullcontext():
            self.close()


class NoLogbook(Logbook):
    """That of the processes which do not write."""

    def __init__(self) -> None:
        pass

    def log(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        pass

    def image(self, step: int, name: str, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        pass

    def advance(self, step: int) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Events:
    """A file of TensorBoard events.

    Not tensorboardX's SummaryWriter: it writes from a thread, and once that has died of a full
    disk, waits for it for ever.
    """

    def __init__(self, directory: Path, first: int):
        directory.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._records = RecordWriter(str(directory / name))
        forget = SessionLog(status=SessionLog.START)  # what other files have from `first` on
        for event in (
            Event(step=first, file_version="brain.Event:2"),
            Event(step=first, session_log=forget),
        ):
            self._write(event)

    def add(self, step: int, what: Summary) -> None:
        self._write(Event(step=step, summary=what))

    def sync(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


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
            write_whole(path, _lines_until(lines, step))


def _lines_until(lines: Iterator[bytes], step: int) -> Iterator[bytes]:
    for line in lines:
        try:
            keep = json.loads(line)["step"] <= step and line.endswith(b"\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            keep = False
        if keep:
            yield line
