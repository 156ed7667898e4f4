"""Scores of features against what they are by definition.

Against other implementations: `test_scores_reference.py`.
"""

import itertools

import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.statistics import frechet
from mmgen_jax.evaluation.statistics.inception_score import inception_score
from mmgen_jax.evaluation.statistics.kernel_distance import kernel_distance

RNG = np.random.default_rng(0)


def exactly(mean, deviations, count=400):
    """Features with this mean and these deviations, to the last bits, uncorrelated."""
    white = np.linalg.qr(np.c_[np.ones(count), RNG.normal(size=(count, len(mean)))])[0][:, 1:]
    return white * np.sqrt(count - 1) * np.asarray(deviations)[None] + np.asarray(mean)[None]


def test_of_independent_features_the_distance_has_a_closed_form():
    one, other = exactly([1, 2, 3], [1, 2, 0.5]), exactly([1, 0, 3.5], [3, 2, 0.25])
    found = frechet.distance(frechet.fit(one), frechet.fit(other))
    assert found == pytest.approx(4 + 0.25 + (3 - 1) ** 2 + 0.25**2, rel=1e-12)
    assert frechet.distance(frechet.fit(one), frechet.fit(one)) == pytest.approx(0, abs=1e-12)


def test_it_does_not_change_if_space_is_turned():
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    one, other = RNG.normal(size=(90, 5)), 2 * RNG.normal(size=(80, 5)) + 1
    expected = frechet.distance(frechet.fit(one), frechet.fit(other))
    turned = frechet.distance(frechet.fit(one @ turn), frechet.fit(other @ turn))
    assert turned == pytest.approx(expected, rel=1e-12)


def test_fewer_pictures_than_features_have_a_distance_too():
    """In a space that has further dimensions, in which both are constant."""
    one, other = RNG.normal(size=(30, 4)), 2 * RNG.normal(size=(20, 4))
    expected = frechet.distance(frechet.fit(one), frechet.fit(other))
    turn = np.linalg.qr(RNG.normal(size=(50, 50)))[0][:4]
    wide = frechet.distance(frechet.fit(one @ turn), frechet.fit(other @ turn))
    assert wide == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sizes", [(7, 5, 88), (100,), (1,) * 100])
def test_parts_are_fitted_as_the_whole(sizes):
    features = (1000 + RNG.normal(size=(100, 6))).astype(np.float32)
    ends = list(itertools.accumulate(sizes))
    parts = (features[end - size : end] for size, end in zip(sizes, ends, strict=True))
    found = frechet.fit(parts)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(exact.T), rtol=1e-9, atol=1e-12)
    assert found.count == 100


def test_one_picture_has_no_covariance():
    with pytest.raises(InputError, match="1 pictures have no covariance; allowed: 2 or more"):
        frechet.fit(np.ones((1, 3)))


def test_the_kernel_distance_is_the_unbiased_discrepancy():
    """Of all pairs, one by one; the subsets hold everything, in some order."""
    x, y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3)) + 0.5

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    different = list(itertools.permutations(range(6), 2))
    within = sum(kernel(z[i], z[j]) for z in (x, y) for i, j in different) / len(different)
    between = np.mean([kernel(a, b) for a in x for b in y])
    found = kernel_distance(x, y, subsets=3, size=6)
    assert found.mean == pytest.approx(within - 2 * between, rel=1e-12)
    assert found.deviation == pytest.approx(0, abs=1e-12)


def test_subsets_are_drawn_anew_and_the_same_for_the_same_seed():
    x, y = RNG.normal(size=(40, 3)), RNG.normal(size=(30, 3))
    one, same, other = (kernel_distance(x, y, 8, 10, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert one.deviation > 0
    with pytest.raises(InputError, match="30 pictures for subsets of 31; allowed: at least 31"):
        kernel_distance(x, y, 8, 31)


def test_the_inception_score_is_between_1_and_the_number_of_classes():
    sure = 200.0 * np.eye(5)[np.arange(100) % 5]
    assert inception_score(sure, parts=1).mean == pytest.approx(5, rel=1e-9)
    assert inception_score(np.zeros((100, 5))).mean == pytest.approx(1, rel=1e-12)
    same = np.tile(RNG.normal(size=5), (100, 1))
    assert inception_score(same) == pytest.approx((1, 0), abs=1e-12)


def test_by_hand_of_two_classes():
    p = np.array([[0.9, 0.1], [0.5, 0.5]])
    divergence = (p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()
    assert inception_score(np.log(p) + 3, parts=1).mean == pytest.approx(np.exp(divergence))
    with pytest.raises(InputError, match="2 pictures in 10 parts"):
        inception_score(p)
