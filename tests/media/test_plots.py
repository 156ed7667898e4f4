"""Plots, by what is in the picture."""

import numpy as np

from mmgen_jax.media import plots


def ink(picture):
    """Share of pixels that are no grey."""
    spread = picture.max(-1).astype(int) - picture.min(-1)
    return (spread > 40).mean()


def test_a_curve_for_each_name():
    one = plots.curves({"text": [(1, 0.2), (2, 0.8)]}, "step", "rate")
    two = plots.curves({"text": [(1, 0.2), (2, 0.8)], "label": [(1, 0.8), (2, 0.1)]}, "step", "r")
    assert one.dtype == np.uint8 and one.shape == two.shape and one.shape[2] == 3
    assert 0 < 1.5 * ink(one) < ink(two)


def test_a_bar_for_each_run_that_has_the_row():
    high = plots.bars({"flow": {"text": 1.0, "label": 1.0}, "gan": {"text": 1.0}}, "rate")
    low = plots.bars({"flow": {"text": 1.0, "label": 0.1}, "gan": {"text": 0.1}}, "rate")
    assert ink(high) > 1.5 * ink(low) > 0.02
