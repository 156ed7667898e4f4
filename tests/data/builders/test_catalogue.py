"""The catalogue of emoji, and the split by base."""

import re
from pathlib import Path

import pytest

from mmgen_jax.data.builders.catalogue import Emoji, base, read_catalogue, shuffled, splits
from mmgen_jax.data.builders.emoji import EMOJI_TEST
from mmgen_jax.errors import InputError

needs_catalogue = pytest.mark.skipif(
    not Path(EMOJI_TEST).exists(), reason="needs Debian package unicode-data"
)


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("👍🏽", "👍"),
        ("❤️", "❤"),
        ("👩🏾‍🚀", "🧑‍🚀"),
        ("🏃🏻‍♀️", "🏃"),
        ("👨‍🦰", "🧑‍🦰"),
        ("👩‍❤️‍💋‍👨", "🧑‍❤‍💋‍🧑"),
        ("💏", "🧑‍❤‍💋‍🧑"),
        ("👭🏽", "🧑‍🤝‍🧑"),
        ("👨‍👨‍👦", "👪"),
        ("👪", "👪"),
        ("🫱🏻‍🫲🏿", "🤝"),
        ("♀️", "♀"),
        ("🇩🇪", "🇩🇪"),
    ],
)
def test_base(characters, expected):
    assert base(characters) == expected


def emojis_of(*characters):
    return [Emoji(each, each, "group", "subgroup") for each in characters]


def test_bases_that_share_a_picture_share_a_split_even_through_a_third():
    # A chain: each neighbouring pair of letters has one picture in common.
    letters = [chr(0x1F600 + i) for i in range(60)]
    pairs = [(letter, b"%d" % i) for i in range(59) for letter in letters[i : i + 2]]
    assigned = splits(emojis_of(*(letter for letter, _ in pairs)), [number for _, number in pairs])
    assert assigned.keys() == set(letters)
    assert len(set(assigned.values())) == 1


def test_the_shuffled_order_says_nothing_of_the_split():
    emojis = shuffled(emojis_of(*(chr(0x1F300 + i) for i in range(1000))))
    assigned = splits(emojis, [emoji.key.encode() for emoji in emojis])
    test = [assigned[emoji.base] == "test" for emoji in emojis]
    assert 60 < sum(test) < 140
    assert 20 < sum(test[:500]) < 80


@needs_catalogue
def test_the_catalogue_is_whole():
    emojis = read_catalogue(Path(EMOJI_TEST))
    assert len(emojis) == len({emoji.characters for emoji in emojis}) >= 3600
    assert len({emoji.group for emoji in emojis}) == 9
    assert len({emoji.subgroup for emoji in emojis}) >= 99
    assert emojis[0] == Emoji("😀", "grinning face", "Smileys & Emotion", "face-smiling")


@needs_catalogue
def test_names_that_differ_in_gender_or_tone_only_share_a_base():
    """Judged by the names, which the split does not look at."""
    tone = re.compile(r"(:|,)? (medium-light|medium-dark|light|medium|dark) skin tone")
    gender = re.compile(r"\b(woman|man|women|men|person|people)\b")
    bases: dict[str, set[str]] = {}
    for emoji in read_catalogue(Path(EMOJI_TEST)):
        if emoji.subgroup.startswith(("person", "hand", "body", "family")):
            name = gender.sub("person", tone.sub("", emoji.name))
            bases.setdefault(name, set()).add(emoji.base)
    assert len(bases) > 150
    assert {name: found for name, found in bases.items() if len(found) > 1} == {}


@pytest.mark.parametrize("text", ["", "# group: A\n", "# group: A\n# subgroup: b\nnonsense\n"])
def test_a_file_that_is_no_catalogue_is_refused(tmp_path, text):
    path = tmp_path / "emoji-test.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_catalogue(path)
