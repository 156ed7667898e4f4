"""Precision, recall, density and coverage: by the neighbourhoods of pictures' features."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from mmgen_jax.errors import InputError

NUMBERS = 1 << 24  # distances at a time: bounds memory
Features = Float[np.ndarray, "batch feature"]


def precision_recall(
    real: Features, generated: Float[np.ndarray, "m feature"], k: int = 3
) -> tuple[float, float]:
    """(precision, recall) (Kynkäänniemi et al. 2019, eq. 1 and 2).

    Precision is the share of generated pictures within the reach of a real one: no farther from it
    than its k-th nearest real neighbour. Recall is the same the other way round: the share of
    real pictures within the reach of a generated one, low where the model draws too few kinds.
    """
    return (
        float(_within(generated, real, k).mean()),
        float(_within(real, generated, k).mean()),
    )


def _within(
    points: Features, references: Float[np.ndarray, "m feature"], k: int
) -> Bool[np.ndarray, "batch"]:
    """Whether each point is within the reach of any reference."""
    reach = _reach(references, k)[None]
    return np.concatenate([(d <= reach).any(axis=1) for d in _rows(points, references)])


def density_coverage(
    real: Features, generated: Float[np.ndarray, "m feature"], k: int = 5
) -> tuple[float, float]:
    """(density, coverage) (Naeem et al. 2020, "Reliable fidelity and diversity metrics", eq. 3, 4).

    Density is how many real pictures have a generated one within their reach, of k, on average;
    coverage the share of real pictures that have any. Reaches are open here, as in the authors'
    code, while those of precision and recall are closed.
    """
    reach = _reach(real, k)[None]
    total, covered = 0, np.zeros(len(real), bool)
    for distances in _rows(generated, real):
        near = distances < reach
        total += int(near.sum())
        covered |= near.any(axis=0)
    return total / len(generated) / k, float(covered.mean())


def _reach(points: Features, k: int) -> Float[np.ndarray, "batch"]:
    """The squared distance of each point's k-th neighbour; the nearest of all is itself."""
    if len(points) <= k:
        raise InputError(f"{len(points)} pictures for {k} neighbours; allowed: more than {k}")
    return np.concatenate([np.partition(d, k, axis=1)[:, k] for d in _rows(points, points)])


def _rows(
    a: Features, b: Float[np.ndarray, "m feature"]
) -> Iterator[Float[np.ndarray, "some others"]]:
    """The rows of `squared_distances`, so many at a time that they fit in memory."""
    size = max(1, NUMBERS // len(b))
    for start in range(0, len(a), size):
        yield squared_distances(a[start : start + size], b)


def squared_distances(
    a: Features, b: Float[np.ndarray, "m feature"]
) -> Float[np.ndarray, "batch m"]:
    """Squared L2 distances, in float64; of equal points exactly 0."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    # What rounding leaves of the distance of equal points would put them out of a reach of 0.
    return np.where(squares < 1e-9 * (1 + (b**2).sum(1)[None]), 0, squares)
