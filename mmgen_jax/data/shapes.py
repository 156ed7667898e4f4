"""The data set `shapes`: endless scenes of one object, of which each modality says its own part.

| modality | says             | form                                                 |
|----------|------------------|------------------------------------------------------|
| text     | shape and colour | a sentence, English or German                        |
| label    | position         | one of nine cells                                    |
| audio    | size             | a tone with noise: high for small, low for large     |
| image    | all but colour   | an outline sketch                                    |

Only text, label and audio together say everything. Nothing is stored: record `i` of a split is
drawn from a generator keyed by (seed, split, i), in any order and in any process.

There are 4 shapes * 6 colours * 2 sizes * 9 positions = 432 combinations. One ninth of them is
held out of training, see `held_out`. Lengths are in pixels of a 32 x 32 picture and scale with the
picture.
"""

import copy
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmgen_jax.data import (
    KINDS,
    BadRecord,
    DataOptions,
    Lazy,
    Preset,
    Record,
    SourceInfo,
    SourceSpec,
)
from mmgen_jax.data.rasterizer import DISTANCES, fill, paint, stroke
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import SAMPLE_RATE

# A corner of the colour cube each, around the grey in its middle: all contrasts are equal, two
# colours are never closer than a colour and the background are, and no blend of a colour with the
# background is nearer to another colour. The background is zero once images are in [-1, 1].
BACKGROUND = np.array([128, 128, 128], np.uint8)
COLOURS = {
    "red": np.array([240, 16, 16], np.uint8),
    "green": np.array([16, 240, 16], np.uint8),
    "blue": np.array([16, 16, 240], np.uint8),
    "yellow": np.array([240, 240, 16], np.uint8),
    "purple": np.array([240, 16, 240], np.uint8),
    "white": np.array([240, 240, 240], np.uint8),
}
SHAPE_NAMES = tuple(DISTANCES)
COLOUR_NAMES = tuple(COLOURS)
SIZE_NAMES = ("small", "large")
POSITION_NAMES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)

FRAME = 32.0  # the side of the picture in which lengths are given
RADII = (3.4, 5.0)  # by size
CENTRES = (7.5, 16.0, 24.5)  # of the cells, along either axis
JITTER = 1.0  # an object's centre is at most this far, along either axis, from its cell's
STROKE = 1.2  # width of a sketched outline
MINIMUM_IMAGE_SIZE = 16

TONES = (1200.0, 300.0)  # Hz, by size
DETUNING = 0.1  # largest relative error of a tone's frequency
SECONDS = (0.25, 0.5)
AMPLITUDES = (0.3, 0.8)
NOISE = 0.1

LENGTHS = {"train": 1_000_000, "test": 10_000, "heldout": 10_000}


class Scene(NamedTuple):
    """What a picture shows.

    Attributes:
      shape, colour, size, position: indices into SHAPE_NAMES, COLOUR_NAMES, SIZE_NAMES and
        POSITION_NAMES.
      x, y: how far right of and below its cell's centre the object is, at most JITTER.
    """

    shape: int
    colour: int
    size: int
    position: int
    x: float = 0.0
    y: float = 0.0


def held_out(shape: Any, colour: Any, position: Any) -> Any:
    """Whether a combination is kept out of training; takes integers or arrays of them.

    Of each pair (shape, colour) one position is held out, 24 of 216 combinations in all, in either
    size. A shape and position, or a colour and position, miss each other at most once, and each
    position is held out two or three times: every pair of attributes is trained on.
    """
    return (2 * shape + colour) % len(POSITION_NAMES) == position


def combinations(split: str) -> np.ndarray:
    """The equally likely (shape, colour, size, position) of a split: int64 [combinations, 4].

    Raises:
      InputError: for a split that is not there.
    """
    if split not in LENGTHS:
        raise InputError(f"data set shapes has no split {split!r}; allowed: {', '.join(LENGTHS)}")
    return _HELD_OUT if split == "heldout" else _TRAINED


def scene(options: DataOptions, split: str, index: int) -> Scene:
    """The scene of one record; `options` as for `SHAPES`."""
    return _draw_scene(_generator(options.seed, split, index), split)


def draw(scene: Scene, size: int) -> np.ndarray:
    """The picture of a scene: uint8 [size, size, 3]."""
    return _paint_scene(scene, _distance(scene, size))


def sketch(scene: Scene, size: int) -> np.ndarray:
    """The outline of a scene's object, white on black: uint8 [size, size, 3]."""
    return _paint_outline(_distance(scene, size))


