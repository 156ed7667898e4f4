"""Numbers with the intervals that they are known to."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a rate, at 95% confidence by default.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    rate, shrink = successes / n, 1 + z**2 / n
    centre = (rate + z**2 / (2 * n)) / shrink
    half = z / shrink * (rate * (1 - rate) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def rate(right: Bool[np.ndarray, "rows"], chance: float) -> dict[str, Any]:
    """How often something is right, beside how often it would be by chance; JSON-able."""
    return {
        "rate": float(right.mean()),
        "count": len(right),
        "chance": chance,
        "interval": list(wilson(int(right.sum()), len(right))),
    }


def level(decibels: Float[np.ndarray, "rows"]) -> dict[str, Any]:
    """The mean of some levels in dB, with its normal interval at 95%; JSON-able."""
    mean, error = float(decibels.mean()), float(decibels.std() / len(decibels) ** 0.5)
    interval = [mean - 1.96 * error, mean + 1.96 * error]
    return {"psnr": mean, "count": len(decibels), "psnr_interval": interval}
