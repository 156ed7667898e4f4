"""Data sets in TFDS's format as data sources: any of them, and those that are known by name.

Which feature gives which modality stands in the config: `data.target` (the picture to generate) and
`data.features.MODALITY`. Where it says nothing, the choice made here for the data set holds.
"""

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from mmgen_jax.data import BadRecord, DataOptions, Lazy, Preset, Record, SourceInfo, SourceSpec
from mmgen_jax.data.names import listing
from mmgen_jax.data.tfds.features import Mapped, spellings
from mmgen_jax.data.tfds.reader import TfdsRecords, read_info
from mmgen_jax.errors import InputError


class Known(NamedTuple):
    """What a config need not say of a data set that is known.

    Attributes:
      path: where it is, unless `data.path` says: a folder, or a full TFDS name.
      remedy: the command that makes it; "{path}" stands for where it ought to be.
      features: by input, as `data.features` spells them.
      target: the feature that is the picture to generate.
      inputs: what its inputs need.
    """

    path: str
    remedy: str
    features: Mapping[str, str]
    target: str = "image"
    inputs: Preset = Preset()


class TfdsSource:
    """One split of a TFDS data set; a `mmgen_jax.data.Source`.

    Damage is found record by record, when one is read: `bad` is empty.
    """

    bad: tuple[BadRecord, ...] = ()

    def __init__(self, options: DataOptions, preset: Known, split: str):
        """Opens a split, or a part such as "train[:10%]". Raises InputError if it cannot."""
        opened = _open(options, preset)
        self.info = opened.describe()
        self._target, self._modalities = opened.target, opened.modalities
        read = set[str]().union(*(m.outer for m in (opened.target, *opened.modalities.values())))
        self._records = TfdsRecords(opened.info, split, read)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        """Record `index`. Raises BadRecord if it is damaged, IndexError if there is none."""
        index = range(len(self))[index]
        example = self._records[index]
        present = {name: m for name, m in self._modalities.items() if m.count(example)}
        read = partial(self._read, example, index)
        values = Lazy({name: partial(read, mapped) for name, mapped in present.items()})
        return Record(partial(self._read_target, example, index), values)

    def _read(self, example: Any, index: int, mapped: Mapped) -> Any:
        try:
            return mapped.read(example)
        except InputError as error:
            raise BadRecord(self.where(index), str(error)) from error

    def _read_target(self, example: Any, index: int) -> Any:
        if self._target.count(example) != 1:
            raise BadRecord(self.where(index), "it does not have exactly one picture to generate")
        return self._read(example, index, self._target)

    def where(self, index: int) -> str:
        """The file of a record, and its place in it."""
        return self._records.where(index)


class _Opened(NamedTuple):
    """A data set's metadata, and what is read from it."""

    info: Any
    target: Mapped
    modalities: dict[str, Mapped]
    labels: tuple[str, ...]

    def describe(self) -> SourceInfo:
        classes = {name: self.modalities[name].names for name in self.labels}
        return SourceInfo(tuple(self.modalities), tuple(self.info.splits), classes)


def _open(options: DataOptions, preset: Known) -> _Opened:
    path = options.path or preset.path
    if not path:
        raise InputError(
            "config.data.path is empty; allowed: the folder of a TFDS data set, or its full name"
        )
    info = read_info(path, preset.remedy.format(path=shlex.quote(path)))
    languages = tuple(options.languages)
    modalities = {}
    for name, kind in options.kinds.items():
        asked = options.features[name]
        # An input that has no place here is given by the feature of its name.
        spelling = asked or preset.features.get(name, "" if name == kind else name)
        if asked or _is_usable(info, kind, spelling):
            key = f"features.{name}"
            modalities[name] = _mapped(info, path, key, kind, spelling, languages)
    if languages and not any(mapped.in_languages for mapped in modalities.values()):
        raise InputError(
            f"config.data.languages = {languages!r}: {path} does not say in which language a text"
            " is; allowed: ()"
        )
    target = _mapped(info, path, "target", "target", options.target or preset.target, ())
    labels = tuple(name for name in modalities if options.kinds[name] == "label")
    return _Opened(info, target, modalities, labels)


def _is_usable(info: Any, kind: str, spelling: str) -> bool:
    """Whether a preset's features are there: a data set may have been built without them."""
    try:
        return bool(spelling) and not _misfit(kind, Mapped(info.features, spelling, ()))
    except InputError:
        return False


