"""All keys of a config: those of the core, of every registered family and of every input."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax import schema
from mmgen_jax.config.core import CORE, OptimizerOptions
from mmgen_jax.config.renamed import with_current_names
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.schema import PATH, Key, Schema, keys_of, one_of

KIND = "kind"
NO_KINDS: Mapping[str, str] = {}
RESERVED = ("names",)  # a key beside the inputs


def is_input_name(name: str) -> bool:
    """Whether an input may be called so: it names a group of a config, and a flag."""
    return name not in RESERVED and re.fullmatch("[a-z][a-z0-9_]{0,40}", name) is not None


def schema_for(kinds: Mapping[str, str] = NO_KINDS) -> Schema:
    """Returns the keys of a config.

    There is an input of each registered kind of modality, by its name, and those of `kinds`.

    Args:
      kinds: name of an input -> its kind.

    Raises:
      InputError: for a kind that is not registered, or an input that goes by the name of another
        kind.
    """
    groups = {group: dict(keys) for group, keys in CORE.items()}
    groups["data.features"] = {}
    for name, kind in ({kind: kind for kind in MODALITIES} | dict(kinds)).items():
        if name in MODALITIES and kind != name:
            raise InputError(f"input {name!r} of kind {kind!r} has the name of another kind")
        of_kind = {KIND: Key(kind, "kind of modality that the input is of", one_of(kind))}
        groups[f"modalities.{name}"] = of_kind | keys_of(MODALITIES[kind].options)
        meaning = "feature of the data set that gives it; empty: the data set's own choice"
        groups["data.features"][name] = Key("", meaning, PATH)
    players: dict[str, None] = {}
    for name in GENERATORS:
        spec = GENERATORS[name]
        groups[f"generator.{name}"] = keys_of(spec.options)
        groups[f"generator.{name}.sample"] = keys_of(spec.sampling)
        players |= dict.fromkeys(spec.players)
    groups |= {f"optimizer.{player}": keys_of(OptimizerOptions) for player in players}
    return Schema.of(groups)


def all_keys() -> dict[str, Key]:
    """Returns the keys of a config that has one input of each kind, by dotted path."""
    return schema_for().keys


def kinds_of(config: ConfigDict | Mapping[str, Any]) -> dict[str, str]:
    """Returns a config's inputs and their kinds, but for those that go by the name of their kind.

    Args:
      config: of a run, or what is saved of it: anything that a file can hold.
    """
    inputs = config["modalities"] if "modalities" in config else {}
    if not isinstance(inputs, (ConfigDict, Mapping)):
        return {}
    found = {}
    for name, options in inputs.items():
        if isinstance(options, (ConfigDict, Mapping)) and KIND in options:
            kind = options[KIND]
            named = isinstance(kind, str) and kind != name and name not in MODALITIES
            if named and is_input_name(name):
                found[name] = kind
    return found


def default(kinds: Mapping[str, str] = NO_KINDS) -> ConfigDict:
    """A config of all keys at their defaults, locked against unknown ones; see `schema_for`."""
    return schema_for(kinds).default()


def from_dict(saved: Mapping[str, Any], where: str) -> ConfigDict:
    """The inverse of `ConfigDict.to_dict`, through JSON, of old names too; `Schema.from_dict`."""
    saved = with_current_names(saved)
    return _of(saved, where).from_dict(saved, where)


def load(path: Path) -> ConfigDict:
    """Reads what `schema.save` wrote.

    Raises:
      InputError: if the file is missing, no JSON object, or as `Schema.from_dict` does.
    """
    return from_dict(schema.load_json(path), str(path))


def check_values(config: ConfigDict) -> None:
    """Refuses keys that are not declared, and values that are not allowed; see `Schema.check`."""
    _of(config, "the config").check(config)


def _of(config: ConfigDict | Mapping[str, Any], where: str) -> Schema:
    try:
        return schema_for(kinds_of(config))
    except InputError as error:
        raise InputError(f"{error}; in {where}") from error
