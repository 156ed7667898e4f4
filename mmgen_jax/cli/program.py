"""Runs a launcher: one clear line for bad input, and exit codes."""

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from logging import ERROR, LogRecord
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging

from mmgen_jax.cli.explanations import explain, without_backend
from mmgen_jax.cli.inputs import define_of_run
from mmgen_jax.cli.streams import hush
from mmgen_jax.errors import Failure, InputError, reading
from mmgen_jax.training import interrupts

FAILED = 1


BAD_INPUT = 2


# Whether this process is a launcher's own, and not that of who runs one within it, as tests do.
IS_PROGRAM = interrupts.GUARD.is_on and sys.argv[0] in sys.orig_argv[1:]


MOST_DETAILS = 200


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main`, and exits: 0 done, 1 failed, 2 bad input.

    Bad input and `Failure` are one line on stderr; anything else keeps its traceback, and exits
    with 1. `SystemExit` passes through. SIGTERM and Ctrl-C end it with one line and 143.
    """
    # Warnings of libraries about a machine's missing accelerators are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A program that was compiled once is not compiled again.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        place = Path(os.path.expanduser("~/.cache/mmgen_jax/jax"))  # noqa: PTH111, never raises
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(place)
    # A terminal whose locale lacks a letter shows its escape; it does not end the command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(_is_news)
    sys.unraisablehook = _unraisablehook
    try:
        with interrupts.GUARD:
            app.run(lambda argv: _guarded(lambda: main()), flags_parser=_parse)
    except (interrupts.Stopped, interrupts.Interrupted):
        if IS_PROGRAM:
            _leave(interrupts.EXIT_CODE)
        raise
    raise SystemExit(0)


def _leave(code: int) -> NoReturn:
    """Ends the process, of which all that was open is closed, without Python's own end.

    That would take from the threads of XLA what they still compute with: a segmentation fault.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _is_news(record: LogRecord) -> bool:
    """Whether a person should read what a library has logged.

    A failed save is one line of `checkpoints`; orbax and asyncio would log hundreds of errors
    before it. What orbax only warns of, it goes on after: nobody else says it.
    """
    of_orbax = "orbax" in record.pathname and record.levelno >= ERROR
    return record.name != "asyncio" and not of_orbax


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Prints one line and exits."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    raise SystemExit(code)


def _one_line(message: str) -> str:
    """Without line breaks; other spaces stay, for they may be a path's."""
    return " ".join(part.strip() for part in message.strip().splitlines())


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; whatever a recipe or an override refuses is the user's to mend."""
    # --batch-size is as good as --batch_size.
    argv = [re.sub(r"^--[a-z][\w-]*", lambda name: _underscored(name[0]), word) for word in argv]
    try:
        _check_recipe_file(argv)
        define_of_run(argv)
        rest = flags.FLAGS(argv)
        _check_recipe()
    except interrupts.Stopped:
        raise
    except SystemExit:  # absl has shown the help, which for it is a failure
        raise SystemExit(0) from None
    except Exception as error:  # a recipe is a person's program: whatever it raises is theirs
        fail(explain(error, argv))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    return rest


def _underscored(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_")


def _check_recipe_file(argv: Sequence[str]) -> None:
    """Raises InputError where --config names a pipe or a device, whose reading might never end."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if found := re.fullmatch(r"--?config(?:=(.*))?", word, re.DOTALL):
            path = Path((following if found[1] is None else found[1]).partition(":")[0])
            if path.exists() and not path.is_dir():
                with reading(path, "the recipe of --config"):
                    pass


def _check_recipe() -> None:
    """Raises what ml_collections kept back: that the recipe's file cannot be read."""
    if "config" in flags.FLAGS:
        flags.FLAGS.config.keys()


def _unraisablehook(unraisable: Any) -> None:
    """As Python's own, but for what tensorstore's threads say of a save that has failed already."""
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
        print(end="", flush=True)
    except InputError as error:
        for detail in error.details[:MOST_DETAILS]:
            print(f"error: {_one_line(detail)}", file=sys.stderr)
        if len(error.details) > MOST_DETAILS:
            print(f"... and {len(error.details) - MOST_DETAILS} more", file=sys.stderr)
        fail(str(error))
    except Failure as error:
        fail(str(error), FAILED)
    except (RuntimeError, AssertionError) as error:
        line = without_backend(error)
        if line is None:
            raise
        fail(line)
    except BrokenPipeError:
        hush()
    except OSError as error:  # after the pipe, which is one too
        if error.errno != errno.ENAMETOOLONG:  # of which only what a person typed can be the cause
            raise
        fail(f"the path {str(error.filename)[:80]!r}... is too long")
