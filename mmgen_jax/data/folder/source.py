"""A folder of files with a `metadata.jsonl` as a data source: nothing has to be converted.

The convention is that of the Hugging Face Hub's ImageFolder. Each line of metadata.jsonl is a JSON
object, and each of its keys is a feature:

    {"file_name": "a.jpg", "text": "a red apple", "label": "fruit", "audio_file_name": "a.wav"}

A key that ends in `file_name` names a file, relative to the folder of metadata.jsonl: a sound (wav,
flac, ogg) or a picture. A list holds alternatives, an object the same in several languages, and
null stands for what a record lacks. A label is the name of a class; `folder_labels` says what
becomes of a number. `labels.txt`, one name a line, says which classes there are, and without it
they are those that occur.

Subfolders with a metadata.jsonl of their own are the splits. Where there are none, a twentieth of
the records, but at least one of two or more, is split `test`, chosen by a hash of their names, the
rest `train`, and `all` is both.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmgen_jax.data import BadRecord, BadRecords, DataOptions, Record, SourceInfo, SourceSpec
from mmgen_jax.data.folder.check import check
from mmgen_jax.data.folder.fields import DECODERS, FILE, Fields, alternatives, parse
from mmgen_jax.data.folder.files import existing
from mmgen_jax.data.folder.labels import LABELS, Classes, occurring, read
from mmgen_jax.data.folder.layout import METADATA, refusal, suggested
from mmgen_jax.data.names import listing
from mmgen_jax.errors import InputError, expanded

TARGET = "file_name"
FEATURES = {
    "text": "text",
    "label": "label",
    "audio": "audio_file_name",
    "image": "image_file_name",
}
TEST_SHARE = 0.05


class Line(NamedTuple):
    """A line of metadata.jsonl, and its number from 1."""

    number: int
    text: bytes


class FolderSource:
    """One split of a folder; a `mmgen_jax.data.Source`.

    Attributes:
      info: what the folder holds.
      bad: the lines of its metadata.jsonl that cannot be used.
    """

    def __init__(self, options: DataOptions, split: str):
        """Opens a split; every file that it names is read once, and the verdict remembered.

        Raises:
          InputError: if there is no such folder or split, or it has no good record.
          BadRecords: naming all bad records, unless `options.on_bad_record` is "skip".
        """
        folder = _Folder(options)
        self.info = folder.info
        if split not in self.info.splits:
            allowed = ", ".join(self.info.splits)
            raise InputError(f"{folder.root} has no split {split!r}; allowed: {allowed}")
        root = folder.split_root(split)
        self._path, self._fields = root / METADATA, folder.fields(root)
        lines = _read_lines(root)
        reasons = check(self._path, lines, self._fields)
        self.bad = tuple(
            BadRecord(self._where(line), reasons[line.number])
            for line in lines
            if line.number in reasons
        )
        if self.bad and options.on_bad_record == "raise":
            raise BadRecords(self.bad, len(lines), str(root))
        good = [line for line in lines if line.number not in reasons]
        self._lines = good if folder.nested else _share(good, split, self._fields.target)
        if not self._lines:
            raise InputError(_emptiness(folder, split, len(good)))

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Record:
        """Record `index`. Raises IndexError if there is none."""
        line = self._lines[range(len(self))[index]]
        return self._fields.record(parse(line.text), partial(self._where, line))

    def where(self, index: int) -> str:
        """The line of a record, and its picture."""
        return self._where(self._lines[index])

    def _where(self, line: Line) -> str:
        try:
            name = parse(line.text).get(self._fields.target)
        except InputError:
            name = None
        # As it stands, unless it would not be seen or break the line.
        shown = name if isinstance(name, str) and name.isprintable() else repr(name)
        return f"{self._path}, line {line.number}" + (f" ({shown})" if name else "")


class _Folder:
    """What is known of a folder from its metadata alone."""

    def __init__(self, options: DataOptions):
        if not options.path:
            raise InputError(f"config.data.path is empty; allowed: a folder that holds {METADATA}")
        self._options, self.root = options, existing(Path(), str(expanded(options.path)))
        self._roots = _roots(self.root)
        self.nested = self.root not in self._roots.values()
        features, self._kinds = options.features.items(), options.kinds
        self._features = {name: key or self._usual_key(name) for name, key in features}
        self._target = options.target or TARGET
        self._classes: dict[str, Classes] = {}
        self.info = self._describe()

    def split_root(self, split: str) -> Path:
        return self._roots[split]

    def fields(self, root: Path) -> Fields:
        """How the lines below a folder are read."""
        features = {m: key for m, key in self._features.items() if m in self.info.modalities}
        languages = tuple(self._options.languages)
        return Fields(root, self._target, features, self._kinds, languages, self._classes)

    def _usual_key(self, name: str) -> str:
        """The key of an input for which the config names none; empty where none is usual."""
        kind = self._kinds[name]
        if name == kind:
            return FEATURES.get(name, "")
        return f"{name}_{FILE}" if kind in DECODERS else name

    def lacking(self, name: str) -> str:
        """Why there is no such input, and which flag might give it."""
        key, values = self._features.get(name, ""), dict[str, list[Any]]()
        for fields in self._parsed():
            for other, value in fields.items():
                values.setdefault(other, []).extend(alternatives(value, ()))
        if key in values:
            return f"no value of its key {key!r} is a name or a whole number"
        taken = {self._target, *(self._features[other] for other in self.info.modalities)}
        free = {other: found for other, found in values.items() if other not in taken}
        guess = suggested(self._kinds[name], free)
        return (
            f"no line of {METADATA} in {self.root} has the key {key!r}, but:"
            f" {listing(sorted(values))}; type --config.data.features.{name}={guess or 'KEY'}"
        )

    def _describe(self) -> SourceInfo:
        keys: set[str] = set()
        spoken: set[str] = set()
        labels: dict[str, list[Any]] = {n: [] for n, kind in self._kinds.items() if kind == "label"}
        languages = tuple(self._options.languages)
        for fields in self._parsed():
            keys |= fields.keys()
            for name, found in labels.items():
                found += alternatives(fields.get(self._features[name]), languages)
            for key in self._features.values():
                if isinstance(fields.get(key), dict):
                    spoken |= fields[key].keys()
        self._check_options(keys, spoken)
        modalities = [name for name, key in self._features.items() if key in keys]
        for name in [name for name in modalities if name in labels]:
            classes = self._read_classes(name, labels[name])
            if classes.names:
                self._classes[name] = classes
            else:  # null in all lines
                modalities.remove(name)
        classes = {name: known.names for name, known in self._classes.items()}
        return SourceInfo(tuple(modalities), tuple(self._roots), classes)

    def _read_classes(self, name: str, labels: list[Any]) -> Classes:
        """Those of `labels.txt`, which are input `label`'s, or those that occur."""
        if name != "label":
            return occurring(labels)
        file = self.root / LABELS
        if file.is_file():
            return read(file)
        for root in self._roots.values():
            if (root / LABELS).is_file():
                raise InputError(
                    f"{root / LABELS} is not read; allowed: one for all splits, {file}"
                )
        return occurring(labels)

    def _parsed(self) -> Iterator[Mapping[str, Any]]:
        """All lines that can be read. Raises InputError if there is none."""
        lines = [line for root in dict.fromkeys(self._roots.values()) for line in _read_lines(root)]
        errors = []
        for line in lines:
            try:
                yield parse(line.text)
            except InputError as error:  # it is named when the split is opened
                errors.append(error)
        if len(errors) == len(lines):
            reason = errors[0] if errors else "there is none"
            raise InputError(f"no line of {METADATA} in {self.root} can be used: {reason}")

    def _check_options(self, keys: set[str], languages: set[str]) -> None:
        asked = {f"features.{name}": key for name, key in self._options.features.items() if key}
        for option, key in {**asked, "target": self._target}.items():
            if key not in keys:
                wanted = self._kinds.get(option.removeprefix("features."), option)
                guess = suggested(wanted, dict.fromkeys(keys, ()))
                raise InputError(
                    f"config.data.{option} = {key!r}: no line of {METADATA} in {self.root} has such"
                    f" a key; allowed: {', '.join(sorted(keys))}"
                    + (f"; type --config.data.{option}={guess}" if guess else "")
                )
        unknown = set(self._options.languages) - languages
        if unknown:
            allowed = ", ".join(sorted(languages)) or "none, as no value is an object of languages"
            raise InputError(
                f"config.data.languages has {min(unknown)!r}, which no line of {METADATA} in"
                f" {self.root} has; allowed: {allowed}"
            )


