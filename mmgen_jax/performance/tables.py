"""Tables in Markdown."""

from collections.abc import Sequence
from typing import Any


def versions(found: dict[str, Any]) -> str:
    """The libraries that a report was made with, in a line."""
    return ", ".join(f"{name} {text}" for name, text in found["versions"].items())


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
