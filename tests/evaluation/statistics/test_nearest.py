"""Nearest pictures, against the definition."""

import numpy as np

from mmgen_jax.evaluation.statistics import nearest as nearest_pictures
from mmgen_jax.evaluation.statistics.nearest import distinct, nearest, neighbours


def test_nearest_is_the_smallest_distance_and_the_first_of_equal_ones():
    rng = np.random.default_rng(0)
    images, references = (rng.integers(0, 256, (n, 4, 4, 3), np.uint8) for n in (7, 20))
    references[5] = references[3]
    images[2] = references[3]
    distances = ((images[:, None].astype(int) - references[None]) ** 2).sum((2, 3, 4))
    assert nearest(images, references).tolist() == distances.argmin(axis=1).tolist()
    assert nearest(images, references)[2] == 3


def test_the_nearest_few_are_found_part_by_part(monkeypatch):
    rng = np.random.default_rng(0)
    images, references = (rng.integers(0, 256, (n, 4, 4, 3), np.uint8) for n in (7, 20))
    references[5] = references[3]
    monkeypatch.setattr(nearest_pictures, "NUMBERS", 3 * 48)
    for one, apart in ((images, False), (references, True)):
        squares = ((one[:, None].astype(int) - references[None]) ** 2).sum((2, 3, 4))
        if apart:
            squares = np.where(np.eye(20, dtype=bool), squares.max() + 1, squares)
        order = np.argsort(squares, axis=1, kind="stable")[:, :4]
        distances, indices = neighbours(one, references, 4, apart)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_allclose(distances**2, np.take_along_axis(squares, order, 1), atol=1e-6)


def test_pictures_that_stand_twice_have_one_number():
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    pictures[4] = pictures[1]
    numbers = distinct(pictures)
    assert numbers[4] == numbers[1]
    assert len(set(numbers.tolist())) == 5
