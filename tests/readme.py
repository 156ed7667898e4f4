"""The commands of README.md and docs/: read from their indented blocks, and what files they need.

A comment `<!-- needs: REASON -->` above a block says that its commands cannot be run just so, and
why; `your files (NAME, ...)` names what a person must bring.

As a program, it validates launchers' command lines: `python -m tests.readme` reads a JSON list of
[script, arguments] and prints how each ended, having run up to the point where jax is imported.
"""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from tests.launching import ROOT

PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
STARTS = ("python ", "make ", "pip ", "tfds ", "export ", "sbatch ", "launch/", "PYTHONPATH=")
# What else stands in blocks: the objective, a line of metadata.jsonl, Python.
NO_COMMANDS = ("L(", "{", "from ", "import ", "state = ", "safetensors.", "MODALITIES.")
READ = (
    *("workdir", "workdirs", "audio", "image", "inpaint", "mask", "weights", "images", "reference"),
    *("raw", "config.data.path", "config.train.init_from", "config.tokenizer.latents"),
    "config.modalities.text.encoder_path",
)
BUILT = ("emoji", "digits")  # data sets that the recipes look for in data/


class Command(NamedTuple):
    """A command of a page.

    Attributes:
      page: of the repository.
      line: of the page, from 1.
      words: as a shell would split it, leading variables left out.
      needs: what its block is marked with; empty where it runs as it stands.
    """

    page: str
    line: int
    words: tuple[str, ...]
    needs: str

    @property
    def script(self) -> str:
        """The launcher, as launch/NAME; empty if it is none of Python's."""
        return self.words[1] if self.words[0] == "python" else ""

    def flag(self, name: str) -> list[str]:
        """The values of a flag."""
        start = f"--{name}="
        return [word.removeprefix(start) for word in self.words if word.startswith(start)]

    def reads(self) -> set[str]:
        """Files and folders that must be there before."""
        makes = self.makes()
        values = [value for name in READ for flag in self.flag(name) for value in flag.split(",")]
        for recipe in self.flag("config"):
            chosen = dict(re.findall(r"(\w+)=([^,]+)", recipe.partition(":")[2]))
            values += [chosen[key] for key in ("latents", "tokenizer") if key in chosen]
            if chosen.get("data") in BUILT and not self.flag("config.data.path"):
                values.append(f"data/{chosen['data']}")
        return set(values) - makes

    def makes(self) -> set[str]:
        """Files and folders that are there afterwards."""
        made = set(self.flag("out"))
        if self.words[:2] == ("tfds", "build"):
            made.add(self.words[2])
        if self.words[:2] == ("make", "quickstart"):
            made.add("runs/quickstart")
        if self.script == "launch/train.py":
            made |= set(self.flag("workdir"))
        if self.script == "launch/build_dataset.py" and not made:
            made = {f"data/{name}" for name in self.flag("dataset")}
        return made


def blocks(page: str) -> list[tuple[int, str, str]]:
    """(line, text, what it needs) of each line in the indented blocks, continued ones joined."""
    found, needs, joined, begun = [], "", "", 0
    text = (ROOT / page).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if mark := re.fullmatch(r"<!-- needs: (.+) -->", line):
            needs = mark[1]
        elif line.startswith("    "):
            begun = begun or number
            joined += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                found.append((begun, joined, needs))
                joined, begun = "", 0
        elif line:
            needs = ""
    return found


def commands() -> list[Command]:
    """Every command, in order."""
    found = []
    for page in PAGES:
        for number, text, needs in blocks(page):
            if text.startswith(STARTS):
                words = shlex.split(text, comments=True)
                while "=" in words[0] and not words[0].startswith("-"):
                    words.pop(0)
                found.append(Command(page, number, tuple(words), needs))
    return found


def validate(lines: list[list[str]]) -> list[list[str]]:
    """(verdict, message) of each [script, argument, ...]; jax must not have been imported."""
    from tools.fuzzing import cases, guard

    assert "jax" not in sys.modules
    sys.meta_path.insert(0, guard.Cut())
    ends = []
    for script, *arguments in lines:
        end = cases.judged(lambda s=script, a=arguments: cases.launched(Path(s).name, a))
        ends.append([end.verdict, f"{end.group} {end.detail}"])
    return ends


if __name__ == "__main__":
    json.dump(validate(json.load(sys.stdin)), sys.stdout)
