"""The kernel distance of two sets of features (Bińkowski et al. 2018, "Demystifying MMD GANs").

With features of Inception-v3 it is the KID.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmgen_jax.errors import InputError

Features = Float[np.ndarray, "batch feature"]


class Spread(NamedTuple):
    """A score of parts of the pictures: its mean over them, and its (biased) deviation."""

    mean: float
    deviation: float


def kernel_distance(
    real: Features,
    generated: Float[np.ndarray, "m feature"],
    subsets: int = 100,
    size: int = 1_000,
    seed: int = 2020,
) -> Spread:
    """The squared maximum mean discrepancy, unbiased (section 3 and 4; Gretton et al. 2012, eq. 3).

    The kernel is (x · y / d + 1)³. `size` features of either set are drawn without replacement, in
    the same order as torch-fidelity's for the same seed, `subsets` times.

    Raises:
      InputError: if there are fewer features than `size`.
    """
    least = min(len(real), len(generated))
    if least < size:
        raise InputError(f"{least} pictures for subsets of {size}; allowed: at least {size}")
    draw, found = np.random.RandomState(seed), []
    for _ in range(subsets):
        x = real[draw.choice(len(real), size, replace=False)].astype(np.float64)
        y = generated[draw.choice(len(generated), size, replace=False)].astype(np.float64)
        found.append(_discrepancy(x, y))
    return Spread(float(np.mean(found)), float(np.std(found)))


def _discrepancy(x: Features, y: Features) -> float:
    n, own = len(x), (_kernel(x, x), _kernel(y, y))
    within = sum(kernel.sum() - np.trace(kernel) for kernel in own) / (n * (n - 1))
    return within - 2 * _kernel(x, y).mean()


def _kernel(x: Features, y: Features) -> Float[np.ndarray, "batch batch"]:
    return (x @ y.T / x.shape[1] + 1) ** 3
