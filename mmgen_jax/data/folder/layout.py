"""What a folder holds that is no data set of ours, and which keys may be meant, for messages."""

import difflib
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mmgen_jax.data.folder.fields import SOUNDS
from mmgen_jax.data.names import listing, normalized

METADATA = "metadata.jsonl"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_TABLES = ("metadata.csv", "metadata.parquet", "metadata.tsv", "metadata.json")
_SHARDS = (".parquet", ".arrow", ".tar", ".tfrecord", ".zip", ".tgz", ".tar.gz")
_SPLITS = {"train", "training", "test", "testing", "validation", "valid", "val", "dev"}
_MOST = 1_000  # entries of a folder that are looked at, for a message
_LINE = '{"file_name": "a.jpg", "text": "a red apple"}'

# What other data sets call what gives a modality, or the picture: the likeliest first.
_SYNONYMS = {
    "target": ("file_name", "file", "filename", "image", "path", "img", "picture", "photo"),
    "text": ("text", "caption", "prompt", "description", "sentence", "title", "alt", "name"),
    "label": ("label", "class", "category", "target", "species", "breed", "tag"),
    "audio": ("audio", "sound", "speech", "recording", "wav"),
    "image": ("image", "sketch", "mask", "reference", "conditioning", "control", "source"),
}


class _Found(NamedTuple):
    """The names of some entries of a folder, hidden ones left out, in order."""

    files: list[str]
    folders: list[str]
    hidden: bool


def refusal(root: Path) -> str:
    """Why `root` is no folder with a metadata.jsonl, in one line: what it is, and what to do."""
    if not root.exists():
        return _absence(root)
    if not root.is_dir():
        if root.name == METADATA:
            folder = shlex.quote(str(root.parent))
            return f"{root} is a file; its folder is meant: --config.data.path={folder}"
        unpacked = ", which an archive has to be unpacked to" if _ends(root.name, _SHARDS) else ""
        return f"{root} is a file; allowed: a folder with a {METADATA}{unpacked}"
    return f"{root} has no {METADATA}, and neither have its subfolders; " + _advice(root)


def _absence(root: Path) -> str:
    line = f"folder {root} is not there"
    if not root.parent.is_dir():
        return f"{line}, nor is {root.parent}"
    near = difflib.get_close_matches(root.name, _look(root.parent).folders)
    return line + (f"; near it is: {', '.join(near)}" if near else "")


def _advice(root: Path) -> str:
    """What is there instead, and what has to be done with it."""
    top = _look(root)
    below = {name: _look(root / name) for name in top.folders[:20]}
    everything = [*top.files, *(f"{name}/{file}" for name in below for file in below[name].files)]
    if "dataset_info.json" in {file.rpartition("/")[2] for file in everything}:
        return "it is a data set of TFDS: --config.data.name=tfds"
    for found, what in (
        (_named(everything, _TABLES), f"write {METADATA} beside it, a JSON object for each of its"
         f" rows, such as {_LINE}"),
        (_other_lines(everything), f"rename it to {METADATA}, if it has lines such as {_LINE}"),
    ):  # fmt: skip
        if found:
            return f"it has {listing(found, 3)}: {what}"
    deep = [f"{a}/{b}/{METADATA}" for a in below for b in below[a].folders[:20]
            if (root / a / b / METADATA).is_file()]  # fmt: skip
    if deep:
        place = shlex.quote(str(root / deep[0].partition("/")[0]))
        return f"it has {listing(deep, 3)}: name the folder above, --config.data.path={place}"
    return _advice_on_pictures(root, top, below) or _advice_on_rest(top, everything)


