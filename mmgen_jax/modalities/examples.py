"""From a record to the arrays that a model is fed."""

from collections.abc import Mapping

import numpy as np

from mmgen_jax.data import Record
from mmgen_jax.data.pipeline import Example, drawn_value
from mmgen_jax.errors import InputError
from mmgen_jax.media.images import normalise, resize
from mmgen_jax.modalities import Modality


def prepare_example(
    record: Record, index: int, modalities: Mapping[str, Modality], image_shape: tuple[int, int]
) -> Example:
    """Turns a record into arrays of fixed shapes.

    A picture of other proportions than `image_shape`, height and width, is cropped to its centre;
    one of another size is resized (`images.resize`). Of several values of a modality one is
    `drawn`. Parts of the record that no modality asks for are not decoded.

    Raises:
      InputError: if the picture, or the value of a modality, cannot be used.
    """
    latents = record.latents
    return Example(
        index=np.uint32(index % 2**32),
        image=_picture(record, image_shape) if latents is None else latents,
        values={
            name: modality.prepare(drawn_value(record.values[name], index, name))
            if name in record.values
            else modality.absent
            for name, modality in modalities.items()
        },
        has={name: np.bool_(name in record.values) for name in modalities},
    )


def _picture(record: Record, shape: tuple[int, int]) -> np.ndarray:
    picture = np.asarray(record.image)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(
            f"image: {picture.dtype} {list(picture.shape)}; allowed: uint8 [height, width, 3]"
        )
    return normalise(resize(picture, shape))
