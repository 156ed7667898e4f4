"""Names and keywords of emoji in many languages: the Unicode Common Locale Data Repository (CLDR).

Source: UTS #35, part 2, section 15 (annotations) and part 1, section 4.2 (inheritance).
"""

from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from mmgen_jax.errors import InputError
from mmgen_jax.storage import check_file

NAMES = 3600  # so many names make a language complete,
OWN_SHARE = 1 / 3  # if it says so large a share of them itself
_INHERITED = "↑↑↑"  # CLDR's mark for "as in the parent locale"
_FOLDERS = ("annotations", "annotationsDerived")  # written by people, and composed from those


class Annotations(NamedTuple):
    """What a language says of emoji; the keys are emoji without U+FE0F.

    Attributes:
      names: what a text-to-speech program would say (`type="tts"`).
      keywords: what one may search for, joined by ", ".
    """

    names: dict[str, str]
    keywords: dict[str, str]


class Cldr:
    """The annotations of all locales; a file is read when it is asked for, and once."""

    def __init__(self, folder: Path):
        """Finds the locales.

        Args:
          folder: CLDR's folder `common`.

        Raises:
          InputError: if it is not that folder.
        """
        self._folder = folder
        self._read: dict[str, Annotations] = {}
        found = (path.stem for path in (folder / _FOLDERS[0]).glob("*.xml"))
        self.locales = sorted(locale for locale in found if locale != "root")
        if not self.locales:
            raise InputError(f"{folder} is not CLDR's folder common: it lacks annotations/*.xml")

    def languages(self, emojis: Collection[str]) -> list[str]:
        """The complete languages: English first, whatever it lacks, then in alphabetical order.

        Complete is a locale that has names for at least NAMES of the emoji after inheritance, at
        least OWN_SHARE of which it says itself. So Nynorsk (nn) is a language beside Bokmal (no),
        and pt_PT beside pt; en_AU, which is English but for 154 names, is not.

        Args:
          emojis: without U+FE0F.

        Raises:
          InputError: if a file is broken.
        """

        def complete(locale: str) -> bool:
            own, all_names = self._own(locale).names, self.annotations(locale).names
            named = sum(emoji in all_names for emoji in emojis)
            return named >= NAMES and sum(map(own.__contains__, emojis)) >= OWN_SHARE * named

        return ["en", *(each for each in self.locales if each != "en" and complete(each))]

    def annotations(self, locale: str) -> Annotations:
        """Reads the names and keywords of one locale.

        A regional locale inherits what it does not say itself: en_GB from en_001 from en.

        Args:
          locale: in CLDR's spelling, for example "pt" or "pt_PT".

        Raises:
          InputError: if the locale is not there, or a file is broken.
        """
        if locale not in self.locales:
            allowed = ", ".join(self.locales)
            raise InputError(
                f"--languages: {self._folder} has no names in {locale!r}; allowed: {allowed}"
            )
        found = Annotations({}, {})
        for ancestor in reversed(self._lineage(locale)):
            own = self._own(ancestor)
            found.names.update(own.names)
            found.keywords.update(own.keywords)
        return found

    def _own(self, locale: str) -> Annotations:
        """What the locale says itself."""
        if locale not in self._read:
            paths = (self._folder / kind / f"{locale}.xml" for kind in _FOLDERS)
            self._read[locale] = _read(path for path in paths if path.exists())
        return self._read[locale]

    def _lineage(self, locale: str) -> list[str]:
        """The locale, its parent, and so on; the root, which knows no names, is left out."""
        lineage = []
        while locale not in ("root", ""):
            lineage.append(locale)
            locale = self._parents.get(locale, locale.rpartition("_")[0])
        return lineage

    @cached_property
    def _parents(self) -> dict[str, str]:
        """The parents that do not follow from the locale's own spelling."""
        supplement = _parse(self._folder / "supplemental" / "supplementalData.xml")
        return {
            child: entry.attrib["parent"]
            # Elements with a `component` are about other things than names (line breaks and such).
            for block in supplement.iterfind("parentLocales")
            if "component" not in block.attrib
            for entry in block
            for child in entry.get("locales", "").split()
        }


def _read(paths: Iterable[Path]) -> Annotations:
    found = Annotations({}, {})
    for path in paths:
        for entry in _parse(path).iterfind("annotations/annotation"):
            text = (entry.text or "").strip()
            if not text or text == _INHERITED:
                continue
            if entry.get("type") == "tts":
                found.names[entry.attrib["cp"]] = text
            else:
                words = (word.strip() for word in text.split("|"))
                found.keywords[entry.attrib["cp"]] = ", ".join(filter(None, words))
    return found


def _parse(path: Path) -> ElementTree.Element:
    try:
        check_file(path)
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"cannot read CLDR file {path}: {error}") from error
