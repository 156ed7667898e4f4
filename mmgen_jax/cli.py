"""What every launcher shares: flags, one clear line for bad input, exit codes."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from mmgen_jax.errors import InputError

BAD_INPUT = 2


def define_config() -> flags.FlagHolder:
    """The flag --config=FILE[:ARGUMENT], with --config.KEY=VALUE to override."""
    return config_flags.DEFINE_config_file(
        "config", None, "Recipe and its argument, such as configs/flow.py:data=emoji,size=tiny."
    )


def run(main: Callable[[], None]) -> NoReturn:
    """Parses the flags, runs `main`, and exits: 0 done, 2 bad input (one line on stderr).

    Other failures keep their traceback and exit with 1; `SystemExit` passes through.
    """
    # Warnings of libraries about a machine's missing accelerators are no news to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.WARNING)
    app.run(lambda argv: _guarded(lambda: main()), flags_parser=_parse)
    raise SystemExit(0)


def fail(message: str) -> NoReturn:
    """Prints one line and exits with 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(BAD_INPUT)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; whatever a recipe or an override refuses is the user's to mend."""
    try:
        rest = flags.FLAGS(list(argv))
    except InputError as error:
        fail(str(error))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        fail(f"bad flag: {error}")
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    return rest


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except InputError as error:
        fail(str(error))
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
