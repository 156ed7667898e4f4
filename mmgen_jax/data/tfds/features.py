"""From a feature of a TFDS data set to a modality's raw value.

A feature is named by its path, such as `label` or `captions/text`; several joined by `+`, such as
`captions/text+captions/keywords`, are alternatives. What becomes of it follows from its type alone:

    Text, Tensor of a string  str
    ClassLabel                the class's name, a str; -1 is an absent value
    Image                     uint8 [height, width, 3]
    Tensor int16 or float     float32 [samples], a sound at 16 kHz
    Sequence of such          one of its elements (`OneOf`); an empty one is an absent value
    dict of such              one of them, if all are of one kind: alternatives, as if joined by `+`
"""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from mmgen_jax.data import OneOf
from mmgen_jax.data.names import normalized
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import check_range
from mmgen_jax.media.images import decode_image


class Leaf(NamedTuple):
    """One feature.

    Attributes:
      path: its keys, from the outside in.
      kind: "text", "class label", "picture" or "sound".
      convert: (what TFDS reads) -> raw value; for a sequence, of one element.
      sequence: whether it is one.
      language: path of the language that it is in, if the data set says so: a ClassLabel named
        `language` beside it.
      names: the classes of a ClassLabel, else empty.
    """

    path: tuple[str, ...]
    kind: str
    convert: Callable[[Any], Any]
    sequence: bool
    language: tuple[str, ...] | None
    names: tuple[str, ...]


class Mapped:
    """What a modality is read from: one feature or several alternatives, in some languages.

    Attributes:
      kinds: those of the features.
      names: the classes of all of them.
      in_languages: whether languages were asked for, and the data set says which are which.
      outer: the outermost names of all that is read for it.
    """

    def __init__(
        self, features: tfds.features.FeaturesDict, spelling: str, languages: tuple[str, ...]
    ):
        """Finds the features.

        Args:
          features: the data set's, a FeaturesDict.
          spelling: paths joined by `+`.
          languages: which ones to take, where a feature is in some language; empty for all.

        Raises:
          InputError: for a feature or a language that is not there.
        """
        paths = [path for name in spelling.split("+") for path in _alternatives(features, name)]
        self._leaves = tuple(find(features, path) for path in paths)
        self.kinds = {leaf.kind for leaf in self._leaves}
        self.names = tuple(dict.fromkeys(name for leaf in self._leaves for name in leaf.names))
        self._codes = {
            leaf.language: _codes(features, leaf.language, languages)
            for leaf in self._leaves
            if leaf.language is not None and languages
        }
        self.in_languages = bool(self._codes)
        read = (*(leaf.path for leaf in self._leaves), *self._codes)
        self.outer = {path[0] for path in read if path}

    def count(self, example: Mapping[str, Any]) -> int:
        """How many values the record has."""
        return sum(len(self._raws(leaf, example)) for leaf in self._leaves)

    def read(self, example: Mapping[str, Any]) -> Any:
        """The raw value, of which the record has at least one; `OneOf` several.

        Raises:
          InputError: if it cannot be decoded.
        """
        found = [leaf.convert(raw) for leaf in self._leaves for raw in self._raws(leaf, example)]
        return found[0] if len(found) == 1 else OneOf(found)

    def _raws(self, leaf: Leaf, example: Mapping[str, Any]) -> list[Any]:
        """What is there in the languages that are asked for."""
        raws = _at(example, leaf.path)
        if not leaf.sequence:
            raws = [raws]
        codes = self._codes.get(leaf.language)
        if codes:
            languages = _at(example, leaf.language)
            languages = languages if leaf.sequence else [languages]
            raws = [raw for raw, code in zip(raws, languages, strict=True) if int(code) in codes]
        return [raw for raw in raws if not _is_absent(leaf, raw)]


