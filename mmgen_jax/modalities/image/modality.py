"""Modality `image`: a reference, a sketch or a masked picture, as patches."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgen_jax.errors import InputError
from mmgen_jax.media.images import normalise, quantise, read_image, resize
from mmgen_jax.modalities import Encoding, Modality, Recovery, Shared
from mmgen_jax.modalities.encoder import SequenceEncoder
from mmgen_jax.modalities.image.keys import ImageOptions
from mmgen_jax.modalities.reader import ImageReader
from mmgen_jax.nn.patches import patch_positions, patchify

# Scale of the likelihood: a reader that is off by 0.1 (of a range of 2) is one deviation off.
DEVIATION = 0.1


class ImageEncoder(nn.Module):
    """Patches and a transformer; rotary positions tell row and column."""

    patch_size: int
    width: int
    depth: int
    num_heads: int
    shared: Shared

    @nn.compact
    def __call__(self, picture: Float[Array, "batch height width channel"]) -> Encoding:
        dtype = jnp.dtype(self.shared.dtype)
        x = nn.Dense(self.width, dtype=dtype, name="embed")(patchify(picture, self.patch_size))
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])[None]
        positions = patch_positions(*picture.shape[1:3], self.patch_size)
        mask = jnp.ones(x.shape[:2], bool)
        return SequenceEncoder(self.depth, self.num_heads, self.shared)(x, mask, positions)


class PictureReader(nn.Module):
    """Predicts the conditioning picture from what is drawn."""

    shared: Shared

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channel"],
        picture: Float[Array, "batch picture_height picture_width 3"],
    ) -> Recovery:
        features = ImageReader(self.shared)(images)
        hidden = nn.silu(nn.Dense(4 * self.shared.reader.width, name="hidden")(features))
        values = nn.Dense(picture[0].size, name="picture")(hidden)
        error = jnp.square(values.reshape(picture.shape) - picture).mean(axis=(1, 2, 3))
        bound = -0.5 * error / DEVIATION**2 - jnp.log(DEVIATION) - 0.5 * jnp.log(2 * jnp.pi)
        return Recovery(bound, (error < DEVIATION**2).astype(jnp.float32))


def build(options: ImageOptions, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A picture, resized to the size of the generated images.

    Recovery is the log-density, in nats per value, of a Gaussian with deviation 0.1 around a
    prediction from the image: E[log q] <= E[log p], the variational bound on log p(x | y)
    (Barber & Agakov 2003, eq. 3) divided by the number of values. `correct` says that the
    root-mean-square error is below one deviation.
    """
    shape = (*shared.image_shape, 3)
    encoder = ImageEncoder(
        options.patch_size, options.width, options.depth, options.num_heads, shared
    )
    reader = PictureReader(shared)

    def prepare(raw: np.ndarray) -> dict[str, Any]:
        if raw.dtype != np.uint8 or raw.ndim != 3 or raw.shape[-1] != 3:
            raise InputError(
                f"picture of type {raw.dtype} and shape {raw.shape} is unusable; it must be"
                " uint8 [height, width, 3]"
            )
        return {"picture": normalise(resize(raw, shared.image_shape))}

    def init(key: jax.Array) -> dict[str, Any]:
        encoder_key, reader_key = jax.random.split(key)
        picture, drawn = jnp.zeros((1, *shape)), jnp.zeros((1, *shared.drawn))
        return {
            "encoders": encoder.init(encoder_key, picture)["params"],
            "recovery": reader.init(reader_key, drawn, picture)["params"],
        }

    return Modality(
        prepare=prepare,
        absent={"picture": np.zeros(shape, np.float32)},
        init=init,
        encode=lambda params, value: encoder.apply({"params": params}, value["picture"]),
        recover=lambda params, images, value, encoding: reader.apply(
            {"params": params}, images, value["picture"]
        ),
        parse=read_image,
        show=lambda value: quantise(value["picture"]),
    )