def _mapped(
    info: Any, path: str, key: str, kind: str, spelling: str, languages: tuple[str, ...]
) -> Mapped:
    try:
        mapped = Mapped(info.features, spelling, languages)
    except InputError as error:
        raise InputError(f"config.data.{key} = {spelling!r} in {path}: {error}") from error
    misfit = _misfit(kind, mapped)
    if misfit:
        raise InputError(
            f"config.data.{key} = {spelling!r} in {path} is a {misfit}; allowed: a "
            + " or a ".join(_KINDS[kind])
        )
    return mapped


# Which kinds of features give what; a modality from outside the package takes any. The name of a
# class is a text, but no list of classes can be had from texts.
_KINDS = {
    "target": ("picture",),
    "text": ("text", "class label"),
    "label": ("class label",),
    "audio": ("sound",),
    "image": ("picture",),
}


def _misfit(kind: str, mapped: Mapped) -> str | None:
    """The kind of a feature that cannot give what it is asked for."""
    misfits = mapped.kinds - set(_KINDS.get(kind, mapped.kinds))
    return min(misfits, default=None)


def _spec(preset: Known) -> SourceSpec:
    describe: Callable[[Any], SourceInfo] = lambda options: _open(options, preset).describe()  # noqa: E731
    return SourceSpec(
        describe,
        lambda options, split: TfdsSource(options, preset, split),
        lambda options, name: _lacking(_open(options, preset).info, name, options.kinds[name]),
        preset.inputs,
    )


def _lacking(info: Any, name: str, kind: str) -> str:
    """Which features there are instead of an input's, and the flag that names one."""
    paths = spellings(info.features)
    fitting = [path for path in paths if _is_usable(info, kind, path)]
    return (
        f"its features: {', '.join(paths)}; type --config.data.features.{name}="
        + (fitting[0] if len(fitting) == 1 else "FEATURE")
        + (f", such as {listing(fitting, 5)}" if len(fitting) > 1 else "")
    )


SPOKEN = {"width": 128, "depth": 2, "num_heads": 4}  # a spoken word wants more than a tone


def _emoji_inputs(languages: int) -> dict[str, dict[str, int]]:
    """Thousands of names, which are said in full; in several languages many of one picture."""
    words = 2_048 if languages == 1 else 8_192
    text = {"width": 128, "depth": 2, "num_heads": 4, "vocabulary_size": words}
    return {"text": text, "audio": SPOKEN | {"frames_per_token": 16}}


_BUILD = "python launch/build_dataset.py --dataset={name} --out={{path}}"
_PREPARE = (
    "on a machine with a network run `pip install tensorflow-datasets tensorflow-cpu"
    " importlib_resources{needs}` and `tfds build {name} --file_format=array_record`, and copy its"
    " ~/tensorflow_datasets to this one"
)

TFDS = _spec(
    Known(
        path="",
        remedy="tfds build NAME --file_format=array_record (README.md, Train on your own data)",
        features={"text": "text", "label": "label", "audio": "audio", "image": "reference"},
    )
)
EMOJI = _spec(
    Known(
        path="data/emoji",
        remedy=_BUILD.format(name="emoji"),
        features={
            "text": "captions/text",
            "label": "label",
            "audio": "audio",
            "image": "sketch",
            "style": "reference",
        },
        inputs=Preset(
            "icons",
            languages=("en",),
            inputs=_emoji_inputs,
            lengths={"text": {"max_tokens": 24}, "audio": {"seconds": 3.2}},
        ),
    )
)
DIGITS = _spec(
    Known(
        path="data/digits",
        remedy=_BUILD.format(name="digits"),
        features={"text": "text", "label": "label", "audio": "audio"},
        inputs=Preset(
            "handwriting",
            inputs=lambda languages: {"audio": SPOKEN},
            lengths={"text": {"max_tokens": 16}, "audio": {"seconds": 0.8}},
        ),
    )
)
CIFAR10 = _spec(
    Known(
        path="cifar10",
        remedy=_PREPARE.format(name="cifar10", needs=""),
        features={"label": "label"},
    )
)
FLOWERS = _spec(
    Known(
        path="oxford_flowers102",
        remedy=_PREPARE.format(name="oxford_flowers102", needs=" scipy"),
        features={"label": "label"},
    )
)
BIRDS = _spec(
    Known(
        path="caltech_birds2011",
        remedy=_PREPARE.format(name="caltech_birds2011", needs=" opencv-python-headless"),
        features={"text": "label_name", "label": "label", "image": "segmentation_mask"},
    )
)
COCO = _spec(
    Known(
        path="coco_captions/2014",
        remedy=_PREPARE.format(name="coco_captions/2014", needs=""),
        features={"text": "captions/text", "label": "objects/label"},
    )
)
