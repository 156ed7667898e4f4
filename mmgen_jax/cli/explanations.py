"""Turns errors that libraries raise over a person's input into one line that says what to type."""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from mmgen_jax import config as configs
from mmgen_jax.config.renamed import current
from mmgen_jax.errors import InputError


def explain(error: Exception, argv: Sequence[str]) -> str:
    """Returns one line for an error that absl or ml_collections may have wrapped in tracebacks.

    Args:
      error: what was raised while flags were read.
      argv: the command line.
    """
    chain = list(_chain(error))
    for cause in reversed(chain):
        if isinstance(cause, InputError):
            return str(cause)
    for argument in argv:
        key = re.match(r"--?config\.([\w.]+)", argument)
        known = {*(keys := configs.all_keys()), *(path.rpartition(".")[0] for path in keys)}
        if key and isinstance(error, (AttributeError, KeyError)) and key[1] not in known:
            if (now := current(key[1])) in keys:
                return f"config key {key[1]} is called {now} now; type --config.{now}=VALUE"
            nearest = difflib.get_close_matches(key[1], keys, n=3, cutoff=0)
            return f"unknown config key {key[1]}; the nearest are: {', '.join(nearest)}"
    if isinstance(error, OSError):
        return f"cannot read the recipe of --config: {chain[-1]}{_meant_recipe(argv)}"
    missing = re.findall(r"flag --(\w+)=None: Flag --\w+ must have a value", str(error))
    if missing:
        return f"{' and '.join(f'--{name}' for name in missing)} must be given; {_example()}"
    for cause in reversed(chain):
        place = _in_recipe(cause)
        if place:
            return f"the recipe of --config failed: {type(cause).__name__}: {cause} ({place})"
    if "has no attribute 'get_config'" in str(error):
        return "the recipe of --config has no function get_config; see configs/ for examples"
    return f"bad flag: {error}{_meant_key(str(error))}"


def _meant_key(line: str) -> str:
    """The end of a line on an unknown flag: the config key that goes by this name, if one does."""
    unknown = re.match(r"Unknown command line flag '([\w.]+)'", line)
    if not unknown or "config" not in flags.FLAGS:
        return ""
    declared = configs.all_keys()
    keys = [key for key in declared if key == unknown[1] or key.endswith(f".{unknown[1]}")]
    return f"; did you mean --config.{keys[0]}?" if len(keys) == 1 else ""


def _meant_recipe(argv: Sequence[str]) -> str:
    """The end of a line on a recipe that is not there: the one of configs/ with its name."""
    for word in argv:
        named = re.match(r"--?config=([^:]+)", word)
        recipe = Path("configs", Path(named[1]).stem + ".py") if named else None
        if recipe and recipe.is_file() and not Path(named[1]).exists():
            return f"; did you mean --config={recipe}?"
    return ""


def _in_recipe(error: BaseException) -> str | None:
    """The file and line where a recipe failed; None for an error from elsewhere."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.name == "get_config" for frame in frames) or (
        frames and frames[-1].name == "<module>"  # outside of a function: of the recipe itself
    ):
        return f"{frames[-1].filename}, line {frames[-1].lineno}"
    return None


def _example() -> str:
    """A command that works, from the launcher's docstring."""
    text = (sys.modules["__main__"].__doc__ or "").replace("\\\n", " ")
    command = re.search(r"python launch/.*", text)
    return f"an example: {' '.join(command[0].split())}" if command else "see --help"


def without_backend(error: Exception) -> str | None:
    """Returns one line for devices that JAX_PLATFORMS names and jax does not find; else None."""
    asked = os.environ.get("JAX_PLATFORMS")
    frames = [Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)]
    if not asked or "xla_bridge.py" not in frames[-3:]:
        return None
    reason = str(error).partition(" (set JAX_PLATFORMS")[0] or type(error).__name__
    return (
        f"JAX_PLATFORMS={asked}: jax finds no such device here ({reason}); allowed: cpu, or unset,"
        " which takes what is there"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
