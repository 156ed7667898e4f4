"""The catalogue of emoji: Unicode's `emoji-test.txt`, and who is a variant of whom."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_text

TEST_SHARE = 0.1
VARIATION_SELECTOR = "\ufe0f"  # asks for the picture rather than the text form of a character
_JOINER = "\u200d"
_LINE = re.compile(r"([0-9A-F ]+?) *; ([a-z-]+) *# \S+ E\d+\.\d+ (.+)")
_FAMILY, _ADULT, _CHILD = "👪", "🧑", "🧒"
# What is drawn once for each gender, or once more as a single character, counts as one.
_NEUTRAL = str.maketrans(
    {
        **dict.fromkeys("👨👩", _ADULT),
        **dict.fromkeys("👦👧", _CHILD),
        **dict.fromkeys("👴👵", "🧓"),
        **dict.fromkeys("🤴👸", "🫅"),
        **dict.fromkeys("🤰🫃", "🫄"),
        **dict.fromkeys("🕺", "💃"),
        **dict.fromkeys("🎅🤶", "🧑‍🎄"),
        **dict.fromkeys("👫👬👭", "🧑‍🤝‍🧑"),
        "💏": "🧑‍❤‍💋‍🧑",
        "💑": "🧑‍❤‍🧑",
        **dict.fromkeys([*map(chr, range(0x1F3FB, 0x1F400)), VARIATION_SELECTOR], None),  # tones
    }
)


class Emoji(NamedTuple):
    """One fully-qualified emoji.

    Attributes:
      characters: its code points, as a string.
      name: its English name in the catalogue, for example "woman: red hair".
      group: one of 9, for example "People & Body".
      subgroup: one of about 100, for example "person".
    """

    characters: str
    name: str
    group: str
    subgroup: str

    @property
    def key(self) -> str:
        """The emoji as CLDR's annotations spell it: without U+FE0F."""
        return self.characters.replace(VARIATION_SELECTOR, "")

    @property
    def base(self) -> str:
        """The emoji without skin tone, gender and U+FE0F; families of all sizes are one."""
        return base(self.characters)


def read_catalogue(path: Path) -> list[Emoji]:
    """Reads the fully-qualified emoji of an `emoji-test.txt`, in its order.

    Source: UTS #51, Unicode Emoji, section 4.9 (data files).

    Raises:
      InputError: if the file or a line of it is not in that format, or lists no emoji.
    """
    emojis, group, subgroup = [], "", ""
    for number, line in enumerate(_read_lines(path), 1):
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ").strip()
        elif line.strip() and not line.startswith("#"):
            match = _LINE.fullmatch(line.strip())
            if not (match and group and subgroup):
                raise InputError(f"{path}:{number}: not a line of an emoji-test.txt: {line[:60]!r}")
            codes, status, name = match.groups()
            if status == "fully-qualified":
                characters = "".join(chr(int(code, 16)) for code in codes.split())
                emojis.append(Emoji(characters, name, group, subgroup))
    if not emojis:
        raise InputError(f"{path} lists no fully-qualified emoji; it must be an emoji-test.txt")
    return emojis


def _read_lines(path: Path) -> list[str]:
    try:
        return read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as an emoji-test.txt: {error}") from error


def base(characters: str) -> str:
    """Strips skin tone, gender and U+FE0F from an emoji, so that variants of one share it."""
    parts = characters.translate(_NEUTRAL).split(_JOINER)
    parts = [part for part in parts if part not in ("♀", "♂")] or parts
    if _CHILD in parts and set(parts) <= {_ADULT, _CHILD} and len(parts) > 1:
        return _FAMILY
    return "🤝" if parts == ["🫱", "🫲"] else _JOINER.join(parts)  # a handshake of two tones


def shuffled(emojis: Iterable[Emoji]) -> list[Emoji]:
    """Puts emoji in an order that looks random and never changes."""
    return sorted(emojis, key=lambda emoji: stable_hash("order", emoji.characters))


def stable_hash(purpose: str, text: str) -> int:
    """A hash in [0, 2**64), the same in every process; independent for each purpose."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, person=purpose.encode()).digest()
    return int.from_bytes(digest, "big")


def splits(emojis: Sequence[Emoji], pictures: Sequence[bytes]) -> dict[str, str]:
    """Assigns each base to "train" or "test" (about TEST_SHARE of the bases).

    Args:
      emojis: the whole catalogue.
      pictures: something that is equal for emoji with equal pictures (some flags), one each. Bases
        that share a picture go to the same split, as do all variants of a base.
    """
    kin = {emoji.base: emoji.base for emoji in emojis}
    sharing: dict[bytes, set[str]] = {}
    for emoji, picture in zip(emojis, pictures, strict=True):
        sharing.setdefault(picture, set()).add(emoji.base)
    for bases in sharing.values():
        _unite(kin, bases)
    border = TEST_SHARE * 2**64
    return {
        key: "test" if stable_hash("split", first) < border else "train"
        for key, first in kin.items()
    }


def _unite(kin: dict[str, str], bases: Iterable[str]) -> None:
    """Names all that are kin to any of `bases` after one of them."""
    merged = {kin[key] for key in bases}
    if len(merged) > 1:
        kin.update({key: min(merged) for key, first in kin.items() if first in merged})
