"""SIGTERM and Ctrl-C, turned into a question that the training loop asks between two steps."""

import contextlib
import os
import signal
from types import FrameType
from typing import Any


class Interrupted(SystemExit):
    """Training was asked to stop, and has saved. Exit code 143, as of a process ended by SIGTERM.

    Attributes:
      signal_name: what asked for it, "SIGTERM" or "SIGINT".
    """

    def __init__(self, signal_name: str):
        super().__init__(143)
        self.signal_name = signal_name


class Interrupts:
    """Notes SIGTERM and SIGINT instead of dying of them, while the context is entered.

        with Interrupts() as interrupts:
            for step in range(steps):
                ...
                if interrupts.requested:
                    checkpoints.save(...)
                    raise Interrupted(interrupts.requested)

    A second SIGINT raises KeyboardInterrupt at once: the person is done waiting. The old handlers
    are back on exit. Python lets only the main thread enter it.

    Attributes:
      requested: the name of the first signal that came, None before.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._ctrl_c = False
        self._old_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old_handlers.items():
            # None: it was not installed by Python (jax.distributed), and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._ctrl_c:
                raise KeyboardInterrupt
            self._ctrl_c = True
        if self.requested is None:
            self.requested = signal.Signals(number).name
            again = " (Ctrl-C again: stop at once)" if number == signal.SIGINT else ""
            # A handler may interrupt a print: only a bare write(2) is safe to nest in it.
            with contextlib.suppress(OSError):
                os.write(2, f"\n{self.requested}: saving, then stopping{again}\n".encode())
