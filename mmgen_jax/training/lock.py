"""One run at a time in a folder: a lock that names its holder, and that a dead one does not keep.

Two things hold it, as no single one works on every disk:

- `flock` on the folder itself. The kernel gives it up when its holder dies, however that happens,
  and it needs no file. It holds among all processes of one machine. On NFS, Lustre and FUSE
  (gcsfuse, s3fs) a lock on a folder stays on its machine; locks on files may reach others there, be
  refused or hang, depending on how the disk was mounted, so nothing relies on them.
- `lock.json` in the folder names the holder: host, process, since when. Its time is renewed every
  `BEAT` seconds. To another machine, which cannot ask whether a process lives, a holder is dead
  once it has renewed nothing for `PATIENCE` seconds *while it was watched*: no two clocks are
  compared (except that a time half an hour old is not watched), and whatever NFS and gcsfuse keep
  in their caches (for a minute) has expired by then.

A holder that was thought dead (its machine slept, or was cut off) finds another's name in the file,
and stops before it saves again. What is not noticed: two machines that begin within the same moment
find each other only when they begin to train (`check`); and a disk that shows nothing of what
another machine writes cannot be shared in the first place.

A start on the machine of a dead holder, or after an orderly end, does not wait.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmgen_jax import storage
from mmgen_jax.errors import Failure, InputError, writing

NAME = "lock.json"
# Seconds.
BEAT = 15.0
PATIENCE = 90.0
LONG_DEAD = 1800.0
ORPHANS = 5.0


class Holder(NamedTuple):
    """Who holds a lock.

    Attributes:
      host: name of the machine.
      machine: what tells it, as it was booted last, from others of that name.
      process: its number there.
      started: when the process began, as the machine counts it, so that another one that was given
        the same number is not taken for it; None where the system does not say.
      since: when it took the lock, for people.
      nonce: what no other holder has.
      beat: seconds since 1970, when it was last renewed.
    """

    host: str
    machine: str
    process: int
    started: int | None
    since: str
    nonce: str
    beat: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


class Lock:
    """The right to write in a folder, from `acquire` to `release`.

    Args:
      folder: of the run; made if missing.
      beat: seconds between two signs of life.
      patience: seconds for which a holder on another machine is watched.
    """

    def __init__(self, folder: Path, beat: float = BEAT, patience: float = PATIENCE):
        self._folder, self._path = folder, folder / NAME
        self._beat, self._patience = beat, patience
        self._made: list[Path] = []
        self._descriptor: int | None = None
        self._holder: Holder | None = None
        self._ended = threading.Event()
        self._writing = threading.Lock()

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
          InputError: if another run holds it, naming it, or if the folder cannot be written.
          Failure: if the disk is full.
        """
        try:
            self._make_folder()
            self._refuse_elsewhere(asked_kernel=self._acquire_here())
            self._holder = _me()
            with _writable(self._folder):
                self._write()
        except BaseException:
            self.release()
            raise
        threading.Thread(target=self._renew, daemon=True, name="lock").start()

    def check(self) -> None:
        """Raises Failure if another run has taken the lock meanwhile."""
        found = read(self._folder)
        if self._holder is not None and found is not None and found.nonce != self._holder.nonce:
            raise Failure(
                f"{self._folder} was taken over by {found}: nothing had been heard of this run for"
                f" {self._patience:.0f} s, or both began at once; this one stops"
            )

    def release(self) -> None:
        """Gives the lock back, and removes what was made for it and holds nothing else."""
        self._ended.set()
        with self._writing:
            if self._holder is not None:
                found = read(self._folder)
                if found is not None and found.nonce == self._holder.nonce:
                    _delete(self._path)
                self._holder = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _make_folder(self) -> None:
        missing = [self._folder, *self._folder.parents]
        self._made = [folder for folder in missing if not folder.exists()]
        with _writable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def _acquire_here(self) -> bool:
        """Refuses where another process of this machine has the lock.

        Returns whether the kernel can say so: some file systems have no such locks.
        """
        with _writable(self._folder):
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        deadline = time.monotonic() + ORPHANS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                holder = read(self._folder)
                # What it had forked has a share in the lock, and takes a moment longer to die.
                dead = holder is not None and holder.machine == _machine() and not _lives(holder)
                if not dead or time.monotonic() > deadline:
                    raise self._refusal(holder) from None
                time.sleep(0.1)
            except OSError:
                return False  # `lock.json` says it alone

    def _refuse_elsewhere(self, asked_kernel: bool) -> None:
        """Refuses where `lock.json` names a process that lives."""
        holder = read(self._folder)
        if holder is None:
            return
        if holder.machine == _machine():
            # Where the kernel has given the lock, a holder that lives holds another folder, of
            # which this one is a copy.
            if not asked_kernel and _lives(holder):
                raise self._refusal(holder)
            return
        if abs(time.time() - holder.beat) > LONG_DEAD:
            return
        _say(
            f"{self._folder} was in use by {holder}: watching for {self._patience:.0f} s whether it"
            " still is"
        )
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._beat / 4))
            found = read(self._folder)
            if found is None:
                if not self._path.exists():
                    return  # it has ended
            elif (found.nonce, found.beat) != (holder.nonce, holder.beat):
                raise self._refusal(found)

    def _refusal(self, holder: Holder | None) -> InputError:
        who = holder or "another process of this machine"
        return InputError(
            f"--workdir={self._folder} is in use by {who}; wait for its end, stop it, or choose"
            " another --workdir"
        )

    def _renew(self) -> None:
        while not self._ended.wait(self._beat):
            with contextlib.suppress(OSError, Failure), self._writing:
                if self._ended.is_set() or self._holder is None:
                    return
                self.check()  # what another has taken is not taken back
                self._holder = self._holder._replace(beat=time.time())
                self._write()

    def _write(self) -> None:
        assert self._holder is not None
        storage.write_json(self._path, self._holder._asdict())


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Lock]:
    """Holds the lock of a folder."""
    lock = Lock(folder)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def read(folder: Path) -> Holder | None:
    """Who holds the lock of a folder, or did when it died; None if nobody, or nobody can say."""
    try:
        return _holder(storage.read_json(folder / NAME))
    except (OSError, ValueError):
        return None


