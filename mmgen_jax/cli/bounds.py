"""Flags whose values are bounded: finite numbers, seeds, lists that are not empty."""

import math
import re
from collections.abc import Sequence

from absl import flags

from mmgen_jax.errors import InputError

MOST_SEED = 2**32 - 1  # a key of jax is made of 32 bits

# What is defined here is a launcher's own flag, and stands in its --help.
flags.disclaim_key_flags()


def define_number(
    name: str, default: float | None, help: str, lower_bound: float, upper_bound: float
) -> flags.FlagHolder:
    """A flag of a finite number within bounds; absl's own bounds let `nan` pass."""
    holder = flags.DEFINE_float(
        name, default, help, lower_bound=lower_bound, upper_bound=upper_bound
    )
    flags.register_validator(
        name, lambda value: value is None or math.isfinite(value), "it must be a finite number"
    )
    return holder


def define_names(
    name: str, default: list[str] | None, help: str, required: bool = False
) -> flags.FlagHolder:
    """A flag of names that are joined by commas: at least one, and none of them empty."""
    holder = flags.DEFINE_list(name, default, help, required=required)
    flags.register_validator(
        name,
        lambda names: names is None or (len(names) > 0 and all(names)),
        "allowed: at least one name; several are joined by commas",
    )
    return holder


def whole_numbers(flag: str, texts: Sequence[str], most: int) -> list[int]:
    """The numbers of a flag that is a list.

    Raises:
      InputError: naming the first one that is no whole number from 1 to `most`.
    """
    for text in texts:
        if not re.fullmatch("0*[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            raise InputError(f"--{flag}: {text!r}; allowed: whole numbers from 1 to {most}")
    return list(map(int, texts))


def define_seed(help: str) -> flags.FlagHolder:
    """The flag --seed."""
    return flags.DEFINE_integer("seed", 0, help, lower_bound=0, upper_bound=MOST_SEED)
