"""From one line of a `metadata.jsonl` to a record."""

import io
import json
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmgen_jax.data import BadRecord, Lazy, OneOf, Record
from mmgen_jax.data.folder.files import existing, in_other_case
from mmgen_jax.data.folder.labels import Classes
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import decode_sound
from mmgen_jax.media.images import decode_image
from mmgen_jax.storage import RepeatedKey, parse_json

FILE = "file_name"  # what a key ends in that names a file
SOUNDS = (".wav", ".flac", ".ogg", ".aif", ".aiff")
WORDS = ("text", "label")  # kinds of modalities that stand in the line itself
DECODERS = {"audio": decode_sound, "image": decode_image}


class Fields(NamedTuple):
    """How the fields of a line are read.

    Attributes:
      root: the folder that file names are relative to.
      target: the key of the picture to generate.
      features: by input, the key.
      kinds: by input, its kind of modality.
      languages: those to take of an object of several; empty for all.
      classes: by input that is a label, its classes.
    """

    root: Path
    target: str
    features: Mapping[str, str]
    kinds: Mapping[str, str]
    languages: tuple[str, ...]
    classes: Mapping[str, Classes]

    def record(self, fields: Mapping[str, Any], where: Callable[[], str]) -> Record:
        """A record that is decoded part by part, when it is asked for.

        Args:
          fields: of the line.
          where: names it, in BadRecord.
        """
        values = {
            name: partial(_guarded, partial(self._value, fields, name), where)
            for name in self.features
            if self._raws(fields, name)
        }
        return Record(partial(_guarded, partial(self._target, fields), where), Lazy(values))

    def check(self, fields: Mapping[str, Any]) -> None:
        """Decodes everything that there is. Raises InputError if something cannot be."""
        self._target(fields)
        for name in self.features:
            for raw in self._raws(fields, name):
                self._decoded(name, raw)

    def files(self, fields: Mapping[str, Any]) -> Iterator[Path]:
        """The files that a line names, there or not. Raises InputError for a path outside."""
        yield self._path(self.target, fields.get(self.target))
        for name, key in self.features.items():
            if self._is_file(name):
                yield from (self._path(key, raw) for raw in self._raws(fields, name))

    def _is_file(self, name: str) -> bool:
        kind = self.kinds[name]
        return kind in DECODERS or (kind not in WORDS and self.features[name].endswith(FILE))

    def _raws(self, fields: Mapping[str, Any], name: str) -> list[Any]:
        """The alternatives of a modality, not decoded."""
        return alternatives(fields.get(self.features[name]), self.languages)

    def _value(self, fields: Mapping[str, Any], name: str) -> Any:
        found = [self._decoded(name, raw) for raw in self._raws(fields, name)]
        return found[0] if len(found) == 1 else OneOf(found)

    def _decoded(self, name: str, raw: Any) -> Any:
        key = self.features[name]
        if self._is_file(name):
            sound = str(raw).lower().endswith(SOUNDS)
            usual = decode_sound if sound else decode_image
            return self._file(key, raw, DECODERS.get(self.kinds[name], usual))
        if self.kinds[name] == "label":
            return self.classes[name].find(raw)
        if not isinstance(raw, str):
            raise InputError(f"{key} is of type {type(raw).__name__}; allowed: a string")
        if not raw.strip():
            raise InputError(f"{key} is empty; allowed: a string of at least one character")
        return raw

    def _target(self, fields: Mapping[str, Any]) -> Any:
        return self._file(self.target, fields.get(self.target), decode_image)

    def _file(self, key: str, raw: Any, decode: Callable[[io.BytesIO], Any]) -> Any:
        path = self._path(key, raw)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe might never end
                raise InputError(f"{key} {raw!r} is no file but a folder, a pipe or a device")
            data = path.read_bytes()
        except OSError as error:
            near = in_other_case(path) if isinstance(error, FileNotFoundError) else ""
            raise InputError(f"{key} {raw!r}: {error.strerror}{near}") from error
        if not data:
            raise InputError(f"{key} {raw!r}: the file is empty")
        try:
            return decode(io.BytesIO(data))
        except InputError as error:
            raise InputError(f"{key} {raw!r}: {error}") from error

    def _path(self, key: str, raw: Any) -> Path:
        if not isinstance(raw, str) or not raw:
            raise InputError(f"{key} is {raw!r}; allowed: the name of a file")
        # Only what the line says is judged. A link in the folder may lead out of it: whoever laid
        # it wanted that, and the Hub's own downloads are folders of links.
        plain = posixpath.normpath(raw.replace("\\", "/"))
        if plain.startswith(("/", "../")) or plain in (".", "..") or "\0" in plain:
            raise InputError(f"{key} {raw!r} leads out of the folder; allowed: a path within it")
        return existing(self.root, posixpath.normpath(raw))  # "link/.." would be beside its target


def parse(line: bytes) -> dict[str, Any]:
    """Reads a line. Raises InputError unless it is a JSON object in UTF-8, each key once."""
    try:
        fields = parse_json(line.decode("utf-8"))
        if b"\\u" in line:
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the line is not UTF-8: {error.reason}") from error
    except UnicodeEncodeError as error:
        raise InputError("the line has one half of a surrogate pair, which is no text") from error
    except RepeatedKey as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"the line is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InputError("the line is no JSON object")
    return fields


def alternatives(raw: Any, languages: tuple[str, ...]) -> list[Any]:
    """The values of a key, of which an example draws one: in these languages, or in all."""
    if isinstance(raw, dict):
        raw = [x for language in languages or raw for x in listed(raw.get(language))]
    return listed(raw)


def listed(raw: Any) -> list[Any]:
    """The alternatives of which a value consists; null is none."""
    return [x for x in (raw if isinstance(raw, list) else [raw]) if x is not None]


def _guarded(read: Callable[[], Any], where: Callable[[], str]) -> Any:
    try:
        return read()
    except InputError as error:
        raise BadRecord(where(), str(error)) from error
