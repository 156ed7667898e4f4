"""Anti-aliased drawing of flat shapes from their signed distances, in NumPy.

A signed distance is negative inside a shape and grows by one per pixel across its outline, so that
a pixel's coverage is a ramp one pixel wide. Distances are mitred: exact along straight edges, and
too small in magnitude beyond a corner, which keeps the corners of an outline sharp.
"""

from collections.abc import Callable

import numpy as np


def circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a circle of this radius."""
    return np.hypot(x, y) - np.float32(radius)


def square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a square that covers as much as a circle of this radius."""
    return _box(np.abs(x), np.abs(y), 0.886 * radius, 0.886 * radius)


def triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to an equilateral triangle around its centroid, apex up, corners at 1.3 radii."""
    slopes = np.float32(np.sqrt(0.75)) * np.abs(x) - np.float32(0.5) * y
    return np.maximum(slopes, y) - np.float32(0.65 * radius)


def cross(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to an upright cross with arms one radius long and 0.7 radii wide."""
    x, y = np.abs(x), np.abs(y)
    return np.minimum(_box(x, y, radius, 0.35 * radius), _box(x, y, 0.35 * radius, radius))


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "cross": cross,
}
"""Shape -> (x, y, radius) -> signed distance; x points right and y down from the shape's centre,
both float32 and broadcast together, all in one unit of length."""


def fill(distance: np.ndarray) -> np.ndarray:
    """Coverage, in [0, 1], of each pixel by the inside of a shape; distances in pixels."""
    return np.clip(np.float32(0.5) - distance, 0, 1)


def stroke(distance: np.ndarray, width: float) -> np.ndarray:
    """Coverage, in [0, 1], of each pixel by an outline `width` pixels wide."""
    return np.clip(np.float32(0.5 + width / 2) - np.abs(distance), 0, 1)


def paint(coverage: np.ndarray, colour: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Mixes two colours by coverage.

    Args:
      coverage: float32 [..., height, width] in [0, 1].
      colour: uint8 [3], where the coverage is 1.
      background: uint8 [3], where it is 0.

    Returns:
      uint8 [..., height, width, 3], rounded to nearest.
    """
    contrast = colour.astype(np.float32) - background.astype(np.float32)
    return (coverage[..., None] * contrast + (background + np.float32(0.5))).astype(np.uint8)


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """Distance to a rectangle, of points folded into its first quadrant."""
    return np.maximum(x - np.float32(half_width), y - np.float32(half_height))
