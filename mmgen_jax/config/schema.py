"""How config keys are declared, checked one by one, compared and stored."""

import json
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmgen_jax.errors import InputError
from mmgen_jax.registry import Registry
from mmgen_jax.storage import read_json, write_text


class Rule(NamedTuple):
    """A check of one value.

    Attributes:
      allows: whether a value is allowed.
      allowed: the same in words, for the error message; a function where it may still change.
    """

    allows: Callable[[Any], bool]
    allowed: str | Callable[[], str]

    def describe(self) -> str:
        """What is allowed, in words."""
        return self.allowed if isinstance(self.allowed, str) else self.allowed()


MOST = 2**31 - 1  # steps, rows and indices are int32 on a device
MOST_WIDTH = 2**16  # channels of any layer
MOST_LAYERS = 1_000
MOST_HEADS = 1_024
MOST_GUIDANCE = 100
MOST_SIDE = 8_192  # pixels, latents or patches along a side
LARGEST = 3.4028234e38  # of float32
LONGEST = 4_096  # characters of a text, as of a path on Linux


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and not any(c < " " for c in value)


def _is_number(value: Any) -> bool:
    # The comparison is false for NaN, and exact for integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


# By the type of a default, whose subclasses must not stand in: a bool is an int to Python.
TYPES: dict[type, tuple[Rule, str]] = {
    bool: (Rule(lambda value: isinstance(value, bool), "True or False"), "booleans"),
    int: (Rule(_is_whole, "a whole number"), "whole numbers"),
    float: (Rule(_is_number, "a finite number"), "finite numbers"),
    str: (Rule(_is_text, f"one line of at most {LONGEST} characters"), "texts of one line"),
}


class Key(NamedTuple):
    """One config key.

    Attributes:
      default: its type is that of every value: bool, int, float (which takes whole numbers too),
        str, or a tuple.
      meaning: for people.
      rule: which values of the type are allowed.
      element: type of a tuple's elements; None for that of the default's first, or str if it is
        empty.
    """

    default: Any
    meaning: str
    rule: Rule
    element: type | None = None

    @property
    def type_rule(self) -> Rule:
        """Which values have the declared type."""
        if not isinstance(self.default, tuple):
            return TYPES[type(self.default)][0]
        element = self.element or (type(self.default[0]) if self.default else str)
        of_one, plural = TYPES[element]
        return Rule(
            lambda value: isinstance(value, tuple) and all(map(of_one.allows, value)),
            f"a tuple of {plural}",
        )

    def refusal(self, value: Any) -> str | None:
        """What is allowed instead of `value`; None where that is allowed itself."""
        for rule in (self.type_rule, self.rule):
            if not rule.allows(value):
                return rule.describe()
        return None


def between(low: float | int, high: float | int) -> Rule:
    """Numbers from `low` to `high`, both included."""
    return Rule(lambda value: low <= value <= high, f"at least {low}, at most {high}")


def at_least(bound: float | int) -> Rule:
    """Numbers from `bound` on, as far as an int32 can count."""
    return between(bound, MOST)


def above(bound: float | int, high: float | int = MOST) -> Rule:
    """Numbers beyond `bound`, up to `high`."""
    return Rule(lambda value: bound < value <= high, f"more than {bound}, at most {high}")


def each(rule: Rule, at_most: int = 32) -> Rule:
    """Tuples of one to `at_most` elements that `rule` allows."""
    return Rule(
        lambda value: 0 < len(value) <= at_most and all(map(rule.allows, value)),
        lambda: f"at least one and at most {at_most}, each {rule.describe()}",
    )


ANY = Rule(lambda value: True, "anything of its type")
PATH = Rule(lambda value: not value or bool(value.strip()), "a path or a name, or empty")
NOT_EMPTY = Rule(lambda value: bool(value.strip()), "a name that is not empty")
NAMES = Rule(
    lambda value: all(map(str.strip, value)) and len(set(value)) == len(value) <= LONGEST,
    "names that are not empty, none of them twice",
)
FRACTION = Rule(lambda value: 0 <= value <= 1, "0 to 1")
DECAY = Rule(lambda value: 0 <= value < 1, "from 0 to less than 1")
SIGN = Rule(lambda value: -1 <= value <= 1, "-1 to 1")
COUNT = between(1, MOST)
COUNT_OR_NONE = between(0, MOST)
WIDTH = between(8, MOST_WIDTH)
CHANNELS = between(1, MOST_WIDTH)
LAYERS = between(1, MOST_LAYERS)
HEADS = between(1, MOST_HEADS)
SIDE = between(1, MOST_SIDE)
WEIGHT = between(0, 1_000_000)  # of a term of the objective
SEED = between(0, 2**32 - 1)
WIDTHS = each(CHANNELS)


def one_of(*values: Any) -> Rule:
    """One of these values."""
    return Rule(lambda value: value in values, ", ".join(map(repr, values)))


