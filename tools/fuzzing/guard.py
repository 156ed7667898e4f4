"""What a case may not do, seen by Python's audit hooks: write elsewhere, start programs, connect.

Libraries that write without Python (tensorstore) are not seen here, but by `cases.strays` where
they write into the case's own folder.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from tools.fuzzing.cases import Reached

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.link": 2}
# uname by Python's own platform.processor, for reports.
ALLOWED_PROGRAMS = ("fc-list", "fc-match", "bash", "ldconfig", "gcc", "uname")


class Guard:
    """Notes what a case does that it may not; `install` cannot be undone in a process.

    Attributes:
      found: a line for each.
    """

    def __init__(self, place: Path, shared: Path, cut: bool):
        """Allows writing below `place` and the shared cache."""
        self.found: list[str] = []
        self._roots = (str(place), str(shared / "cache"), "/dev/", "/proc/")
        self._cut = cut

    def install(self) -> None:
        """Watches from here on, until the process ends."""
        sys.addaudithook(self._hook)
        if self._cut:
            sys.meta_path.insert(0, Cut())

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & WRITING:
                self._wrote(path)
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):  # noqa: PTH112, it will fail
            return
        elif event in CHANGES:
            for path in arguments[: CHANGES[event]]:
                self._wrote(path)
        elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
            if self._cut:
                raise Reached
            program = os.path.basename(os.fsdecode(arguments[0] or ""))  # noqa: PTH119
            if program not in ALLOWED_PROGRAMS and not program.startswith("python"):
                self.found.append(f"started a program: {program} {arguments[1:2]}"[:300])
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self.found.append(f"connected to {arguments[1]}")
        elif event == "socket.getaddrinfo" and arguments[0] not in ("localhost", "127.0.0.1", None):
            self.found.append(f"looked up {arguments[0]}")

    def _wrote(self, path: Any) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
            if not whole.startswith(self._roots):
                self.found.append(f"wrote {whole}")


class Cut(MetaPathFinder):
    """Ends a case where jax would be imported: the launcher has validated what it was given."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Finds nothing."""
        if name == "jax":
            raise Reached
