"""Which classes a folder has, and which of them a label of a line is.

A number is the class of that name: 7 is the class "7", whatever other classes there are. Where
`labels.txt` names the classes, a number is a position in it, from 0, as torch and others have it;
unless some of the names are numerals that stand elsewhere than they say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmgen_jax.data.names import listing, normalized, suggestion
from mmgen_jax.errors import InputError

LABELS = "labels.txt"
_NUMERAL = re.compile("0|[1-9][0-9]*")
_EXACT = 2**53  # up to which a float is the whole number that was meant


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
      names: normalized, each once.
      numbered: whether a number is a position among them; else it is the class of that name.
    """

    names: tuple[str, ...]
    numbered: bool = False

    def find(self, raw: Any) -> str:
        """Returns the class that a label is. Raises InputError if it is none."""
        number = whole(raw)
        if number is not None and self.numbered:
            if not 0 <= number < len(self.names):
                raise InputError(
                    f"label {raw} is out of range; allowed: 0 to {len(self.names) - 1}"
                )
            return self.names[number]
        if number is not None:
            if str(number) in self._known:
                return str(number)
            raise InputError(
                f"label {raw} is a number, and no class has that name; allowed:"
                f" {listing(self.names)}; a number is a position only in {LABELS}"
            )
        if isinstance(raw, str) and normalized(raw) in self._known:
            return normalized(raw)
        near = suggestion(raw, self.names) if isinstance(raw, str) else ""
        raise InputError(f"label {raw!r} is no class; allowed: {listing(self.names)}{near}")

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)


def occurring(labels: Sequence[Any]) -> Classes:
    """The classes of a data set without `labels.txt`: those that occur, in order.

    Where both names and numbers stand for classes, and the numbers are not the names of classes,
    nobody can say what is meant: those of which there are more are taken, and the others are no
    class.
    """
    texts = [normalized(label) for label in labels if isinstance(label, str)]
    numbers = [str(x) for x in map(whole, labels) if x is not None and x >= 0]
    names = {text for text in texts if text}
    words = [text for text in texts if text and not _NUMERAL.fullmatch(text)]
    others = [number for number in numbers if number not in names]
    if not words or len(words) < len(others):
        names = (names - set(words)) | set(numbers)
    if numbers and all(map(_NUMERAL.fullmatch, names)):
        return Classes(tuple(sorted(names, key=lambda name: (len(name), name))))
    return Classes(tuple(sorted(names)))


def read(path: Path) -> Classes:
    """The classes that a `labels.txt` names, one a line.

    Raises:
      InputError: if it cannot be read, or a line is empty or names a class a second time.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    first: dict[str, int] = {}
    for number, line in enumerate(text.rstrip().split("\n"), 1):
        name = normalized(line)
        wrong = "is empty" if not name else f"{name!r} stands in line {first.get(name)} already"
        if not name or name in first:
            between = ": " if name else " "
            raise InputError(
                f"{path}, line {number}{between}{wrong}; allowed: one name a line, each once"
            )
        first[name] = number
    names = tuple(first)
    at_home = (str(i) == n for i, n in enumerate(names) if _NUMERAL.fullmatch(n))
    return Classes(names, all(at_home))


def whole(raw: Any) -> int | None:
    """A whole number, else None. 3.0 is one: so does pandas write a column in which some lack."""
    if isinstance(raw, float) and abs(raw) <= _EXACT and raw.is_integer():
        return int(raw)
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None