_ENGLISH = {"circle": "circle", "square": "square", "triangle": "triangle", "cross": "cross"}
_NEUTER = dict(the="das", a="ein", ending="es", object_a="ein", object_ending="es")
_MASCULINE = dict(the="der", a="ein", ending="er", object_a="einen", object_ending="en")
_GERMAN = {
    "circle": dict(_MASCULINE, noun="Kreis"),
    "square": dict(_NEUTER, noun="Quadrat"),
    "triangle": dict(_NEUTER, noun="Dreieck"),
    "cross": dict(_NEUTER, noun="Kreuz"),
}
_GERMAN_COLOURS = {
    "red": "rot",
    "green": "grün",
    "blue": "blau",
    "yellow": "gelb",
    "purple": "violett",
    "white": "weiß",
}
_ENGLISH_GRAMMARS = (
    "a {colour} {noun}",
    "there is a {colour} {noun}",
    "the {noun} is {colour}",
    "a picture of one {colour} {noun}",
)
_GERMAN_GRAMMARS = (
    "{a} {colour}{ending} {noun}",
    "hier ist {a} {colour}{ending} {noun}",
    "{the} {noun} ist {colour}",
    "das Bild zeigt {object_a} {colour}{object_ending} {noun}",
)
GRAMMARS = len(_ENGLISH_GRAMMARS) + len(_GERMAN_GRAMMARS)


def caption(scene: Scene, grammar: int) -> str:
    """A sentence that names the object's shape and colour, in one of GRAMMARS grammars."""
    shape, colour = SHAPE_NAMES[scene.shape], COLOUR_NAMES[scene.colour]
    if grammar < len(_ENGLISH_GRAMMARS):
        return _ENGLISH_GRAMMARS[grammar].format(noun=_ENGLISH[shape], colour=colour)
    template = _GERMAN_GRAMMARS[grammar - len(_ENGLISH_GRAMMARS)]
    return template.format(colour=_GERMAN_COLOURS[colour], **_GERMAN[shape])


def parse_caption(text: str) -> tuple[int, int]:
    """Reads the (shape, colour) that an English or German sentence names.

    Raises:
      InputError: unless it names exactly one shape and one colour.
    """
    words = re.findall(r"\w+", text.lower())
    shapes = {_SHAPE_WORDS[word] for word in words if word in _SHAPE_WORDS}
    colours = {_COLOUR_WORDS[word] for word in words if word in _COLOUR_WORDS}
    if len(shapes) != 1 or len(colours) != 1:
        raise InputError(
            f"caption {text!r} must name one shape ({', '.join(SHAPE_NAMES)}) and one colour "
            f"({', '.join(COLOUR_NAMES)})"
        )
    return shapes.pop(), colours.pop()


