"""Nearest pictures: has a model drawn, or copied, one that it was trained on?"""

import numpy as np
from jaxtyping import Float, Int, UInt8

Pictures = UInt8[np.ndarray, "batch height width 3"]
References = UInt8[np.ndarray, "m height width 3"]

NUMBERS = 1 << 25  # of float64, in an array of pictures: bounds memory


def nearest(
    images: Pictures, references: References, apart: bool = False
) -> Int[np.ndarray, "batch"]:
    """For each image the index of the reference at the smallest L2 distance, exactly.

    Of equal ones the first wins. `apart` as in `neighbours`.
    """
    return neighbours(images, references, 1, apart)[1][:, 0]


def neighbours(
    images: Pictures, references: References, k: int, apart: bool = False
) -> tuple[Float[np.ndarray, "batch k"], Int[np.ndarray, "batch k"]]:
    """(L2 distances, indices) of the k nearest references of each image, the nearest first.

    Distances are sums of squares of integers, computed in float64, where they are exact.

    Args:
      images: whose neighbours.
      references: among which; at least k, or k + 1 if they are apart.
      k: how many.
      apart: the images are the references, and none is a neighbour of its own.
    """
    size = max(1, min(4_096, NUMBERS // images[0].size))
    found = [
        _of_some(images[first : first + size], references, k, size, first if apart else None)
        for first in range(0, len(images), size)
    ]
    distances, indices = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return distances, indices


def _of_some(
    images: Pictures, references: References, k: int, size: int, own_first: int | None
) -> tuple[Float[np.ndarray, "batch k"], Int[np.ndarray, "batch k"]]:
    """`neighbours` of so few images that they fit in memory, by so many references at a time."""
    own = images.reshape(len(images), -1).astype(np.float64)
    best = np.full((len(images), 0), np.inf), np.zeros((len(images), 0), np.int64)
    for start in range(0, len(references), size):
        part = references[start : start + size].reshape(-1, own.shape[1]).astype(np.float64)
        squares = (own**2).sum(1)[:, None] - 2 * own @ part.T + (part**2).sum(1)[None]
        numbers = np.arange(start, start + len(part))
        if own_first is not None:
            squares[numbers[None] == own_first + np.arange(len(images))[:, None]] = np.inf
        all_squares = np.concatenate([best[0], squares], axis=1)
        indices = np.concatenate([best[1], np.broadcast_to(numbers, squares.shape)], axis=1)
        order = np.argsort(all_squares, axis=1, kind="stable")[:, :k]
        best = tuple(np.take_along_axis(x, order, axis=1) for x in (all_squares, indices))
    return np.sqrt(best[0]), best[1]


def distinct(pictures: Pictures) -> Int[np.ndarray, "batch"]:
    """A number for each picture, the same for those that are equal to the last bit."""
    rows = pictures.reshape(len(pictures), -1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
