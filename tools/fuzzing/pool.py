"""Workers that run cases, and watch them: time, memory, and how they end.

A worker imports what its kind of case needs, once, and forks a child for every few cases; it has
no thread and has not started jax's backend, so that a fork is sound. It kills a child that hangs or
grows, blames the case that ran, and forks another for the rest.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools import quick_to_compile
from tools.fuzzing import kinds
from tools.fuzzing.cases import Case, Kind, Outcome, judged, listing, own_folder, strays
from tools.fuzzing.guard import Guard

POLL = 0.05


class Report(NamedTuple):
    """How a case ended, for the table: its kind, number, title, and outcome."""

    kind: str
    number: int
    title: str
    outcome: Outcome
    seconds: float


class Settings(NamedTuple):
    """What all workers share: the seed, the folder of everything, and a factor on time limits."""

    seed: int
    shared: Path
    patience: float


def environment(shared: Path) -> None:
    """Sets up a worker's process, before it imports anything."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(shared / "cache/jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": quick_to_compile.XLA_FLAGS,
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(shared / "cache/matplotlib"),
        "TFDS_DATA_DIR": str(shared / "tfds"),
    }
    sys.dont_write_bytecode = True


def run(name: str, numbers: list[int], settings: Settings, workers: int) -> Iterator[Report]:
    """Runs cases of a kind on so many workers, in batches."""
    size = kinds.BATCHES[name]
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for first in range(0, len(numbers), size):
        todo.put(numbers[first : first + size])
    started = []
    for number in range(workers):
        todo.put(None)
        arguments = (name, settings, todo, done, number == 0)
        started.append(context.Process(target=serve, args=arguments))
    started[0].start()
    if done.get() is not None:  # until it has prepared what all share
        raise SystemExit(f"the preparation of {name} failed")
    for worker in started[1:]:
        worker.start()
    for _ in numbers:
        yield Report(*done.get())
    for worker in started:
        worker.join()


def serve(name: str, settings: Settings, todo: Any, done: Any, first: bool) -> None:
    """A worker's life: batches from `todo`, reports to `done`."""
    environment(settings.shared)
    kind = kinds.kind(name)
    for module in kind.modules:
        importlib.import_module(module)
    if first:
        done.put(_prepared(kind, settings.shared))
    while (batch := todo.get()) is not None:
        while batch:
            ended = 0
            for report in _batch(kind, batch, settings):
                done.put(tuple(report))
                ended += 1
            batch = batch[ended:]


def _prepared(kind: Kind, shared: Path) -> str | None:
    """Prepares in a child, so that the worker stays fit for forking; says what failed."""
    child = os.fork()
    if not child:
        outcome = judged(lambda: kind.prepare(shared))
        if outcome.verdict != "worked":
            print(outcome.detail, file=sys.stderr)
        os._exit(outcome.verdict != "worked")
    return "failed" if os.waitpid(child, 0)[1] else None


def _batch(kind: Kind, numbers: list[int], settings: Settings) -> Iterator[Report]:
    """Runs cases in one child, until they are done or one of them ends it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(kind, numbers, settings, writing)
    os.close(writing)
    said, number, title, begun = b"", numbers[0], "?", time.monotonic()
    parent = os.getppid()
    try:
        while True:
            if os.getppid() != parent:  # whoever wanted to know has gone
                raise SystemExit(1)
            ready, _, _ = select.select([reading], [], [], POLL)
            piece = os.read(reading, 2**16) if ready else None
            if piece == b"":
                status = os.waitpid(child, 0)[1]
                child = 0
                if number is not None:
                    code = os.waitstatus_to_exitcode(status)
                    outcome = Outcome("fault", f"the process died: {code}", title)
                    yield Report(kind.name, number, title, outcome, time.monotonic() - begun)
                return
            *lines, said = (said + (piece or b"")).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "outcome" in message:
                    outcome = Outcome(*message["outcome"])
                    yield Report(kind.name, number, title, outcome, time.monotonic() - begun)
                    number, begun = message["next"], time.monotonic()
                    title = "?"
                else:
                    title = message["title"]
            if number is not None and (why := _exceeded(child, begun, kind, settings)):
                outcome = Outcome("fault", why, title)
                yield Report(kind.name, number, title, outcome, time.monotonic() - begun)
                return
    finally:
        os.close(reading)
        if child:
            _end(child)


def _exceeded(child: int, begun: float, kind: Kind, settings: Settings) -> str:
    if time.monotonic() - begun > kind.seconds * settings.patience:
        return "hang"
    with contextlib.suppress(OSError, IndexError, ValueError):
        pages = int(Path(f"/proc/{child}/statm").read_text(encoding="utf-8").split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > kind.memory:
            return f"memory: over {kind.memory / 2**30:g} GB"
    return ""


def _end(child: int) -> None:
    """Kills a child and whatever it has started: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _child(kind: Kind, numbers: list[int], settings: Settings, writing: int) -> None:
    """Runs cases one after another, says through the pipe how each ended, and ends the process."""
    try:
        _attempts(kind, numbers, settings, writing)
    finally:
        os._exit(70)  # never back into what the worker was doing


def _attempts(kind: Kind, numbers: list[int], settings: Settings, writing: int) -> None:
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what libraries print below Python
        os.dup2(quiet, stream)
    most = 3 * kind.memory + _address_space()  # much of it is only reserved
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    guard = Guard(settings.shared / "cases", settings.shared, kind.cut)
    guard.install()

    def say(message: dict[str, Any]) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        outcome = attempt(kind, number, settings, guard, lambda t: say({"title": t[:2_000]}))
        say({"outcome": outcome, "next": following})
    os._exit(0)


def attempt(
    kind: Kind, number: int, settings: Settings, guard: Guard | None, say: Any, keep: bool = False
) -> Outcome:
    """Makes a case, runs it in a folder of its own and judges it."""
    place = settings.shared / "cases" / f"{kind.name}-{number}"
    shutil.rmtree(place, ignore_errors=True)
    if guard:
        guard.found.clear()
    with own_folder(place):
        case = made(kind, number, settings)
        say(case.title)
        before = listing(place)
        outcome = judged(case.run)
        stray = strays(before, listing(place), case, place)
        if outcome.verdict != "fault" and stray:
            outcome = Outcome("fault", "files where they do not belong", "\n".join(stray[:20]))
        if outcome.verdict != "fault" and guard and guard.found:
            first = guard.found[0]
            group = " ".join(first.split()[:4]) if first.startswith("started") else first
            outcome = Outcome("fault", group.split("/cases/")[0], "\n".join(guard.found[:20]))
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
    return outcome


def made(kind: Kind, number: int, settings: Settings) -> Case:
    """The case of a number; the same for the same seed."""
    draw = random.Random(f"{settings.seed}/{kind.name}/{number}")
    return kind.make(draw, settings.shared, number)


def _address_space() -> int:
    statm = Path("/proc/self/statm").read_text(encoding="utf-8")
    return int(statm.split()[0]) * os.sysconf("SC_PAGE_SIZE")
