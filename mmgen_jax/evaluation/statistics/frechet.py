"""The Fréchet distance of two Gaussians that are fitted to features (Heusel et al. 2017, eq. 6).

With features of Inception-v3 it is the FID; with those of any other extractor it is not, and must
not be called so. All is float64: float32 is off by tenths.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmgen_jax.errors import InputError

Features = Float[np.ndarray, "batch feature"]
Square = Float[np.ndarray, "features features"]


class Gaussian(NamedTuple):
    """What the distance needs of a set of features.

    Attributes:
      mean: of each feature, float64.
      covariance: unbiased, that is divided by count - 1.
      count: of the features that it was fitted to.
    """

    mean: Float[np.ndarray, "features"]
    covariance: Square
    count: int


def fit(features: Features | Iterable[Features]) -> Gaussian:
    """Fits a Gaussian to features, all at once or part by part.

    Parts are joined by the moments about the mean of the first one, so that little is lost where
    the mean is far from 0.

    Raises:
      InputError: if there are fewer than two.
    """
    parts = [features] if isinstance(features, np.ndarray) else features
    count, origin, total, square = 0, None, None, None
    for part in parts:
        part = part.astype(np.float64)
        if origin is None:
            origin = part.mean(axis=0)
            total, square = np.zeros_like(origin), np.zeros((len(origin),) * 2)
        moved = part - origin[None]
        total += moved.sum(axis=0)
        square += moved.T @ moved
        count += len(part)
    if count < 2:
        raise InputError(f"{count} pictures have no covariance; allowed: 2 or more")
    mean = total / count
    covariance = (square - count * np.outer(mean, mean)) / (count - 1)
    return Gaussian(origin + mean, covariance, count)


def distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), the squared distance that is reported as FID.

    The trace of the root is the sum of the roots of the eigenvalues of A^T C2 A, a symmetric matrix
    similar to C1 C2, with C1 = A A^T: A is Cholesky's factor, or where C1 is singular (no more
    pictures than features) its symmetric root.
    """
    factor = _factor(one.covariance)
    values = np.linalg.eigvalsh(factor.T @ other.covariance @ factor)
    root = np.sqrt(np.maximum(values, 0)).sum()
    shift = np.square(one.mean - other.mean).sum()
    return float(shift + np.trace(one.covariance) + np.trace(other.covariance) - 2 * root)


def _factor(covariance: Square) -> Square:
    """A with A A^T the covariance."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return vectors * np.sqrt(np.maximum(values, 0))[None]