def name_in(registry: Registry) -> Rule:
    """A registered name, those registered from outside the package included."""
    return Rule(registry.__contains__, lambda: ", ".join(registry))


KEYS: dict[str, Key] = {}
GROUPS: dict[str, None] = {}  # an ordered set: a group may have no keys of its own
Check = Callable[[ConfigDict, int], None]
CHECKS: dict[str, Check] = {}  # by group
GUIDANCE: dict[str, Rule] = {}  # by family: which guidance weights it understands
DRAWS: dict[str, tuple[str, ...]] = {}  # by family: pixels, a tokenizer's latents, or its codes
SQUARE: set[str] = set()  # the families that draw pictures as wide as high


class Latents(NamedTuple):
    """What a family's runs offer to others, as functions of its options.

    Attributes:
      side: pixels along each side of what one latent stands for.
      kind: codes, or latents where they are continuous.
    """

    side: Callable[[ConfigDict], int]
    kind: Callable[[ConfigDict], str]


LATENTS: dict[str, Latents] = {}  # by family; what is not here serves no other


def declare(prefix: str, keys: Mapping[str, Key], check: Check | None = None) -> None:
    """Adds keys under a group, such as `modalities.depth`.

    Args:
      prefix: the group.
      keys: by name.
      check: (the group, the height of what is drawn) -> raises InputError for values that cannot
        work together; called where the modality or the family is used.

    Raises:
      InputError: if one of them is declared already, or its default is not allowed.
    """
    GROUPS[prefix] = None
    if check is not None:
        CHECKS[prefix] = check
    for name, key in keys.items():
        path = f"{prefix}.{name}"
        if path in KEYS:
            raise InputError(f"config key {path} is declared already")
        if key.refusal(key.default) is not None:
            raise InputError(
                f"config key {path} is declared with default {shown(key.default)}; allowed: "
                + str(key.refusal(key.default))
            )
        KEYS[path] = key


def default() -> ConfigDict:
    """A config of all declared keys at their defaults, locked against unknown ones."""
    config = ConfigDict()
    for group in GROUPS:
        node = config
        for part in group.split("."):
            if part not in node:
                node[part] = ConfigDict()
            node = node[part]
    for path, key in KEYS.items():
        group, _, name = path.rpartition(".")
        find(config, group)[name] = key.default
    return config.lock()


def find(config: ConfigDict, group: str) -> ConfigDict:
    """The part of a config under a dotted path."""
    for part in group.split("."):
        config = config[part]
    return config


def leaves(config: ConfigDict | Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a nested config."""
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, (ConfigDict, dict)):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, but never long, however large or deep it is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxtuple = short.maxlist = short.maxdict = 20
    short.maxlong, short.maxlevel = 60, 4
    return " ".join(short.repr(value).split())


def check_values(config: ConfigDict) -> None:
    """Refuses a config whose keys are not those declared, or a value by its type or its rule.

    Raises:
      InputError: one line that names the key, the value and what is allowed.
    """
    found = _declared(config, "")
    for path, key in KEYS.items():
        if path not in found:
            raise InputError(f"config.{path} is missing; allowed: {key.type_rule.describe()}")
        _check_value(path, found[path])


def _check_value(path: str, value: Any, where: str = "") -> None:
    allowed = KEYS[path].refusal(value)
    if allowed is not None:
        raise InputError(f"config.{path} = {shown(value)}{where}; allowed: {allowed}")


def _declared(tree: ConfigDict | Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    """Values by dotted path; descends no further than declared groups do.

    Raises:
      InputError: for what is declared neither as a key nor as a group, naming `where`.
    """
    found = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        is_group = any(group == path or group.startswith(f"{path}.") for group in GROUPS)
        if is_group and isinstance(value, (ConfigDict, Mapping)) and "." not in name:
            found |= _declared(value, where, f"{path}.")
        elif path in KEYS and "." not in name:
            found[path] = value
        else:
            raise InputError(f"unknown config key {path[:200]}{where}")
    return found


def save(config: ConfigDict, path: Path) -> None:
    """Writes a config as JSON, atomically."""
    write_text(path, json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n")


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote.

    Raises:
      InputError: if the file is missing, no JSON object, or as `from_dict` does.
    """
    try:
        saved = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read config {path}: {error}") from error
    if not isinstance(saved, dict):
        raise InputError(f"cannot read config {path}: it holds no JSON object")
    return from_dict(saved, str(path))


def from_dict(saved: Mapping[str, Any], where: str) -> ConfigDict:
    """The inverse of `ConfigDict.to_dict`, through JSON; keys that it lacks have their default.

    Raises:
      InputError: for a key that is not declared, or a value that its declaration does not allow,
        naming `where`.
    """
    config = default()
    for path, value in _declared(saved, f" in {where}").items():
        value = tuple(value) if isinstance(value, list) else value
        _check_value(path, value, f" in {where}")
        group, _, name = path.rpartition(".")
        find(config, group)[name] = value
    return config


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """`path: old -> new` for every key that differs."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
