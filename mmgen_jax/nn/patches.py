"""Images as sequences of square patches, and back."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def patchify(
    images: Float[Array, "batch height width channel"], patch_size: int
) -> Float[Array, "batch tokens values"]:
    """Cuts images into patches, row by row; a token holds patch * patch * channel values."""
    batch, height, width, channel = images.shape
    rows, columns = height // patch_size, width // patch_size
    x = images.reshape(batch, rows, patch_size, columns, patch_size, channel)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, rows * columns, patch_size * patch_size * channel
    )


def unpatchify(
    tokens: Float[Array, "batch tokens values"], height: int, width: int, patch_size: int
) -> Float[Array, "batch height width channel"]:
    """The inverse of `patchify` for images of the given height and width."""
    rows, columns = height // patch_size, width // patch_size
    x = tokens.reshape(tokens.shape[0], rows, columns, patch_size, patch_size, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(tokens.shape[0], height, width, -1)


def space_to_depth(
    images: Float[Array, "batch height width channel"], patch_size: int
) -> Float[Array, "batch rows columns values"]:
    """The patches where they lie, as a smaller image with patch * patch * channel channels."""
    batch, height, width, _ = images.shape
    return patchify(images, patch_size).reshape(
        batch, height // patch_size, width // patch_size, -1
    )


def depth_to_space(
    x: Float[Array, "batch rows columns values"], patch_size: int
) -> Float[Array, "batch height width channel"]:
    """The inverse of `space_to_depth`."""
    batch, rows, columns, values = x.shape
    return unpatchify(
        x.reshape(batch, -1, values), rows * patch_size, columns * patch_size, patch_size
    )


def patch_positions(height: int, width: int, patch_size: int) -> Float[Array, "tokens 3"]:
    """(0, row, column) of each patch, centred on the image's middle, for rotary positions.

    The first axis counts condition tokens (`fusion`), of which an image patch is none.
    """
    rows, columns = height // patch_size, width // patch_size
    row, column = jnp.meshgrid(
        jnp.arange(rows) - (rows - 1) / 2, jnp.arange(columns) - (columns - 1) / 2, indexing="ij"
    )
    return jnp.stack([jnp.zeros(rows * columns), row.ravel(), column.ravel()], axis=-1)


def sequence_positions(tokens: int) -> Float[Array, "tokens 3"]:
    """(index, 0, 0) of each token of a sequence, on the same axes as `patch_positions`."""
    return jnp.pad(jnp.arange(tokens, dtype=jnp.float32)[:, None], ((0, 0), (0, 2)))
