"""Names of things: one spelling of each, and which one a person meant."""

import unicodedata

import pytest

from mmgen_jax.data.builders.digits import DIGITS
from mmgen_jax.data.names import meant, nearest, normalized
from mmgen_jax.data.shapes import POSITION_NAMES

NFD = unicodedata.normalize("NFD", "Café")


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("cat", "cat"),
        (" cat\t", "cat"),
        ("cat\xa0", "cat"),
        ("red  \n cat", "red cat"),
        (NFD, "Café"),
        ("Smileys & Emotion", "Smileys & Emotion"),
        ("各", "各"),
        ("", ""),
        (" \u3000", ""),
    ],
)
def test_a_name_has_one_spelling(name, spelling):
    assert normalized(name) == spelling
    assert normalized(spelling) == spelling


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("cat", ("cat", "Cat"), "cat"),
        ("Cat", ("cat", "Cat"), "Cat"),
        ("CAT", ("cat", "Cat"), None),
        ("CAT", ("cat", "dog"), "cat"),
        (" STRASSE ", ("Straße", "dog"), "Straße"),
        (NFD.upper(), ("Café",), "Café"),
        ("cta", ("cat", "dog"), None),
        ("", ("cat",), None),
        ("cat", (), None),
    ],
)
def test_the_case_is_forgiven_where_it_is_unambiguous(name, names, found):
    assert meant(name, names) == found


def test_near_names_are_found_whatever_their_case():
    assert nearest("top lfet", ("Top Left", "bottom right"))[0] == "Top Left"
    assert nearest("zebra", ("cat", "dog")) == []
    assert nearest("cat", ()) == []


# Of the emoji data set, as docs of Unicode have them, and of two of TFDS's.
GROUPS = (
    *("Smileys & Emotion", "People & Body", "Component", "Animals & Nature", "Food & Drink"),
    *("Travel & Places", "Activities", "Objects", "Symbols", "Flags"),
    *("airplane", "automobile", "pink primrose", "hard-leaved pocket orchid", "colt's foot"),
    "001.Black_footed_Albatross",
)


@pytest.mark.parametrize("names", [tuple(DIGITS), POSITION_NAMES, GROUPS])
def test_classes_of_the_data_sets_that_are_known_stay_as_they_are(names):
    """A run that was trained before names were normalized goes on with the same classes."""
    assert tuple(map(normalized, names)) == names
