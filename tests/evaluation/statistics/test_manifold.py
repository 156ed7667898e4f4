"""Precision and recall by neighbourhoods."""

import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.statistics import manifold
from mmgen_jax.evaluation.statistics.manifold import (
    density_coverage,
    precision_recall,
    squared_distances,
)


def brute_force(points, references, k):
    """The share of points within the reach of a reference, one by one."""
    inside = 0
    for point in points:
        for i, reference in enumerate(references):
            others = np.delete(references, i, axis=0)
            reach = np.sort(np.linalg.norm(others - reference, axis=1))[k - 1]
            if np.linalg.norm(point - reference) <= reach:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_it_equals_its_definition(k):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(40, 3)).astype(np.float32)
    generated = (0.7 * rng.normal(size=(30, 3)) + 1.5).astype(np.float32)
    precision, recall = precision_recall(real, generated, k)
    assert precision == brute_force(generated, real, k)
    assert recall == brute_force(real, generated, k)
    assert 0 < recall < 1 and 0 < precision < 1


def test_a_model_that_draws_one_picture_of_many_has_precision_without_recall():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(200, 8)).astype(np.float32)
    precision, recall = precision_recall(real, np.repeat(real[:1], 50, axis=0))
    assert precision == 1
    assert recall == 1 / 200  # the very same picture, at distance 0 of a reach of 0


def test_the_same_pictures_have_both_and_others_neither():
    real = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)


def test_equal_points_are_at_distance_zero():
    points = 1e3 * np.random.default_rng(3).normal(size=(20, 64)).astype(np.float32)
    assert (np.diag(squared_distances(points, points)) == 0).all()


def test_density_and_coverage_are_counted():
    """Reaches, of k = 1, are 1, 1, 2 and 4; what lies on the edge of one is not within it."""
    real = np.array([[0.0], [1.0], [3.0], [7.0]])
    generated = np.array([[0.5], [0.0], [2.0], [11.0], [30.0]])
    # 0.5 is within two reaches, 0 within one (its own), 2 within one, 11 and 30 within none.
    assert density_coverage(real, generated, k=1) == (pytest.approx(4 / 5), 3 / 4)
    assert density_coverage(real, real, k=2)[1] == 1


def test_parts_are_as_good_as_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(60, 3)), rng.normal(0.5, 1, size=(45, 3))
    whole = precision_recall(real, generated), density_coverage(real, generated)
    monkeypatch.setattr(manifold, "NUMBERS", 100)
    assert (precision_recall(real, generated), density_coverage(real, generated)) == whole


def test_too_few_pictures_are_refused():
    few = np.zeros((3, 2))
    with pytest.raises(InputError, match="^3 pictures for 3 neighbours; allowed: more than 3$"):
        precision_recall(few, few)
