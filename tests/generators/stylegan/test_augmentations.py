"""The names of augmentations, which a config is checked by before jax is loaded."""

import subprocess
import sys

import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.generators.stylegan.augmentations import GROUPS, Augmentations, is_known, parse


@pytest.mark.parametrize(
    ("joined", "chosen"),
    [
        ("none", set()),
        ("hue", {"hue"}),
        ("translation+scale", {"translation", "scale"}),
        ("blit", {"flip", "quarter_turn", "translation"}),
        ("blit+flip+hue", {"flip", "quarter_turn", "translation", "hue"}),
        ("blit+geometry+colour", set(Augmentations._fields)),
    ],
)
def test_names_and_groups_are_multipliers_of_one(joined, chosen):
    assert parse(joined) == Augmentations(**dict.fromkeys(chosen, 1.0))
    assert is_known(joined)


def test_groups_hold_each_augmentation_once_in_the_order_of_application():
    assert sum(GROUPS.values(), ()) == Augmentations._fields


@pytest.mark.parametrize(
    ("joined", "name"), [("", ""), ("blit+", ""), ("blur+flip", "blur"), ("flip+none", "none")]
)
def test_refuses_unknown_names_and_says_what_is_allowed(joined, name):
    allowed = "none, or any of these joined by .: blit, geometry, colour, flip, .*saturation"
    with pytest.raises(InputError, match=f"unknown augmentation {name!r} in .*allowed: {allowed}"):
        parse(joined)
    assert not is_known(joined)


def test_imports_no_jax():
    check = (
        "import sys, mmgen_jax.generators.stylegan.augmentations; sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", check]).returncode == 0
