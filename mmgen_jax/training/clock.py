"""The speed of training alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts steps per second of training alone: compilation, sampling and saving are left out."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._steps = 0
        self._seconds = 0.0

    def tick(self) -> bool:
        """A step has ended. The first one, which holds the compilation, only starts the clock.

        Returns:
          whether it was the first.
        """
        now, first = time.monotonic(), self._since is None
        if not first:
            self._steps += 1
            self._seconds += now - self._since
        self._since = now
        return first

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
