"""Where commands write what they make: nothing is replaced that the same command did not make.

A file is known to be a command's own by a mark in it: the text `Software` of a PNG, the key
`made_by` of a JSON object, a comment on the first line of Markdown, the metadata of safetensors.
Other formats carry no mark, so an existing file of them is only replaced with --overwrite.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen_jax.errors import InputError
from mmgen_jax.storage import check_file, read_json, read_text, write_text

KEY = "made_by"  # of a JSON object
# What a run keeps in its folder (`training.run`); no command but training writes there.
RUN_FILES = ("config.json", "metrics.jsonl", "skipped_records.json")
RUN_FOLDERS = ("assets", "checkpoints", "samples", "tensorboard")
# Bytes; systems take 255, and a folder is first made under a name that is a little longer.
LONGEST_NAME = 240


@dataclass(frozen=True)
class Output:
    """A file that a command writes, and files of the same name beside it.

    Attributes:
      path: the file.
      software: what marks it, such as "mmgen_jax sample".
    """

    path: Path
    software: str

    def beside(self, suffix: str) -> "Output":
        """The file of the same name with another suffix."""
        return Output(self.path.with_suffix(suffix), self.software)

    def named(self, name: str) -> "Output":
        """Another file in the same folder."""
        return Output(self.path.with_name(name), self.software)

    def write_markdown(self, text: str) -> None:
        """Writes a Markdown file with its mark."""
        write_text(self.path, f"{_comment(self.software)}\n{text}")

    def marked(self, content: dict[str, Any]) -> dict[str, Any]:
        """A JSON object with its mark."""
        return content | {KEY: self.software}

    def __str__(self) -> str:
        return str(self.path)


def check(flag: str, outputs: Iterable[Output], overwrite: bool) -> None:
    """Refuses files that must not be written, before any work.

    Args:
      flag: that names them, with its value, for people.
      outputs: all files that the command may write.
      overwrite: whether the user gave up what is there.

    Raises:
      InputError: if a folder is not there, a name is too long, a file is one of a run's own, or
        something is there that another command, or a person, has made.
    """
    for output in outputs:
        path, folder = output.path, output.path.parent
        _check_names(flag, path)
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(f"{flag}: folder {folder} is not there or cannot be written")
        check_outside_run(flag, path)
        if not os.path.lexists(path):
            continue
        try:
            check_file(path)
        except OSError as error:
            raise InputError(f"{flag}: {path} cannot be replaced: {error.strerror}") from error
        if _is_own(output):
            continue
        if run_of(path) is not None:
            raise InputError(
                f"{flag}: {path} lies in a run, and {output.software} did not make it; choose"
                " another name"
            )
        if not overwrite:
            raise InputError(
                f"{flag}: {path} exists, and {output.software} did not make it; choose another"
                " name, or replace it with --overwrite"
            )


def check_folder(flag: str, folder: Path) -> None:
    """Refuses a folder that cannot be made or written, before any work.

    Raises:
      InputError: if it, or what it is to lie in, is a file, or cannot be written.
    """
    place = _nearest_folder(flag, folder)
    if not os.access(place, os.W_OK):
        raise InputError(f"{flag}: folder {place} cannot be written")


def _nearest_folder(flag: str, folder: Path) -> Path:
    """Returns a folder, or what it is to be made in; raises InputError where that is a file."""
    _check_names(flag, folder)
    place = _absolute(folder)
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{flag}: {place} is no folder; choose another")
    return place


def _check_names(flag: str, path: Path) -> None:
    for name in path.parts:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise InputError(
                f"{flag}: the name {name[:20]!r}... is too long; allowed: {LONGEST_NAME} bytes"
            )


def check_workdir(workdir: Path) -> None:
    """Refuses a run's folder in which something else stands where the run will write.

    Raises:
      InputError: naming it.
    """
    _nearest_folder(f"--workdir={workdir}", workdir)  # its lock says why it cannot be written
    for name in (*RUN_FILES, *RUN_FOLDERS):
        path = workdir / name
        if not os.path.lexists(path):
            continue
        good = path.is_dir() if name in RUN_FOLDERS else path.is_file()
        if not good:
            kind = "folder" if name in RUN_FOLDERS else "file"
            raise InputError(f"{path} must be a {kind} of the run, and is something else; move it")


def check_outside_run(flag: str, path: Path) -> None:
    """Raises InputError if a path is one of those that a run keeps for itself."""
    run = run_of(path)
    if run is not None and _absolute(path).relative_to(run).parts[0] in (*RUN_FILES, *RUN_FOLDERS):
        raise InputError(f"{flag}: {path} would be one of the run's own files; choose another name")


def run_of(path: Path) -> Path | None:
    """The run in whose folder a path lies, at whatever depth; None if there is none."""
    for folder in _absolute(path).parents:
        parts = (folder / "assets", folder / "checkpoints")
        if (folder / "config.json").is_file() and any(part.is_dir() for part in parts):
            return folder
    return None


def _absolute(path: Path) -> Path:
    """Without links and `..` in its folder; the file itself may be a link."""
    return path.parent.resolve() / path.name


def _is_own(output: Output) -> bool:
    read = _MARKS.get(output.path.suffix)
    try:
        return read is not None and read(output.path) == output.software
    except (OSError, ValueError, SyntaxError):  # broken, or no such file at all: not ours
        return False


def _of_png(path: Path) -> Any:
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        return image.info.get("Software")


def _of_json(path: Path) -> Any:
    content = read_json(path)
    return content.get(KEY) if isinstance(content, dict) else None


def _of_markdown(path: Path) -> Any:
    first = read_text(path).partition("\n")[0]
    return first.removeprefix("<!-- ").removesuffix(" -->")


def _of_safetensors(path: Path) -> Any:
    import safetensors

    try:
        with safetensors.safe_open(path, "numpy") as file:
            return (file.metadata() or {}).get(KEY)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _comment(software: str) -> str:
    return f"<!-- {software} -->"


_MARKS: dict[str, Callable[[Path], Any]] = {
    ".png": _of_png,
    ".json": _of_json,
    ".md": _of_markdown,
    ".safetensors": _of_safetensors,
}
