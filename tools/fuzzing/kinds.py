"""The kinds of cases, by name."""

from tools.fuzzing.lines import LINES
from tools.fuzzing.stepped import STEPPED

KINDS = {kind.name: kind for kind in (LINES, STEPPED)}
