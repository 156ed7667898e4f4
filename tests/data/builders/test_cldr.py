"""Names of emoji in CLDR's format."""

import pytest

from mmgen_jax.data.builders.cldr import read_names
from mmgen_jax.errors import InputError


def write_locale(folder, kind, locale, names):
    lines = (
        f'<annotation cp="{cp}">keyword</annotation><annotation cp="{cp}" type="tts">{name}'
        "</annotation>"
        for cp, name in names.items()
    )
    path = folder / kind / f"{locale}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<ldml><annotations>{''.join(lines)}</annotations></ldml>", "utf-8")


@pytest.fixture
def cldr(tmp_path):
    write_locale(tmp_path, "annotations", "en", {"🍆": "eggplant", "🛢": "oil drum", "🍎": "apple"})
    write_locale(tmp_path, "annotationsDerived", "en", {"👍🏽": "thumbs up: medium skin tone"})
    write_locale(tmp_path, "annotations", "en_001", {"🍆": "aubergine", "🛢": "barrel"})
    write_locale(tmp_path, "annotations", "en_GB", {"🍆": "↑↑↑", "🛢": "oil barrel"})
    write_locale(tmp_path, "annotations", "zh", {"🍎": "红苹果"})
    write_locale(tmp_path, "annotations", "zh_Hant", {"🍆": "茄子"})
    (tmp_path / "supplemental").mkdir()
    (tmp_path / "supplemental" / "supplementalData.xml").write_text(
        '<d><parentLocales><parentLocale parent="en_001" locales="en_AU en_GB"/>'
        '<parentLocale parent="root" locales="zh_Hant"/></parentLocales>'
        '<parentLocales component="segmentations"><parentLocale parent="zh" locales="en_GB"/>'
        "</parentLocales></d>"
    )
    return tmp_path


def test_names_come_from_both_folders(cldr):
    assert read_names(cldr, "en") == {
        "🍆": "eggplant",
        "🛢": "oil drum",
        "🍎": "apple",
        "👍🏽": "thumbs up: medium skin tone",
    }


def test_a_region_inherits_from_its_parents(cldr):
    assert read_names(cldr, "en_GB") == {
        "🍆": "aubergine",
        "🛢": "oil barrel",
        "🍎": "apple",
        "👍🏽": "thumbs up: medium skin tone",
    }


def test_another_script_does_not_inherit(cldr):
    assert read_names(cldr, "zh_Hant") == {"🍆": "茄子"}


def test_an_unknown_language_is_refused_with_what_is_allowed(cldr):
    with pytest.raises(InputError, match=r"'xx'; allowed: en, en_001, en_GB, zh, zh_Hant"):
        read_names(cldr, "xx")


def test_a_folder_without_names_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not CLDR's folder common"):
        read_names(tmp_path, "en")


def test_a_broken_file_is_named(cldr):
    (cldr / "annotations" / "en.xml").write_text("<ldml>")
    with pytest.raises(InputError, match=r"en\.xml"):
        read_names(cldr, "en")
