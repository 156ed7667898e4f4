"""Names of emoji in many languages, from the Unicode Common Locale Data Repository (CLDR)."""

from pathlib import Path
from xml.etree import ElementTree

from mmgen_jax.errors import InputError

_INHERITED = "↑↑↑"  # CLDR's mark for "as in the parent locale"
_FOLDERS = ("annotations", "annotationsDerived")  # written by people, and composed from those


def languages(folder: Path) -> list[str]:
    """The locales that have names, in CLDR's spelling, for example "pt" and "pt_PT"."""
    return sorted(path.stem for path in (folder / _FOLDERS[0]).glob("*.xml") if path.stem != "root")


def read_names(folder: Path, language: str) -> dict[str, str]:
    """Reads the names that a text-to-speech program would say (`type="tts"`).

    A regional locale inherits what it does not say itself: en_GB from en_001 from en.
    Source: UTS #35, part 2, section 15 (annotations) and part 1, section 4.2 (inheritance).

    Args:
      folder: CLDR's folder `common`.
      language: one of `languages(folder)`.

    Returns:
      From an emoji without U+FE0F to its name.

    Raises:
      InputError: if the language is not there, or a file is broken.
    """
    available = languages(folder)
    if not available:
        raise InputError(f"{folder} is not CLDR's folder common: it lacks annotations/*.xml")
    if language not in available:
        allowed = ", ".join(available)
        raise InputError(f"--languages: {folder} has no names in {language!r}; allowed: {allowed}")
    found = {}
    for locale in reversed(_lineage(folder, language)):
        for path in (folder / kind / f"{locale}.xml" for kind in _FOLDERS):
            if path.exists():
                found.update(_names(path))
    return found


def _names(path: Path) -> dict[str, str]:
    return {
        annotation.attrib["cp"]: annotation.text.strip()
        for annotation in _parse(path).iterfind("annotations/annotation[@type='tts']")
        if annotation.text and annotation.text.strip() != _INHERITED
    }


def _lineage(folder: Path, language: str) -> list[str]:
    """The locale, its parent, and so on; the root, which knows no names, is left out."""
    supplement = _parse(folder / "supplemental" / "supplementalData.xml")
    parents = {
        child: entry.attrib["parent"]
        # Elements with a `component` are about other things than names (line breaks and such).
        for block in supplement.iterfind("parentLocales")
        if "component" not in block.attrib
        for entry in block
        for child in entry.get("locales", "").split()
    }
    lineage = []
    while language not in ("root", ""):
        lineage.append(language)
        language = parents.get(language, language.rpartition("_")[0])
    return lineage


def _parse(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"cannot read CLDR file {path}: {error}") from error
