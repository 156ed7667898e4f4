"""The processes of one run: how they find each other, agree, and end together.

Every process runs the same program on its own devices, in step with the others. Process 0 alone
writes what is one for all: the log, pictures, the config, the checkpoints' manifests.
"""

import atexit
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmgen_jax.errors import Failure, InputError
from mmgen_jax.training.interrupts import EXIT_CODE, GUARD, Interrupted
from mmgen_jax.training.lock import Lock
from mmgen_jax.training.watch import Watch, is_loopback

# Seconds. `Watch` notices a death at once, and says so; this is for where it cannot connect.
HEARTBEAT = 40
SHUTDOWN = 120
BIND = "JAX_COORDINATOR_BIND_ADDRESS"  # jax reads it


@contextmanager
def joined() -> Iterator[None]:
    """This process among those of the run, if there are others; nothing where it is alone.

    To be entered before anything touches a device. The environment says who belongs together:
    JAX_COORDINATOR_ADDRESS (HOST:PORT of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID; or jax
    finds it out (TPU pods, Slurm, Open MPI, Kubernetes). JAX_NUM_PROCESSES=1 is alone anywhere.

    While it is entered, the death of one process ends the others (see `watch`).

    Raises:
      InputError: if the environment is half set, or the others are not there.
    """
    if not _initialize():
        yield
        return
    count = jax.process_count()
    if count == 1:
        yield
        return
    watch = Watch(jax.process_index(), count, _announce)
    try:
        with GUARD.last_words(lambda: watch.close(interrupted=True)):
            yield
    except Interrupted:  # all of them, at the same step
        watch.close()
        raise
    except BaseException as error:
        orderly = isinstance(error, (InputError, Failure, SystemExit))
        code = _exit_code(error)
        watch.close(failed=True, explained=orderly, interrupted=code == EXIT_CODE)
        _leave_alone(code, watch)
        raise
    watch.close()


def is_main() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def from_main(compute: Callable[[], int]) -> int:
    """What `compute` returns on process 0; the others wait for it, and get the same number."""
    if jax.process_count() == 1:
        return int(compute())
    number = compute() if is_main() else 0
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def on_main(act: Callable[[], None]) -> None:
    """Has process 0 do something while the others wait."""
    from_main(lambda: act() or 0)


def all_of(mine: Any) -> list[Any]:
    """What each process gives, in their order: anything that JSON can hold. All of them call it."""
    if jax.process_count() == 1:
        return [mine]
    text = json.dumps(mine).encode()
    lengths = np.ravel(multihost_utils.process_allgather(np.int32(len(text))))
    padded = np.frombuffer(text.ljust(int(lengths.max())), np.uint8)
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


@contextmanager
def only_run(workdir: Path) -> Iterator[Callable[[], None]]:
    """Makes this run the only one that writes in its folder; process 0 holds the `Lock`.

    Yields:
      A function that raises Failure, on process 0, where another run has taken the folder over.

    Raises:
      InputError: on all processes, if another run holds it, or it cannot be written.
      Failure: if the disk is full.
    """
    lock, refusal = Lock(workdir) if is_main() else None, None
    try:
        if lock is not None:
            lock.acquire()
    except InputError as error:
        refusal = str(error)
    refusal = all_of(refusal)[0]
    if refusal is not None:
        raise InputError(refusal)
    if lock is None:
        yield lambda: None
        return
    try:
        with GUARD.last_words(lock.release):
            yield lock.check
    finally:
        lock.release()


class Vote:
    """All processes learn, at the same step, of a signal that any of them got.

    Each step the largest of their votes, the numbers of signals (0 for none), is found over the
    mesh, as part of the device's work; it is read one step late, so that nobody waits for it. A
    process that is alone decides at once.
    """

    def __init__(self, mesh: Mesh):
        self._alone = jax.process_count() == 1
        self._split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._pending: jax.Array | None = None

    def __call__(self, requested: str | None) -> str | None:
        """The name of the signal to stop for, None to go on; called by all, once a step."""
        if self._alone:
            return requested
        mine = np.int32(signal.Signals[requested].value if requested else 0)
        devices = self._split.mesh.size
        votes = jax.make_array_from_callback(
            (devices,), self._split, lambda index: np.full(devices, mine)[index]
        )
        before, self._pending = self._pending, self._largest(votes)
        number = 0 if before is None else int(before)
        return signal.Signals(number).name if number else None


def _initialize() -> bool:
    """Whether there may be other processes."""
    named = {
        name: os.environ.get(name)
        for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    }
    if named["JAX_NUM_PROCESSES"] == "1":
        return False
    # SIGTERM is ours (`interrupts`): jax's own service would take it over.
    jax.config.update("jax_enable_preemption_service", False)
    address, count, number = named.values()
    # jax would let its coordinator listen on every interface.
    local = address is not None and is_loopback(address)
    bind = address if local and BIND not in os.environ else None
    try:
        jax.distributed.initialize(
            address,
            None if count is None else int(count),
            None if number is None else int(number),
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
            coordinator_bind_address=bind,
        )
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        if address is None and "coordinator_address should be defined" in str(error):
            if any(named.values()):
                raise InputError(
                    f"{_given(named)}: JAX_COORDINATOR_ADDRESS=HOST:PORT of process 0 is missing"
                ) from error
            return False
        raise InputError(
            f"could not join the other processes ({_given(named) or 'found by jax'}): {error};"
            " JAX_NUM_PROCESSES=1 trains alone"
        ) from error
    return True


def _given(named: dict[str, str | None]) -> str:
    return ", ".join(f"{name}={value}" for name, value in named.items() if value is not None)


def _announce(message: bytes) -> bytes:
    """A message of process 0 to all, at most 1,024 bytes."""
    padded = np.frombuffer(message.ljust(1024), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes().rstrip()


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 2 if isinstance(error, InputError) else 1


def _leave_alone(code: int, watch: Watch) -> None:
    """Has this process end without a last meeting of all, which jax holds when Python exits."""

    def leave() -> None:
        watch.linger()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)
