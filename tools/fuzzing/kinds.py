"""The kinds of cases, by name."""

import importlib

from tools.fuzzing.cases import Kind

# Imported when it is asked for: what a worker of one kind must not import, another needs.
PLACES = {
    "lines": "lines:LINES",
    "stepped": "stepped:STEPPED",
    "flags": "flag_cases:FLAGS",
    "damage": "damage:DAMAGE",
    "hostile": "hostile:HOSTILE",
    "broken": "broken:BROKEN",
}
COUNTS = {"lines": 10_000, "stepped": 200, "flags": 300, "damage": 200, "hostile": 100, "broken": 0}

BATCHES = {
    "lines": 50,
    "stepped": 10,
    "flags": 6,
    "damage": 10,
    "hostile": 10,
    "broken": 3,
}  # in one process


def kind(name: str) -> Kind:
    """The kind of cases with this name."""
    module, _, attribute = PLACES[name].partition(":")
    return getattr(importlib.import_module(f"tools.fuzzing.{module}"), attribute)
