"""Names for things that a config may ask for, imported only when they are asked for."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmgen_jax.errors import InputError


class Registry(Mapping[str, Any]):
    """A mapping from a name to what it stands for.

    A built-in is declared as `"module:attribute"` and imported at its first use, so that a config
    is checked (which names exist?) before jax is imported. What comes from outside the package
    is registered as an object:

        MODALITIES.register("depth", DEPTH)
    """

    def __init__(self, kind: str, builtins: Mapping[str, str]):
        self._kind = kind
        self._targets: dict[str, Any] = dict(builtins)

    def register(self, name: str, target: Any) -> None:
        """Adds `target` under `name`.

        Raises:
          InputError: if the name is taken (two plug-ins must not shadow one another silently).
        """
        if name in self._targets:
            raise InputError(f"{self._kind} {name!r} is registered already")
        self._targets[name] = target

    def __getitem__(self, name: str) -> Any:
        self.check(name)
        target = self._targets[name]
        if isinstance(target, str):
            module, attribute = target.split(":")
            target = self._targets[name] = getattr(importlib.import_module(module), attribute)
        return target

    def check(self, name: str) -> None:
        """Raises InputError unless `name` is registered; imports nothing."""
        if name not in self._targets:
            allowed = ", ".join(self._targets)
            raise InputError(f"unknown {self._kind} {name!r}; allowed: {allowed}")

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)
