"""From what a person gives to what a model is fed, and back to what a person can read."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from mmgen_jax.errors import InputError
from mmgen_jax.media import gallery
from mmgen_jax.media.images import normalise, read_image, read_mask, resize
from mmgen_jax.model import Model
from mmgen_jax.sampling.sample import Known


def parse(model: Model, texts: Mapping[str, str]) -> dict[str, Any]:
    """Inputs as a command line has them -> raw values, by modality.

    Raises:
      InputError: for a modality that the model does not have, or a text that it cannot read.
    """
    for name in texts:
        _check_modality(model, name)
    return {name: model.modalities[name].parse(text) for name, text in texts.items()}


def conditions(
    model: Model, raws: Mapping[str, Any], rows: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same raw inputs for `rows` rows -> (values, has).

    Raises:
      InputError: for a modality that the model does not have, or a value that it cannot use.
    """
    for name in raws:
        _check_modality(model, name)
    values, has = {}, {}
    for name, modality in model.modalities.items():
        value = modality.prepare(raws[name]) if name in raws else modality.absent
        values[name] = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], rows, axis=0), value)
        has[name] = np.full(rows, name in raws)
    return values, has


def cuts(model: Model, raws: Mapping[str, Any]) -> list[str]:
    """A line for each of some raw inputs of which the model is fed a part alone.

    Raises:
      InputError: for a value that the model cannot use.
    """
    extents = {name: model.modalities[name].extent(raw) for name, raw in raws.items()}
    return [f"{name}: {found.describe()}" for name, found in extents.items() if found and found.cut]


def given_part(model: Model, picture: str | None, mask: str | None, rows: int) -> Known | None:
    """Picture files as a command line names them -> the same known part for `rows` rows.

    Args:
      model: what is to draw the rest.
      picture: what is known; cropped and resized as pictures to train on are.
      mask: white where the picture is to be redrawn, opaque, of the same height and width.
      rows: pictures to draw.

    Raises:
      InputError: if one is given without the other, for files that cannot be used, for a mask that
        leaves nothing to redraw, and for a family that does not inpaint.
    """
    if picture is None and mask is None:
        return None
    if picture is None or mask is None:
        raise InputError("--inpaint and --mask go together; allowed: both, or neither")
    if model.generator.inpaint is None:
        raise InputError("--inpaint: the run's family cannot; allowed: one that --help names")
    image, white = read_image(picture), read_mask(mask)
    if image.shape[:2] != white.shape:
        raise InputError(
            f"--mask={mask} is of {white.shape[1]} x {white.shape[0]} pixels; allowed:"
            f" {image.shape[1]} x {image.shape[0]}, as --inpaint={picture}"
        )
    pixels = np.repeat(np.uint8(255) * white[..., None], 3, axis=2)
    image, redraw = (resize(x, model.shared.image_shape) for x in (image, pixels))
    keep = (redraw < 128).all(-1)
    if keep.all():
        raise InputError(
            f"--mask={mask} leaves nothing to redraw of the {keep.shape[1]} x {keep.shape[0]}"
            f" pixels that are drawn; allowed: white where --inpaint={picture} is to be redrawn"
        )
    if not keep.any():
        print(
            f"--mask={mask} is white all over: nothing of --inpaint={picture} is kept", flush=True
        )
    known = Known(normalise(image), keep)
    return Known(*(np.repeat(x[None], rows, axis=0) for x in known))


def describe(
    model: Model, values: Mapping[str, Any], has: Mapping[str, Bool[np.ndarray, "rows"]]
) -> tuple[list[str], list[list[UInt8[np.ndarray, "height width 3"]]]]:
    """What the model is fed, for people: each row's lines of text, and its small pictures."""
    captions, thumbnails = [], []
    for row in range(len(next(iter(has.values())))):
        lines, pictures = [], []
        for name, modality in model.modalities.items():
            if not has[name][row]:
                continue
            shown = modality.show(jax.tree.map(lambda x, row=row: np.asarray(x)[row], values[name]))
            if isinstance(shown, str):
                lines.append(f"{name}: {shown}")
            elif shown.ndim == 1:
                pictures.append(gallery.spectrogram(shown))
            else:
                pictures.append(shown)
        captions.append("\n".join(lines))
        thumbnails.append(pictures)
    return captions, thumbnails


def _check_modality(model: Model, name: str) -> None:
    if name not in model.modalities:
        raise InputError(f"the run has no modality {name!r}; it has: {', '.join(model.modalities)}")
