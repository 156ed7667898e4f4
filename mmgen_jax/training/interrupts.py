"""SIGTERM and Ctrl-C: a question that the training loop asks, or the end of a command in one line.

Nothing here imports jax: launchers are guarded from their first imports on.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

EXIT_CODE = 143
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds that a guarded command has to run Python again after a signal (a compiler may hold it for
# minutes), and then to clean up.
RESPOND, CLEAN_UP, POLL = 1.0, 5.0, 0.05
SPEAK = 2.0


class Interrupted(SystemExit):
    """Training was asked to stop, and has saved. Exit code 143, as of a process ended by SIGTERM.

    All processes of the run stop with it, at the same step.

    Attributes:
      signal_name: what asked for it, "SIGTERM" or "SIGINT".
    """

    def __init__(self, signal_name: str):
        super().__init__(EXIT_CODE)
        self.signal_name = signal_name


class Stopped(SystemExit):
    """This process was asked to stop where there was nothing to save. Exit code 143.

    Attributes:
      signal_name: what asked for it, "SIGTERM" or "SIGINT".
    """

    def __init__(self, signal_name: str):
        super().__init__(EXIT_CODE)
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

    An error of jax's that comes after a signal may be its echo: a signal to the whole process group
    ends a compiler's own processes too. So it ends the block as `Stopped`, with one line.

    Attributes:
      requested: the name of the first signal that came, None before.
    """

    def __init__(self, begin: bool = True):
        """`begin=False` leaves signals to whoever had them before, until `begin` is called."""
        self.requested: str | None = None
        self._ctrl_c = False
        self._old_handlers: dict[signal.Signals, Any] = {}
        self._begin = begin

    def begin(self) -> None:
        """Starts to note signals, if that has not begun yet; cheap enough for every step."""
        if self._old_handlers:
            return
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._handle)

    def __enter__(self) -> "Interrupts":
        if self._begin:
            self.begin()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._old_handlers.items():
            # None: it was not installed by Python (jax.distributed), and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.requested and isinstance(error, KeyboardInterrupt):
            _write(f"{self.requested}: stopped at once; the newest checkpoint stands")
            raise Stopped(self.requested) from None
        if self.requested and _may_be_an_echo(error):
            reason = " ".join(str(error).split())
            _write(f"{self.requested}: stopped without saving, as a step failed: {reason}")
            raise Stopped(self.requested) from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._ctrl_c:
                raise KeyboardInterrupt
            self._ctrl_c = True
        if self.requested is None:
            self.requested = signal.Signals(number).name
            again = " (Ctrl-C again: stop at once)" if number == signal.SIGINT else ""
            _write(f"{self.requested}: saving, then stopping{again}")


class Guard:
    """Ends a command with one line and exit code 143 on SIGTERM or Ctrl-C, while it is entered.

    The signal raises `Stopped` in the main thread, so that what is open is closed. Where Python
    does not run (within a compiler), or cleaning up takes too long, a thread ends the process,
    after `last_words`. A second signal ends it at once. `Interrupts` takes precedence over it.

    Outside the main thread, which alone hears of signals, it does nothing.

    Attributes:
      signal_name: what asked for the end, None before.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._lost = False
        self._old_handlers: dict[signal.Signals, Any] = {}
        self._last_words: list[Callable[[], None]] = []
        self._wake: tuple[int, int] | None = None
        self._old_wake = -1

    @property
    def is_on(self) -> bool:
        """Whether it has begun, and not ended."""
        return bool(self._old_handlers)

    def begin(self) -> None:
        """As entering it, where it is not entered yet; `end`, or a signal, ends it."""
        if self.is_on or threading.current_thread() is not threading.main_thread():
            return
        self.signal_name = None
        self._watch_lost()
        # Python's handlers wait until the interpreter runs again; this pipe is written to at once.
        self._wake = os.pipe()
        os.set_blocking(self._wake[1], False)
        for number in SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._handle)
        self._old_wake = signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(self._wake[0],), daemon=True).start()

    def end(self) -> None:
        """Puts the old handlers back; after a signal the thread still sees to the end."""
        if not self.is_on or self.signal_name is not None:
            return
        signal.set_wakeup_fd(self._old_wake)
        for number, handler in self._old_handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._old_handlers = {}
        if self._wake is not None:
            os.close(self._wake[1])  # ends the thread
            self._wake = None

    @contextlib.contextmanager
    def last_words(self, say: Callable[[], None]) -> Iterator[None]:
        """Has `say` called before `leave` ends the process within this context."""
        self._last_words.append(say)
        try:
            yield
        finally:
            self._last_words.remove(say)

    def __enter__(self) -> "Guard":
        self.begin()
        self._watch_lost()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end()
        if self.signal_name is not None and not isinstance(error, (Stopped, Interrupted)):
            raise Stopped(self.signal_name) from None  # whatever the signal has made fail
        if isinstance(error, KeyboardInterrupt):
            _write("SIGINT: stopped")
            raise Stopped("SIGINT") from None

    def _watch_lost(self) -> None:
        """Notes where `Stopped` came in a finalizer or a callback: Python drops what they raise."""
        before = sys.unraisablehook

        def hook(unraisable: Any) -> None:
            if isinstance(unraisable.exc_value, Stopped):
                self._lost = True  # the thread raises it again
            else:
                before(unraisable)

        sys.unraisablehook = hook

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is None:
            self._note(number)
        elif not self._lost:
            os._exit(EXIT_CODE)
        self._lost = False
        raise Stopped(signal.Signals(number).name)

    def _note(self, number: int) -> None:
        self.signal_name = signal.Signals(number).name
        _write(f"{self.signal_name}: stopped")

    def _listen(self, pipe: int) -> None:
        """Sees to the end of a command whose main thread does not hear, or does not end."""
        process = os.getpid()
        while byte := os.read(pipe, 1):
            ours = byte[0] in self._old_handlers and signal.getsignal(byte[0]) == self._handle
            if ours and os.getpid() == process:
                break
        else:
            os.close(pipe)
            return
        began = time.monotonic()
        while time.monotonic() < began + (CLEAN_UP if self.signal_name else RESPOND):
            time.sleep(POLL)
            if self._lost:
                os.kill(process, byte[0])
        if self.signal_name is None:
            self._note(byte[0])
        self.leave(EXIT_CODE)

    def leave(self, code: int) -> NoReturn:
        """Ends the process from any thread, after its last words, for which it has a moment."""
        speaker = threading.Thread(target=self._speak, daemon=True)
        speaker.start()
        speaker.join(SPEAK)  # a disk or a network may hang
        os._exit(code)

    def _speak(self) -> None:
        for say in reversed(self._last_words):
            with contextlib.suppress(Exception):
                say()


GUARD = Guard()
"""Of the process: launchers enter it."""


def _forget_pipe() -> None:
    # What is forked shares the pipe: a signal to it is none to this process.
    if GUARD.is_on and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_pipe)


def _may_be_an_echo(error: BaseException | None) -> bool:
    jax = sys.modules.get("jax")  # who has not imported it has none of its errors
    return jax is not None and isinstance(error, jax.errors.JaxRuntimeError)


def _write(line: str) -> None:
    # A handler may interrupt a print: only a bare write(2) is safe to nest in it.
    # On a terminal there may be a progress bar, or ^C.
    begin = "\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{begin}{line}\n".encode())
