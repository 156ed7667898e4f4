"""Names for things that a config may ask for, imported only when they are asked for."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from mmgen_jax.errors import InputError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from a name to what it stands for.

    A built-in is declared as `"module:attribute"` and imported at its first use, so that a config
    is checked (which names exist?) before jax is imported. What comes from outside the package
    is registered as an object:

        MODALITIES.register("depth", DEPTH)
    """

    def __init__(self, kind: str, builtins: Mapping[str, str | T]):
        self._kind = kind
        self._targets: dict[str, str | T] = dict(builtins)

    def register(self, name: str, target: T) -> None:
        """Adds `target` under `name`.

        Raises:
          InputError: if the name is taken (two plug-ins must not shadow one another silently).
        """
        if name in self._targets:
            raise InputError(f"{self._kind} {name!r} is registered already")
        self._targets[name] = target

    def unregister(self, name: str) -> None:
        """Takes `name` out again.

        Raises:
          InputError: if it is not registered.
        """
        self.check(name)
        del self._targets[name]

    def __getitem__(self, name: str) -> T:
        self.check(name)
        target = self._targets[name]
        if isinstance(target, str):
            target = self._targets[name] = _imported(target)
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


class deferred:  # noqa: N801, it is used as a function
    """A function that is imported when it is first called: `deferred("module:attribute")`."""

    def __init__(self, target: str):
        self._target = target

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Calls the function."""
        return _imported(self._target)(*args, **options)


def _imported(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)