def find(features: tfds.features.FeaturesDict, path: str) -> Leaf:
    """The feature at a path such as `captions/text`; a key may itself hold a slash.

    Raises:
      InputError: if it is not there, or of a type that is no modality's.
    """
    head, _, tail = path.partition("/")
    if path in features:
        keys, outer, inner = (path,), features, features[path]
    elif tail and head in features and tail in _inside(features[head]):
        keys, outer = (head, tail), _inside(features[head])
        inner = outer[tail]
    else:
        raise InputError(f"there is no feature {path!r}; allowed: {', '.join(spellings(features))}")
    nested = len(keys) > 1 and isinstance(features[head], tfds.features.Sequence)
    sequence = nested or isinstance(inner, tfds.features.Sequence)
    if isinstance(inner, tfds.features.Sequence):
        inner = inner.feature
    kind = _kind(inner)
    if kind is None:
        raise InputError(
            f"feature {path!r} is of type {' '.join(str(inner).split())}; allowed: Text,"
            " ClassLabel, Image, and a sound as Tensor(shape=(None,), dtype=int16)"
        )
    names = _class_names(inner) if kind == "class label" else ()
    speaks = kind == "text" and "language" in outer
    labelled = speaks and isinstance(outer["language"], tfds.features.ClassLabel)
    language = (*keys[:-1], "language") if labelled else None
    return Leaf(keys, kind, _converter(inner, kind), sequence, language, names)


def spellings(features: tfds.features.FeaturesDict) -> list[str]:
    """The paths of all features."""
    return sorted(
        path
        for key, feature in features.items()
        for path in ([f"{key}/{inner}" for inner in _inside(feature)] or [key])
    )


def _alternatives(features: tfds.features.FeaturesDict, path: str) -> list[str]:
    """The features of a dict, such as a sound by several voices, if they are of one kind."""
    inner = features[path] if path in features else None
    if isinstance(inner, tfds.features.FeaturesDict) and len(set(map(_kind, inner.values()))) == 1:
        # Sorted: TFDS reads features in an order that differs from process to process, and which
        # of the alternatives an example draws must not.
        return [f"{path}/{key}" for key in sorted(inner)]
    return [path]


def _inside(feature: Any) -> dict[str, Any]:
    """The features within a dict, or a sequence of dicts; none in any other."""
    feature = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
    return dict(feature) if isinstance(feature, tfds.features.FeaturesDict) else {}


def _at(example: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        example = example[key]
    return example


def _codes(
    features: tfds.features.FeaturesDict, path: tuple[str, ...], languages: tuple[str, ...]
) -> set[int]:
    known = _names(_inside(features[path[0]])[path[1]] if len(path) > 1 else features[path[0]])
    unknown = set(languages) - set(known)
    if unknown:
        raise InputError(f"there are no texts in {min(unknown)!r}; allowed: {', '.join(known)}")
    return {known.index(language) for language in languages}


def _names(label: tfds.features.ClassLabel) -> tuple[str, ...]:
    """The classes; numbers, where the data set does not name them."""
    return tuple(label.names or map(str, range(label.num_classes)))


def _class_names(label: tfds.features.ClassLabel) -> tuple[str, ...]:
    """The classes by number, as people may write them; two numbers may be of one class."""
    return tuple(map(normalized, _names(label)))


def _kind(feature: Any) -> str | None:
    """What a value of this type is; None for a type that is no modality's."""
    if isinstance(feature, tfds.features.Text):
        return "text"
    if isinstance(feature, tfds.features.ClassLabel):
        return "class label"
    if isinstance(feature, tfds.features.Image):
        return "picture"
    if type(feature) in (tfds.features.Tensor, tfds.features.Scalar):
        dtype = np.dtype(feature.np_dtype)
        if not feature.shape and dtype.kind == "O":  # a string
            return "text"
        if len(feature.shape) == 1 and (dtype == np.int16 or dtype.kind == "f"):
            return "sound"
    return None


def _converter(feature: Any, kind: str) -> Callable[[Any], Any]:
    """How a value of this type is read."""
    if kind == "text":
        return _text
    if kind == "class label":
        return partial(_name, _class_names(feature))
    if kind == "picture":
        return _picture
    return partial(_sound, 32768 if np.dtype(feature.np_dtype) == np.int16 else 1)


def _is_absent(leaf: Leaf, raw: Any) -> bool:
    """TFDS has no null: a sound without samples stands for one, and -1 for a class not known."""
    if leaf.kind == "class label":
        return int(raw) == -1
    return leaf.kind == "sound" and not len(raw)


def _picture(raw: bytes) -> np.ndarray:
    return decode_image(io.BytesIO(raw))


def _sound(scale: int, raw: Any) -> np.ndarray:
    samples = np.asarray(raw, np.float32) / scale
    check_range(samples)
    return samples.clip(-1, 1)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"text {raw[:40]!r} is no UTF-8: {error.reason}") from error


def _name(names: tuple[str, ...], raw: Any) -> str:
    number = int(raw)
    if not 0 <= number < len(names):
        raise InputError(f"label {number} is out of range; allowed: 0 to {len(names) - 1}")
    return names[number]