def _roots(root: Path) -> dict[str, Path]:
    """Where the metadata of each split is. Raises InputError if there is none."""
    try:
        whole = (root / METADATA).is_file()
        parts = sorted(path.parent for path in root.glob(f"[!.]*/{METADATA}"))
    except OSError as error:
        raise InputError(f"cannot read {root}: {error.strerror}") from error
    if whole and parts:
        raise InputError(
            f"{root} has a {METADATA}, and so has {parts[0]}; allowed: one for all, or one in each"
            " subfolder that is a split"
        )
    if not whole and not parts:
        raise InputError(refusal(root))
    return {p.name: p for p in parts} or dict.fromkeys(("train", "test", "all"), root)


def _read_lines(root: Path) -> list[Line]:
    """The lines that are not blank. Raises InputError if the file cannot be read."""
    path = root / METADATA
    try:
        # Some editors begin a file with a mark that is no part of the text.
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return [Line(i, line) for i, line in enumerate(lines, 1) if line.strip()]


def _share(lines: list[Line], split: str, target: str) -> list[Line]:
    """A part of a folder that has no splits of its own.

    What is in one stays there, whatever else comes or goes; but for the one record that is all
    of a split of few.
    """
    if split == "all":
        return lines
    hashes = [_hash(parse(line.text)[target]) for line in lines]
    border = _border(hashes)
    wanted = split == "test"
    return [line for line, h in zip(lines, hashes, strict=True) if (h <= border) == wanted]


def _border(hashes: Iterable[float]) -> float:
    """The largest hash of split `test`; of two records or more, each split has at least one."""
    ordered = sorted(set(hashes))
    if len(ordered) < 2:
        return -1.0
    return min(max(TEST_SHARE, ordered[0]), ordered[-2])


def _emptiness(folder: "_Folder", split: str, good: int) -> str:
    """Why a split has no record, and what to do."""
    if good:  # one, which is trained on
        return (
            f"{folder.root} has one good record, and none is left for split {split!r}; add more, or"
            " use it for both: --config.data.split=all --config.eval.split=all"
        )
    return f"split {split!r} of {folder.root} has no good record; it needs one"


def _hash(name: str) -> float:
    """A number in [0, 1) that looks random and never changes."""
    text = json.dumps(name)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


FOLDER = SourceSpec(
    lambda options: _Folder(options).info,
    FolderSource,
    lambda options, name: _Folder(options).lacking(name),
)
"""The data set for the registry."""
