"""Intervals."""

import pytest

from mmgen_jax.evaluation.statistics.rates import wilson


def test_wilson_matches_published_values():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    for (successes, n), bounds in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(successes, n) == pytest.approx(bounds, abs=5e-5)
