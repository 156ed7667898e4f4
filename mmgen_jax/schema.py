"""How config keys are declared, checked one by one, compared and stored."""

import json
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


class Key(NamedTuple):
    """One config key."""

    default: Any
    meaning: str
    rule: Rule


ANY = Rule(lambda value: True, "anything")
FRACTION = Rule(lambda value: 0 <= value <= 1, "0 to 1")
DECAY = Rule(lambda value: 0 <= value < 1, "from 0 to less than 1")
SIGN = Rule(lambda value: -1 <= value <= 1, "-1 to 1")
WIDTHS = Rule(
    lambda value: bool(value) and all(isinstance(v, int) and v > 0 for v in value),
    "whole numbers above 0, at least one",
)


def at_least(bound: float | int) -> Rule:
    """Numbers from `bound` on."""
    return Rule(lambda value: value >= bound, f"at least {bound}")


def above(bound: float | int) -> Rule:
    """Numbers beyond `bound`."""
    return Rule(lambda value: value > bound, f"more than {bound}")


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
      InputError: if one of them is declared already.
    """
    GROUPS[prefix] = None
    if check is not None:
        CHECKS[prefix] = check
    for name, key in keys.items():
        path = f"{prefix}.{name}"
        if path in KEYS:
            raise InputError(f"config key {path} is declared already")
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
    """The inverse of `ConfigDict.to_dict`, through JSON.

    Raises:
      InputError: for a key that is not declared, or a value of another type, naming `where`.
    """
    config = default()
    for key, value in leaves(saved):
        group, _, name = key.rpartition(".")
        if key not in KEYS:
            raise InputError(f"unknown config key {key} in {where}")
        node = config
        for part in group.split("."):
            node = node[part]
        try:
            node[name] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            raise InputError(f"config.{key} = {value!r} in {where}: {error}") from error
    return config


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """`path: old -> new` for every key that differs."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