def _holder(found: Any) -> Holder | None:
    kinds = {
        "host": str,
        "machine": str,
        "process": int,
        "started": (int, type(None)),
        "since": str,
        "nonce": str,
        "beat": (int, float),
    }
    if not isinstance(found, dict) or found.keys() != kinds.keys():
        return None
    if not all(isinstance(found[name], kind) for name, kind in kinds.items()):
        return None
    return Holder(**found)


def _me() -> Holder:
    now = time.time()
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    process = os.getpid()
    return Holder(
        host=socket.gethostname(),
        machine=_machine(),
        process=process,
        started=_started(process),
        since=since,
        nonce=secrets.token_hex(8),
        beat=now,
    )


def _machine() -> str:
    """This machine since it was booted, as far as its processes see each other's numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(storage.read_text(Path("/proc/sys/kernel/random/boot_id")).strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))  # a container has its own numbers
    return " ".join(parts)


def _lives(holder: Holder) -> bool:
    """Whether a holder on this machine lives, as far as the system says."""
    return holder.started is not None and holder.started == _started(holder.process)


def _started(process: int) -> int | None:
    """When a process of this machine began; None if there is none, or the system does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = text.rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18])  # a zombie has died
    except (OSError, ValueError, IndexError):
        return None


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        with writing(folder):
            yield
    except Failure as failure:
        error = failure.__cause__
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"cannot write checkpoints to {folder}: {reason}; --workdir must be a directory that"
            " can be written"
        ) from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