def tone(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A tone whose pitch says the object's size: float32 [samples] in [-1, 1], 16 kHz, mono."""
    seconds, detuning, amplitude, phase = rng.random(4).tolist()
    samples = int(SAMPLE_RATE * _between(SECONDS, seconds))
    frequency = TONES[scene.size] * (1 + DETUNING * (2 * detuning - 1))
    step = np.float32(2 * np.pi * frequency / SAMPLE_RATE)
    wave = np.sin(_CLOCK[:samples] * step + np.float32(2 * np.pi * phase))
    wave *= np.float32(_between(AMPLITUDES, amplitude))
    # Uniform noise: as good as a normal one here, and four times as fast to draw.
    noise = rng.random(samples, dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(2 * NOISE)
    wave += noise
    return wave


def parse_tone(samples: np.ndarray) -> int:
    """Reads the size that a sound says: that of the tone nearest in pitch to its strongest one.

    Args:
      samples: float32 [samples], 16 kHz, mono.

    Raises:
      InputError: if the sound is empty or constant, or if no tone is within half an octave.
    """
    length = max(len(samples), 2)
    power = np.abs(np.fft.rfft(samples, 1 << (length - 1).bit_length()))
    power[0] = 0
    peak = int(power.argmax())
    octaves = np.abs(np.log2(max(peak, 1) * SAMPLE_RATE / (2 * len(power) - 2) / np.array(TONES)))
    if power[peak] == 0 or octaves.min() > 0.5:
        raise InputError(f"audio must hold a tone near one of {TONES} Hz")
    return int(octaves.argmin())


@dataclass(frozen=True)
class ShapesSource:
    """One split of the data set; a `mmgen_jax.data.Source`.

    Attributes:
      info: what its records hold.
      split: "train", "test" (unseen scenes) or "heldout" (unseen combinations).
      image_size: side of the pictures.
      seed: of everything that is drawn.
      kinds: by input, its kind of modality.
      bad: none.
    """

    info: SourceInfo
    split: str
    image_size: int
    seed: int
    kinds: Mapping[str, str]
    bad: tuple[BadRecord, ...] = ()

    def __len__(self) -> int:
        return LENGTHS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"shapes/{self.split} has no record {index}: it holds {len(self)}")
        rng = _generator(self.seed, self.split, index)
        scene = _draw_scene(rng, self.split)
        grammar = int(rng.integers(GRAMMARS))
        distance = cache(lambda: _distance(scene, self.image_size))
        # A tone draws from a copy, so that it is the same however often it is asked for.
        said = {
            "text": lambda: caption(scene, grammar),
            "label": lambda: POSITION_NAMES[scene.position],
            "audio": lambda: tone(scene, copy.deepcopy(rng)),
            "image": lambda: _paint_outline(distance()),
        }
        values = Lazy({name: said[kind] for name, kind in self.kinds.items()})
        return Record(lambda: _paint_scene(scene, distance()), values)

    def where(self, index: int) -> str:
        """The split and the record's number."""
        return f"shapes/{self.split}, record {index}"


def describe(options: DataOptions) -> SourceInfo:
    """What the data set holds; `options` as for `SHAPES`.

    Raises:
      InputError: for an image size or a seed that cannot be used, or a choice that it has not.
    """
    choices = {"path": options.path, "target": options.target, "languages": options.languages}
    choices |= {f"features.{name}": feature for name, feature in options.features.items()}
    for key, value in choices.items():
        if value:
            raise InputError(
                f"config.data.{key} = {value!r}: data set 'shapes' leaves no choice; allowed: empty"
                " or another data set, such as --config=RECIPE:data=folder"
            )
    if options.image_width not in (0, options.image_size):
        raise InputError(
            f"config.data.image_width = {options.image_width}: data set 'shapes' is drawn in"
            " squares; allowed: 0"
        )
    if options.image_size < MINIMUM_IMAGE_SIZE:
        raise InputError(
            f"data.image_size={options.image_size} is too small to tell shapes apart; "
            f"allowed: {MINIMUM_IMAGE_SIZE} or more"
        )
    if not 0 <= options.seed < 2**64:
        raise InputError(f"data.seed={options.seed} is not allowed: an integer in [0, 2**64)")
    inputs = _inputs(options)
    classes = {name: POSITION_NAMES for name, kind in inputs.items() if kind == "label"}
    return SourceInfo(tuple(inputs), tuple(LENGTHS), classes)


def _inputs(options: DataOptions) -> dict[str, str]:
    """The inputs that a scene has something to say for, and their kinds; of a kind all the same."""
    kinds = options.kinds.items()
    return {name: kind for own in KINDS for name, kind in kinds if kind == own}


def open_split(options: DataOptions, split: str) -> ShapesSource:
    """One split of the data set; `options` as for `SHAPES`.

    Raises:
      InputError: for a split that is not there, or as `describe` does.
    """
    combinations(split)
    info, inputs = describe(options), _inputs(options)
    return ShapesSource(info, split, options.image_size, options.seed, inputs)


SHAPES = SourceSpec(
    describe,
    open_split,
    preset=Preset("shapes", lengths={"text": {"max_tokens": 16}, "audio": {"seconds": 0.5}}),
)
"""The data set for the registry; of the config group `data` it uses `image_size` and `seed`."""


_NAMES = (SHAPE_NAMES, COLOUR_NAMES, SIZE_NAMES, POSITION_NAMES)
_ALL = np.array(list(itertools.product(*(range(len(names)) for names in _NAMES))))
_IS_HELD_OUT = held_out(_ALL[:, 0], _ALL[:, 1], _ALL[:, 3])
_HELD_OUT, _TRAINED = _ALL[_IS_HELD_OUT], _ALL[~_IS_HELD_OUT]
_CLOCK = np.arange(int(SAMPLE_RATE * SECONDS[1]), dtype=np.float32)

_SHAPE_WORDS = {
    word: index
    for index, name in enumerate(SHAPE_NAMES)
    for word in (_ENGLISH[name], _GERMAN[name]["noun"].lower())
}
_COLOUR_WORDS = {
    word: index
    for index, name in enumerate(COLOUR_NAMES)
    for word in (name, *(_GERMAN_COLOURS[name] + ending for ending in ("", "er", "es", "en", "e")))
}


def _generator(seed: int, split: str, index: int) -> np.random.Generator:
    """A stream of its own for each record: the index is part of a counter, so none overlap.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
    """
    key = [seed, tuple(LENGTHS).index(split)]
    return np.random.Generator(np.random.Philox(key=key, counter=[0, int(index), 0, 0]))


def _draw_scene(rng: np.random.Generator, split: str) -> Scene:
    table = combinations(split)
    combination, x, y = rng.random(3).tolist()
    shape, colour, size, position = table[int(combination * len(table))].tolist()
    return Scene(shape, colour, size, position, JITTER * (2 * x - 1), JITTER * (2 * y - 1))


def _distance(scene: Scene, size: int) -> np.ndarray:
    """Signed distance, in pixels, to a scene's object: float32 [size, size]."""
    row, column = divmod(scene.position, 3)
    scale = size / FRAME
    pixels = np.arange(0.5, size, dtype=np.float32)
    x = pixels - np.float32(scale * (CENTRES[column] + scene.x))
    y = pixels - np.float32(scale * (CENTRES[row] + scene.y))
    return DISTANCES[SHAPE_NAMES[scene.shape]](x, y[:, None], scale * RADII[scene.size])


def _paint_scene(scene: Scene, distance: np.ndarray) -> np.ndarray:
    return paint(fill(distance), COLOURS[COLOUR_NAMES[scene.colour]], BACKGROUND)


def _paint_outline(distance: np.ndarray) -> np.ndarray:
    size = distance.shape[-1]
    lines = stroke(distance, max(STROKE * size / FRAME, 1.0))
    return np.repeat((lines * 255 + np.float32(0.5)).astype(np.uint8)[..., None], 3, axis=-1)


def _between(bounds: tuple[float, float], fraction: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * fraction
