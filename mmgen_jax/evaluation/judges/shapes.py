"""The judge of `shapes`: does an image satisfy its inputs?

It is not learned. It quantises an image to the palette, finds the object, fits every shape in every
size to it at sub-pixel positions, and rejects the image if what is drawn is not that one object.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from mmgen_jax.data import DataOptions, Record, shapes
from mmgen_jax.data.rasterizer import DISTANCES, fill, stroke
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.judges import Judge, Reading

TOLERANCE = 0.4
"""How far from the fitted drawing a pixel may be, as a share of the contrast between an object and
the background; less than half of it, so that no other colour is within it."""

MISFIT_LIMIT = 0.2
"""An image is accepted if its misfit is at most this. Misfit is the number of pixels beyond
TOLERANCE relative to the area of the fitted object. Measured from 16 to 64 pixels a side: 0 on true
scenes, at least 0.2001 (at 16 pixels; 0.27 at 32) with a second object in another cell, whose area
is a third of the first one's or more; over 1 on blank pictures, over 20 on uniform noise."""

ATTRIBUTES = {
    "text": ("shape", "colour"),
    "label": ("position",),
    "audio": ("size",),
    "image": ("shape", "size", "position"),
}
"""What each modality says of a scene of `shapes`."""


class Judgement(NamedTuple):
    """What images show, all arrays [n].

    Attributes:
      shape, colour, size, position: integers, as in `shapes.Scene`; meaningless unless accepted.
      misfit: float, see MISFIT_LIMIT.
    """

    shape: np.ndarray
    colour: np.ndarray
    size: np.ndarray
    position: np.ndarray
    misfit: np.ndarray

    @property
    def accepted(self) -> np.ndarray:
        """Whether each image shows one whole object and nothing else: bool [n]."""
        return self.misfit <= MISFIT_LIMIT


def judge(images: np.ndarray) -> Judgement:
    """Reads scenes back from pictures.

    Args:
      images: uint8 [n, size, size, 3].

    Raises:
      InputError: for an array of another shape or dtype.
    """
    _check_images(images)
    chunks = [_judge_chunk(images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK)]
    return Judgement(*map(np.concatenate, zip(*chunks, strict=True)))


