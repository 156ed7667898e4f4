"""Measures the Fréchet distance of two sets of features, beside clean-fid and torch-fidelity.

    python -m pip install --editable='.[reference]'
    python -m tools.benchmark_scores --count=10000 --features=2048

In turns, on the same features, each of the three from features to the number. Where one of the
others is not installed it is left out, and said so.
"""

import importlib
import statistics
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from mmgen_jax import cli
from mmgen_jax.evaluation.statistics import frechet

COUNT = flags.DEFINE_integer(
    "count", 10_000, "Pictures in each set.", lower_bound=2, upper_bound=1_000_000
)
FEATURES = flags.DEFINE_integer(
    "features", 2_048, "Features of a picture.", lower_bound=1, upper_bound=8_192
)
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds of each.", lower_bound=1, upper_bound=1_000)

Distance = Callable[[np.ndarray, np.ndarray], float]


def main() -> None:
    one, other = some(COUNT.value, FEATURES.value, 0), some(COUNT.value, FEATURES.value, 1)
    found: dict[str, list[tuple[float, float]]] = {}
    measured = ways()
    for _ in range(ROUNDS.value):
        for name, distance in measured.items():
            start = time.perf_counter()
            value = distance(one, other)
            found.setdefault(name, []).append((time.perf_counter() - start, value))
    own = statistics.median(seconds for seconds, _ in found["mmgen_jax"])
    print(f"{COUNT.value} x {FEATURES.value} features, median of {ROUNDS.value} rounds")
    for name, rounds in found.items():
        seconds = statistics.median(seconds for seconds, _ in rounds)
        print(f"{name:15} {seconds:8.2f} s  {seconds / own:5.2f} x  distance {rounds[0][1]:.12g}")


def some(count: int, features: int, seed: int) -> np.ndarray:
    """[count, features] of float32's values, positive and correlated, as what Inception says."""
    mixed = np.random.default_rng(7).normal(size=(features, features)) / features**0.5
    white = np.random.default_rng(seed).normal(size=(count, features))
    found = np.maximum(white @ mixed + 0.3 + 0.05 * seed, 0).astype(np.float32)
    return found.astype(np.float64)  # the others average in the type of the features


def ways() -> dict[str, Distance]:
    """By library, (features, features) -> Fréchet distance."""
    found: dict[str, Distance] = {
        "mmgen_jax": lambda one, other: frechet.distance(frechet.fit(one), frechet.fit(other))
    }
    for name, module, make in (
        ("clean-fid", "cleanfid.fid", lambda fid: fid.fid_from_feats),
        ("torch-fidelity", "torch_fidelity.metric_fid", _torch_fidelity),
    ):
        try:
            found[name] = make(importlib.import_module(module))
        except (ImportError, RuntimeError) as error:
            print(f"{name} is left out: {error}")
    return found


def _torch_fidelity(fid: object) -> Distance:
    import torch

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        fits = (fid.fid_features_to_statistics(torch.tensor(x)) for x in (one, other))
        return fid.fid_statistics_to_metric(*fits, verbose=False)["frechet_inception_distance"]

    return distance


if __name__ == "__main__":
    cli.run(main)
