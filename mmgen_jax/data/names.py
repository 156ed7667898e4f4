"""Names that people give to things, such as classes: one spelling of each, and which is meant."""

import difflib
import unicodedata
from collections.abc import Iterable


def normalized(name: str) -> str:
    """Returns the one spelling of a name: in Unicode's NFC, with single spaces and none around it.

    Whatever names a class goes through this function, where it is read and where it is asked for.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def meant(name: str, names: Iterable[str]) -> str | None:
    """Returns the one of `names` that a person means by `name`, or None.

    It is the name itself, or else the only one that differs from it in case alone.
    """
    spellings = dict.fromkeys(map(normalized, names))
    name = normalized(name)
    if name in spellings:
        return name
    same = [other for other in spellings if other.casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Returns at most so many of `names` that `name` may be a misspelling of, the best first."""
    folded: dict[str, list[str]] = {}
    for other in names:
        folded.setdefault(normalized(other).casefold(), []).append(other)
    found = difflib.get_close_matches(normalized(name).casefold(), folded, n=count)
    return [other for spelling in found for other in folded[spelling]][:count]


def suggestion(name: str, names: Iterable[str]) -> str:
    """Returns the end of a line that refuses a name: what was probably meant, if anything is near.

    Empty, or beginning with a semicolon.
    """
    near = " or ".join(map(repr, nearest(name, names)))
    return f"; did you mean {near}?" if near else ""


def listing(names: Iterable[str], most: int = 20) -> str:
    """Returns the first of many names, joined by commas, for a message."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