def read(values: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """What each input asks for: modality -> attribute -> integers [n].

    Raises:
      InputError: if there are no records, if they differ in their modalities, or if a value says
        nothing.
    """
    if not values:
        raise InputError("no records to judge images by")
    modalities = tuple(values[0])
    _check_modalities(modalities)
    for index, value in enumerate(values):
        if set(value) != set(modalities):
            raise InputError(f"record {index} has {sorted(value)}, not {sorted(modalities)}")
    wanted = {}
    for modality in modalities:
        columns = _READERS[modality]([value[modality] for value in values])
        wanted[modality] = dict(zip(ATTRIBUTES[modality], columns, strict=True))
    return wanted


def compare(
    judgement: Judgement, wanted: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Whether each image is accepted and shows what each input asks for: modality -> bool [n]."""
    return {
        modality: judgement.accepted
        & np.all([getattr(judgement, name) == attributes[name] for name in attributes], axis=0)
        for modality, attributes in wanted.items()
    }


def satisfied(images: np.ndarray, values: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Which of the inputs in `values` each image satisfies: modality -> bool [n].

    A caption is satisfied by its shape and its colour, a label by the cell in which the object is,
    a tone by the object's size, a sketch by shape, size and cell of the outline in it.

    Raises:
      InputError: as `judge` and `read` do, or unless each image has its record.
    """
    if len(images) != len(values):
        raise InputError(f"{len(images)} images cannot be judged by {len(values)} records")
    return compare(judge(images), read(values))


def chance(modalities: Sequence[str], split: str = "test") -> float:
    """Exact chance of joint satisfaction on `shapes`, from its tables; see `Judge.chance`.

    Raises:
      InputError: for a modality or a split that is not there.
    """
    _check_modalities(modalities)
    said = {name for modality in modalities for name in ATTRIBUTES[modality]}
    columns = [column for column, name in enumerate(_COLUMNS) if name in said]
    drawn, wanted = (shapes.combinations(name)[:, columns] for name in ("train", split))
    matches = (drawn[:, None] == wanted[None]).all(axis=-1)
    return int(matches.sum()) / matches.size


def misbound(images: np.ndarray, values: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Binding errors: which images show all that `values` ask for, but on several objects.

    Each object that stands apart, of one colour, is judged as if it were alone. An image is
    misbound if each attribute that is asked for is one of some whole object's, but all are
    together on none.

    Returns:
      bool [n].

    Raises:
      InputError: as `judge` and `read` do.
    """
    wanted, found = read(values), np.zeros(len(images), bool)
    for row in np.flatnonzero(~judge(images).accepted):
        alone = _objects(images[row])
        if len(alone) < 2:
            continue
        judgement = judge(alone)
        hits = np.stack(
            [
                judgement.accepted & (getattr(judgement, name) == asked[row])
                for attributes in wanted.values()
                for name, asked in attributes.items()
            ]
        )
        found[row] = hits.any(axis=1).all() and not hits.all(axis=0).any()
    return found


def shapes_judge(options: DataOptions) -> Judge:
    """The exact judge of data set `shapes`."""
    kinds = options.kinds

    def values(records: Sequence[Record], names: Sequence[str]) -> list[dict[str, Any]]:
        return [{kinds[name]: record.values[name] for name in names} for record in records]

    def right(images: np.ndarray, records: Sequence[Record], names: Sequence[str]) -> Any:
        found = satisfied(images, values(records, names))
        return {name: found[kinds[name]] for name in names}

    return Judge(
        right,
        lambda names, split: chance(sorted({kinds[name] for name in names}), split),
        accuracy=1.0,
        misbound=lambda images, records, names: misbound(images, values(records, names)),
    )


def reading(options: DataOptions) -> Reading:
    """What inputs of `shapes` say, and what pictures show: -1 where that is no whole object."""

    def says(records: Sequence[Record], name: str) -> dict[str, np.ndarray]:
        kind = options.kinds[name]
        return read([{kind: record.values[name]} for record in records])[kind]

    def shows(images: np.ndarray) -> dict[str, np.ndarray]:
        found = judge(images)
        return {name: np.where(found.accepted, getattr(found, name), -1) for name in _COLUMNS}

    return Reading(says, shows)


_COLUMNS = ("shape", "colour", "size", "position")
_CHUNK = 500  # images at a time: bounds memory


class _Bank(NamedTuple):
    """One kind of drawing of every shape, size and sub-pixel offset, in a small window.

    Attributes:
      coverage: float32 [templates, window * window].
      shape, size: int [templates].
      x, y: float32 [templates], offset in pixels from the centre of the window's middle pixel.
      reach: pixels from the window's middle to its border.
    """

    coverage: np.ndarray
    shape: np.ndarray
    size: np.ndarray
    x: np.ndarray
    y: np.ndarray
    reach: int


@functools.lru_cache(maxsize=4)
def _bank(image_size: int, outline: bool) -> _Bank:
    scale = image_size / shapes.FRAME
    # The mask's centre is off by at most half a pixel of rounding and half a pixel of blemishes.
    offsets = np.linspace(-1, 1, 17, dtype=np.float32) * np.float32(max(scale, 1.0))
    reach = int(np.ceil(1.3 * shapes.RADII[-1] * scale + 2))
    pixels = np.arange(-reach, reach + 1, dtype=np.float32)
    y, x = (grid.reshape(-1, 1, 1) for grid in np.meshgrid(offsets, offsets, indexing="ij"))
    width = max(shapes.STROKE * scale, 1.0)
    coverages = []
    kinds = list(itertools.product(range(len(DISTANCES)), range(len(shapes.RADII))))
    for shape, size in kinds:
        distance = DISTANCES[shapes.SHAPE_NAMES[shape]](
            pixels - x, pixels[:, None] - y, scale * shapes.RADII[size]
        )
        coverages.append(stroke(distance, width) if outline else fill(distance))
    coverage = np.concatenate(coverages).reshape(len(kinds) * x.size, -1)
    shape, size = np.repeat(kinds, x.size, axis=0).T
    x, y = (np.tile(offset.ravel(), len(kinds)) for offset in (x, y))
    return _Bank(coverage, shape, size, x, y, reach)


class _Fit(NamedTuple):
    shape: np.ndarray
    size: np.ndarray
    position: np.ndarray
    misfit: np.ndarray


def _fit(shade: np.ndarray, power: np.ndarray, bank: _Bank) -> _Fit:
    """Least-squares fit of one template to each picture.

    Args:
      shade: float32 [n, size, size], a pixel's projection on the object's colour: 0 is background,
        1 the colour itself.
      power: float32 [n, size, size], a pixel's squared distance from the background, in contrasts.
      bank: what to fit.
    """
    n, image_size = len(shade), shade.shape[1]
    row, column = (_centroid(shade > 0.5, axis) for axis in (1, 2))
    pad = [(0, 0), (bank.reach, bank.reach), (bank.reach, bank.reach)]
    side = (2 * bank.reach + 1,) * 2

    def crop(pictures: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(pictures, pad), side, (1, 2))
        return windows[np.arange(n), row, column].reshape(n, -1)

    near, energy = crop(shade), crop(power)
    scores = np.clip(near, 0, 1) @ bank.coverage.T - 0.5 * (bank.coverage**2).sum(axis=1)
    best = scores.argmax(axis=1)
    fitted = bank.coverage[best]
    wrong = (energy - 2 * fitted * near + fitted**2 > TOLERANCE**2).sum(axis=1)
    outside = (power > TOLERANCE**2).sum(axis=(1, 2)) - (energy > TOLERANCE**2).sum(axis=1)
    scale = image_size / shapes.FRAME
    cell = [
        np.abs((centre[:, None] + 0.5) / scale - shapes.CENTRES).argmin(axis=1)
        for centre in (row + bank.y[best], column + bank.x[best])
    ]
    misfit = (wrong + outside) / fitted.sum(axis=1)
    return _Fit(bank.shape[best], bank.size[best], 3 * cell[0] + cell[1], misfit)


def _centroid(mask: np.ndarray, axis: int) -> np.ndarray:
    """Index, along an axis of the picture, of the pixel nearest to each mask's centre of mass."""
    mass = mask.sum(axis=3 - axis)
    moments = mass @ np.arange(mask.shape[axis])
    return np.rint(moments / np.maximum(mass.sum(axis=1), 1)).astype(int)


def _judge_chunk(images: np.ndarray) -> Judgement:
    background = shapes.BACKGROUND.astype(np.float32)
    contrasts = np.stack(list(shapes.COLOURS.values())) - background
    squared = (contrasts**2).sum(axis=1, keepdims=True)
    pixels = images - background
    # [colour, n, size, size]. All contrasts have one length: the nearest colour projects furthest.
    shades = np.moveaxis(pixels @ (contrasts / squared).T, -1, 0)
    nearest = (shades == shades.max(axis=0)) & (shades > 0.5)
    colour = nearest.sum(axis=(2, 3)).argmax(axis=0)
    shade = shades[colour, np.arange(len(images))]
    power = np.einsum("nhwc,nhwc->nhw", pixels, pixels) / squared[0]
    fit = _fit(shade, power, _bank(images.shape[1], outline=False))
    return Judgement(fit.shape, colour, fit.size, fit.position, fit.misfit)


def _objects(image: np.ndarray) -> np.ndarray:
    """uint8 [n, size, size, 3]: each object of a picture alone, on the background."""
    contrasts = np.stack(list(shapes.COLOURS.values())) - shapes.BACKGROUND.astype(np.float32)
    shades = (image - shapes.BACKGROUND.astype(np.float32)) @ contrasts.T
    shades /= (contrasts**2).sum(axis=1)
    nearest, solid = shades.argmax(axis=-1), shades.max(axis=-1) > 0.5
    least = 0.5 * np.pi * (shapes.RADII[0] * len(image) / shapes.FRAME) ** 2  # of pixels
    alone = []
    for colour in np.unique(nearest[solid]):
        pieces, count = ndimage.label(solid & (nearest == colour), np.ones((3, 3)))
        for piece in range(1, count + 1):
            if (pieces == piece).sum() < least:
                continue
            # Its soft edge belongs to it, other objects do not.
            around = ndimage.binary_dilation(pieces == piece, np.ones((3, 3)))
            own = around & ~(solid & (pieces != piece))
            alone.append(np.where(own[..., None], image, shapes.BACKGROUND).astype(np.uint8))
    return np.stack(alone) if alone else np.zeros((0, *image.shape), np.uint8)


def _read_sketches(sketches: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Shape, size and position of the outline in each sketch, white on black."""
    if len({sketch.shape for sketch in sketches}) > 1:
        raise InputError("sketches judged together must all have one size")
    images = np.stack(sketches)
    _check_images(images)
    bank = _bank(images.shape[1], outline=True)
    fits = []
    for start in range(0, len(images), _CHUNK):
        shade = images[start : start + _CHUNK].mean(axis=-1, dtype=np.float32) / 255
        fits.append(_fit(shade, shade**2, bank))
    fit = _Fit(*map(np.concatenate, zip(*fits, strict=True)))
    if (fit.misfit > MISFIT_LIMIT).any():
        raise InputError(f"the sketch of record {fit.misfit.argmax()} shows no single known shape")
    return fit.shape, fit.size, fit.position


def _read_captions(captions: Sequence[str]) -> np.ndarray:
    return np.array([shapes.parse_caption(caption) for caption in captions]).T


def _read_labels(labels: Sequence[str]) -> tuple[np.ndarray]:
    unknown = set(labels) - set(shapes.POSITION_NAMES)
    if unknown:
        allowed = ", ".join(shapes.POSITION_NAMES)
        raise InputError(f"unknown label {min(unknown)!r}; allowed: {allowed}")
    return (np.array([shapes.POSITION_NAMES.index(label) for label in labels]),)


def _read_tones(tones: Sequence[np.ndarray]) -> tuple[np.ndarray]:
    return (np.array([shapes.parse_tone(tone) for tone in tones]),)


_READERS = {
    "text": _read_captions,
    "label": _read_labels,
    "audio": _read_tones,
    "image": _read_sketches,
}


def _check_modalities(modalities: Sequence[str]) -> None:
    unknown = sorted(set(modalities) - set(ATTRIBUTES))
    if unknown:
        allowed = ", ".join(ATTRIBUTES)
        raise InputError(f"cannot judge modality {unknown[0]!r} of shapes; allowed: {allowed}")


def _check_images(images: np.ndarray) -> None:
    n, height, width, channels = images.shape if images.ndim == 4 else (0, 0, 0, 0)
    if images.dtype != np.uint8 or not n or height != width or channels != 3:
        raise InputError(
            f"images must be uint8 [n, size, size, 3] with n > 0, not {images.dtype} "
            f"{list(images.shape)}"
        )
