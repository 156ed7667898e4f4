"""The means between two lines of the log."""

import json

from mmgen_jax.training.means import Means


def test_means_since_they_were_taken():
    means = Means()
    for value in (1.0, 2.0, 6.0):
        means.add({"loss": value, "flow": 2 * value})
    assert means.take() == {"loss": 3.0, "flow": 6.0}
    means.add({"loss": 5.0})
    assert means.take() == means.newest == {"loss": 5.0}


def test_they_go_on_from_json_to_the_bit():
    values = [0.1, 1 / 3, 1e-7, 2e5, 0.7]
    whole, first = Means(), Means()
    for value in values:
        whole.add({"loss": value})
    for value in values[:2]:
        first.add({"loss": value})
    second = Means(json.loads(json.dumps(first.to_json())))
    for value in values[2:]:
        second.add({"loss": value})
    assert second.take() == whole.take()


def test_what_is_saved_is_a_copy():
    """It is written in the background, while training goes on."""
    means = Means()
    saved = means.to_json()
    means.add({"loss": 1.0})
    assert saved == {"count": 0, "sums": {}, "newest": {}}


def test_the_newest_are_kept_in_json():
    means = Means()
    assert Means(means.to_json()).newest == {}
    means.add({"loss": 2.0})
    means.take()
    assert Means(means.to_json()).newest == {"loss": 2.0}