def _advice_on_pictures(root: Path, top: _Found, below: Mapping[str, _Found]) -> str:
    own = [name for name in top.files if _ends(name, PICTURES)]
    if own:
        texts = {name.rpartition(".")[0] for name in top.files if name.endswith(".txt")}
        if own[0].rpartition(".")[0] in texts:
            what, value = "pictures with a text beside each", "what its .txt says"
        else:
            what, value = "pictures without metadata", "a red apple"
        return (
            f"it has {what}: write a {METADATA}, a line for each, {_example(own[0], 'text', value)}"
        )
    deep = {f"{a}/{b}": _look(root / a / b) for a in islice(below, 5) for b in below[a].folders[:5]}
    in_classes, in_splits = _pictures(below), _pictures(deep)
    if in_classes and not {name.lower() for name in in_classes} <= _SPLITS:
        folder, file = next(iter(in_classes.items()))
        where, line = "", _example(f"{folder}/{file}", "label", folder)
    elif in_classes:
        file = next(iter(in_classes.values()))
        return (
            f"{listing(in_classes, 5)} hold pictures without metadata: write a {METADATA} in each,"
            f" a line for each picture, {_example(file, 'text', 'a red apple')}"
        )
    elif in_splits:
        (path, file), in_classes = next(iter(in_splits.items())), in_splits
        split, _, folder = path.partition("/")
        where, line = f" in each split, as {split}", _example(f"{folder}/{file}", "label", folder)
    else:
        return ""
    return (
        f"it seems to have a folder for each class ({listing(in_classes, 5)}): write a {METADATA}"
        f"{where}, a line for each picture, {line}"
    )


def _pictures(folders: Mapping[str, _Found]) -> dict[str, str]:
    """The first picture of each folder that has one."""
    first = {
        name: next((file for file in found.files if _ends(file, PICTURES)), "")
        for name, found in folders.items()
    }
    return {name: picture for name, picture in first.items() if picture}


def _advice_on_rest(top: _Found, everything: Sequence[str]) -> str:
    needed = f"it must have a line for each picture, such as {_LINE}"
    shards = [name for name in everything if _ends(name, _SHARDS)]
    if shards:
        return f"it has {listing(shards, 3)}: unpack them to files; {needed}"
    names = [*top.files, *(f"{name}/" for name in top.folders)]
    if names:
        return f"it holds {listing(names, 5)}; {needed}"
    return (
        f"it holds nothing but hidden files; {needed}" if top.hidden else f"it is empty; {needed}"
    )


def _example(file: str, key: str, value: str) -> str:
    return f'such as {{"file_name": "{file}", "{key}": "{value}"}}'


def _look(folder: Path) -> _Found:
    """Some of the entries of a folder; none of one that cannot be read."""
    files, folders, hidden = list[str](), list[str](), False
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, _MOST):
                if entry.name.startswith("."):
                    hidden = True
                else:
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError:
        pass
    return _Found(sorted(files), sorted(folders), hidden)


def _named(files: Iterable[str], names: Sequence[str]) -> list[str]:
    return [file for file in files if file.rpartition("/")[2].lower() in names]


def _other_lines(files: Iterable[str]) -> list[str]:
    return [file for file in files if _ends(file, (".jsonl", ".ndjson", METADATA + ".txt"))]


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def suggested(wanted: str, keys: Mapping[str, Sequence[Any]]) -> str:
    """The key that may hold what is wanted; empty if none is likely.

    Args:
      wanted: a kind of modality, or "target".
      keys: those that are there, and some of their values; none if they are not known.
    """
    fitting = [key for key, values in keys.items() if _fits(wanted, values)]
    for word in _SYNONYMS.get(wanted, ()):
        near = sorted((key for key in fitting if word in normalized(key).lower()), key=len)
        if near:
            return near[0]
    known = [key for key in fitting if keys[key]]
    return known[0] if len(known) == 1 else ""


def _fits(wanted: str, values: Sequence[Any]) -> bool:
    """Whether the values of a key, as far as they are known, can be a modality's."""
    if not values:
        return True
    texts = [value for value in values if isinstance(value, str)]
    sounds, pictures = (all(_ends(x, suffixes) for x in texts) for suffixes in (SOUNDS, PICTURES))
    if wanted == "label":
        return any(isinstance(x, (str, int, float)) for x in values) and not (
            texts and (sounds or pictures)
        )
    fits = {"audio": sounds, "image": pictures, "text": not sounds and not pictures}
    return bool(texts) and fits.get(wanted, True)
