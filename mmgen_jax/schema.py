"""How config keys are declared, checked one by one, compared and stored."""

import json
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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


class Relation(Enum):
    """What a value must fit to, in the same group or beyond."""

    PATCH = "a side that divides height and width of what the group works on"
    HEADS = "a number that divides half of the width beside it, `X_width` for `X_heads`"
    PERIOD = "steps that have no divisor in common with those between a player's updates"


class Key(NamedTuple):
    """One config key.

    Attributes:
      default: its type is that of every value: bool, int, float (which takes whole numbers too),
        str, or a tuple.
      meaning: for people.
      rule: which values of the type are allowed.
      relation: what it must fit to, besides; None: to nothing.
      element: type of a tuple's elements; None for that of the default's first, or str if it is
        empty.
    """

    default: Any
    meaning: str
    rule: Rule
    relation: Relation | None = None
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
RATE = above(0, 1_000)  # of learning
TEMPERATURE = between(0, 1_000)
MOST_CODES = 2**24  # of a codebook, whose numbers float32 holds exactly


def one_of(*values: Any) -> Rule:
    """One of these values."""
    return Rule(lambda value: value in values, ", ".join(map(repr, values)))


def name_in(registry: Registry) -> Rule:
    """A registered name, those registered from outside the package included."""
    return Rule(registry.__contains__, lambda: ", ".join(registry))


Check = Callable[[Any, int, str], None]
"""(options, the height of what they work on, the group in the config) -> raises InputError."""


T = TypeVar("T")


def option(
    default: T,
    meaning: str,
    rule: Rule = ANY,
    relation: Relation | None = None,
    element: type | None = None,
) -> T:
    """Declares a field of a frozen dataclass of options, which is a config key too; see `Key`."""
    key = Key(default, meaning, rule, relation, element)
    if key.refusal(default) is not None:
        allowed = key.refusal(default)
        raise InputError(f"{meaning!r} is declared with {shown(default)}; allowed: {allowed}")
    return field(default=default, metadata={"key": key})


def keys_of(options: type) -> dict[str, Key]:
    """Returns the keys that a dataclass of options declares, by name."""
    return {f.name: f.metadata["key"] for f in fields(options) if "key" in f.metadata}


def read_options(kind: type[T], group: ConfigDict, **others: Any) -> T:
    """Builds options from a group of a config.

    Args:
      kind: the dataclass, whose fields are made by `option`.
      group: has a value for each of its keys; what else it has is left out.
      others: fields that are no keys.
    """
    values = {}
    for name, key in keys_of(kind).items():
        # A float's key takes whole numbers too.
        values[name] = float(group[name]) if isinstance(key.default, float) else group[name]
    return kind(**values, **others)


class Schema(NamedTuple):
    """The keys that a config has.

    Attributes:
      keys: by dotted path.
      groups: dotted paths; a group may have no keys of its own.
    """

    keys: dict[str, Key]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, groups: Mapping[str, Mapping[str, Key]]) -> "Schema":
        """The schema of these keys, by group and name."""
        keys = {f"{group}.{name}": key for group in groups for name, key in groups[group].items()}
        return cls(keys, tuple(groups))

    def default(self) -> ConfigDict:
        """A config of all keys at their defaults, locked against unknown ones."""
        config = ConfigDict()
        for group in self.groups:
            node = config
            for part in group.split("."):
                if part not in node:
                    node[part] = ConfigDict()
                node = node[part]
        for path, key in self.keys.items():
            group, _, name = path.rpartition(".")
            find(config, group)[name] = key.default
        return config.lock()

    def check(self, config: ConfigDict) -> None:
        """Refuses a config whose keys are others, or a value by its type or its rule.

        Raises:
          InputError: one line that names the key, the value and what is allowed.
        """
        found = self.values(config, "")
        for path, key in self.keys.items():
            if path not in found:
                raise InputError(f"config.{path} is missing; allowed: {key.type_rule.describe()}")
            self.check_value(path, found[path])

    def check_value(self, path: str, value: Any, where: str = "") -> None:
        """Raises InputError for a value that its key does not allow, naming `where`."""
        allowed = self.keys[path].refusal(value)
        if allowed is not None:
            raise InputError(f"config.{path} = {shown(value)}{where}; allowed: {allowed}")

    def values(
        self, tree: ConfigDict | Mapping[str, Any], where: str, prefix: str = ""
    ) -> dict[str, Any]:
        """Values by dotted path; descends no further than the groups do.

        Raises:
          InputError: for what is neither a key nor a group, naming `where`.
        """
        found = {}
        for name, value in tree.items():
            path = f"{prefix}{name}"
            is_group = any(group == path or group.startswith(f"{path}.") for group in self.groups)
            if is_group and isinstance(value, (ConfigDict, Mapping)) and "." not in name:
                found |= self.values(value, where, f"{path}.")
            elif path in self.keys and "." not in name:
                found[path] = value
            else:
                raise InputError(f"unknown config key {path[:200]}{where}")
        return found

    def from_dict(self, saved: Mapping[str, Any], where: str) -> ConfigDict:
        """The inverse of `ConfigDict.to_dict`, through JSON; what it lacks has its default.

        Raises:
          InputError: for a key that is not declared, or a value that its declaration does not
            allow, naming `where`.
        """
        config = self.default()
        for path, value in self.values(saved, f" in {where}").items():
            value = tuple(value) if isinstance(value, list) else value
            self.check_value(path, value, f" in {where}")
            group, _, name = path.rpartition(".")
            find(config, group)[name] = value
        return config


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


def save(config: ConfigDict, path: Path) -> None:
    """Writes a config as JSON, atomically."""
    write_text(path, json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n")


def load_json(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote.

    Raises:
      InputError: if the file is missing, or holds no JSON object.
    """
    try:
        saved = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read config {path}: {error}") from error
    if not isinstance(saved, dict):
        raise InputError(f"cannot read config {path}: it holds no JSON object")
    return saved


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """`path: old -> new` for every key that differs."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
