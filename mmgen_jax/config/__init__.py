"""Every config key, declared once, with its default, its meaning and its check.

Nothing here imports jax: a config that cannot work is refused before jax is loaded. A modality or
a family from outside the package brings its own keys (`ModalitySpec.options`,
`FamilySpec.options`).
"""

from collections.abc import Mapping
from typing import Any

from mmgen_jax.config.declared import all_keys, default, is_input_name, kinds_of, schema_for
from mmgen_jax.config.validation import from_dict, load, mesh_shape, validate
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.schema import (
    ANY,
    FRACTION,
    WIDTHS,
    Key,
    Rule,
    above,
    at_least,
    between,
    differences,
    leaves,
    name_in,
    one_of,
    option,
    read_options,
    save,
)

__all__ = [
    "ANY",
    "FRACTION",
    "WIDTHS",
    "Key",
    "Rule",
    "above",
    "all_keys",
    "at_least",
    "between",
    "choose",
    "default",
    "differences",
    "from_dict",
    "kinds_of",
    "leaves",
    "load",
    "mesh_shape",
    "name_in",
    "one_of",
    "option",
    "parse_argument",
    "parse_inputs",
    "read_options",
    "save",
    "schema_for",
    "validate",
]


def parse_argument(argument: str | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """Reads a recipe's `key=value,key=value`.

    Raises:
      InputError: for a key that `defaults` does not have, or a part without `=`.
    """
    chosen, before = dict(defaults), ""
    for part in filter(None, (argument or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals and before:
            raise InputError(
                f"recipe argument {part!r} has no =; allowed: several values joined by +, as in"
                f" {before}+{part}"
            )
        before = part
        if not equals or key not in defaults:
            raise InputError(
                f"unknown recipe argument {part!r}; allowed: "
                + ", ".join(f"{name}=..." for name in defaults)
            )
        chosen[key] = value
    return chosen


def parse_inputs(joined: str) -> dict[str, str]:
    """Reads `text+label`, or `text+sketch:image+style:image`: inputs by name, and their kinds.

    Raises:
      InputError: for a kind that is not there, a name that is none, or one that comes twice.
    """
    inputs: dict[str, str] = {}
    for part in joined.split("+"):
        name, colon, kind = part.partition(":")
        kind = kind if colon else name
        MODALITIES.check(kind)
        if not is_input_name(name):
            raise InputError(
                f"input {part!r}: {name!r} is no name; allowed: small letters, digits and _, such"
                f" as sketch:{kind}"
            )
        if name in inputs:
            raise InputError(f"input {name!r} is named twice; allowed: names that differ")
        inputs[name] = kind
    schema_for({name: kind for name, kind in inputs.items() if name != kind})
    return inputs


def choose(what: str, name: str, options: Mapping[str, Any]) -> Any:
    """`options[name]`, or InputError that lists what is allowed."""
    if name not in options:
        raise InputError(f"unknown {what} {name!r}; allowed: {', '.join(options)}")
    return options[name]
