"""What commands print, while somebody reads it."""

import os
import sys
from pathlib import Path


def hush() -> None:
    """Has what nobody reads any more go nowhere: Python, ending, would complain of it."""
    for name in ("stdout", "stderr"):
        try:
            print(end="", file=getattr(sys, name), flush=True)
        except (OSError, ValueError):
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, to the end
            setattr(sys, name, nowhere)
