"""What the launchers that fill the tables of docs/ share."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmgen_jax.errors import Failure, InputError
from mmgen_jax.storage import read_json, write_text

ROOT = Path(__file__).parents[1]


def once(path: Path, facts: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> Any:
    """What `compute` finds, from a file if it was found before: a table that is cut off goes on.

    Raises:
      InputError: if it was found for something else.
    """
    if path.exists():
        kept = _kept(path)
        if kept["of"] != facts:
            raise InputError(
                f"{path} is of {kept['of']}, not of {facts}; allowed: another --workdir"
            )
        return kept["found"]
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"of": facts, "found": found}) + "\n"
    write_text(path, text)
    return found


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept = read_json(path)
        return {"of": kept["of"], "found": kept["found"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not what was found before; move it, or choose another --workdir"
        ) from error


def run(script: str, *flags: str) -> None:
    """A launcher in a process of its own; its output is this one's.

    Raises:
      InputError: if that is what it ends with.
      Failure: if it does not end well otherwise.
    """
    command = [sys.executable, str(ROOT / "launch" / script), *flags]
    if code := subprocess.run(command, check=False).returncode:
        kind = InputError if code == 2 else Failure
        raise kind(f"{script} ended with {code}; what is done stays, and is not done again")


def reported(script: str, out: Path, *flags: str) -> dict[str, Any]:
    """What a launcher writes to `--out`; it is not run again for the same flags."""

    def find() -> dict[str, Any]:
        run(script, *flags, f"--out={out}")
        return read_json(out)

    out.parent.mkdir(parents=True, exist_ok=True)
    return once(out.with_suffix(".done.json"), {"script": script, "flags": list(flags)}, find)
