"""Names and keywords of emoji in CLDR's format."""

from pathlib import Path

import pytest

from mmgen_jax.data.builders import cldr as module
from mmgen_jax.data.builders.catalogue import read_catalogue
from mmgen_jax.data.builders.cldr import Cldr
from mmgen_jax.data.builders.emoji import CLDR, EMOJI_TEST
from mmgen_jax.errors import InputError


def write_locale(folder, kind, locale, names, keywords="grey | round "):
    lines = (
        f'<annotation cp="{cp}">{keywords}</annotation>'
        f'<annotation cp="{cp}" type="tts">{name}</annotation>'
        for cp, name in names.items()
    )
    path = folder / kind / f"{locale}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<ldml><annotations>{''.join(lines)}</annotations></ldml>", "utf-8")


@pytest.fixture
def folder(tmp_path):
    write_locale(tmp_path, "annotations", "en", {"🍆": "eggplant", "🛢": "oil drum", "🍎": "apple"})
    write_locale(tmp_path, "annotationsDerived", "en", {"👍🏽": "thumbs up: medium skin tone"})
    write_locale(tmp_path, "annotations", "en_001", {"🍆": "aubergine", "🛢": "barrel"}, "gray")
    write_locale(tmp_path, "annotations", "en_GB", {"🍆": "↑↑↑", "🛢": "oil barrel"}, "↑↑↑")
    write_locale(tmp_path, "annotations", "zh", {"🍎": "红苹果"})
    write_locale(tmp_path, "annotations", "zh_Hant", {"🍆": "茄子"})
    (tmp_path / "supplemental").mkdir()
    (tmp_path / "supplemental" / "supplementalData.xml").write_text(
        '<d><parentLocales><parentLocale parent="en_001" locales="en_AU en_GB"/>'
        '<parentLocale parent="root" locales="zh_Hant"/></parentLocales>'
        '<parentLocales component="segmentations"><parentLocale parent="zh" locales="en_GB"/>'
        "</parentLocales></d>",
        encoding="utf-8",
    )
    return tmp_path


def test_names_come_from_both_folders(folder):
    assert Cldr(folder).annotations("en").names == {
        "🍆": "eggplant",
        "🛢": "oil drum",
        "🍎": "apple",
        "👍🏽": "thumbs up: medium skin tone",
    }


def test_keywords_are_what_is_not_a_name(folder):
    keywords = Cldr(folder).annotations("en").keywords
    assert keywords == dict.fromkeys(("🍆", "🛢", "🍎", "👍🏽"), "grey, round")


def test_a_region_inherits_from_its_parents(folder):
    annotations = Cldr(folder).annotations("en_GB")
    assert annotations.names == {
        "🍆": "aubergine",
        "🛢": "oil barrel",
        "🍎": "apple",
        "👍🏽": "thumbs up: medium skin tone",
    }
    assert annotations.keywords == {
        "🍆": "gray",
        "🛢": "gray",
        "🍎": "grey, round",
        "👍🏽": "grey, round",
    }


def test_another_script_does_not_inherit(folder):
    assert Cldr(folder).annotations("zh_Hant").names == {"🍆": "茄子"}


def test_a_language_is_complete_by_its_names_and_by_what_it_says_itself(folder, monkeypatch):
    cldr, emojis = Cldr(folder), ("🍆", "🛢", "🍎", "👍🏽")
    monkeypatch.setattr(module, "NAMES", 4)
    assert cldr.languages(emojis) == ["en", "en_001"]  # en_GB says but one of four itself
    monkeypatch.setattr(module, "OWN_SHARE", 1 / 4)
    assert cldr.languages(emojis) == ["en", "en_001", "en_GB"]
    monkeypatch.setattr(module, "NAMES", 1)
    assert cldr.languages(emojis) == ["en", "en_001", "en_GB", "zh", "zh_Hant"]
    assert cldr.languages(["🐭"]) == ["en"]


@pytest.mark.skipif(
    not (Path(CLDR).exists() and Path(EMOJI_TEST).exists()),
    reason="needs Debian packages unicode-cldr-core, unicode-data",
)
def test_regions_that_speak_as_their_parents_are_no_languages():
    cldr = Cldr(Path(CLDR))
    assert len(cldr.locales) > 140
    some = ["ar_SA", "ast", "chr", "de", "de_CH", "en", "en_AU", "es", "es_MX", "nn", "no", "pt_PT"]
    assert set(some) < set(cldr.locales)
    cldr.locales = some  # all of them take seconds
    emojis = [emoji.key for emoji in read_catalogue(Path(EMOJI_TEST))]
    assert cldr.languages(emojis) == ["en", "chr", "de", "es", "nn", "no", "pt_PT"]


def test_an_unknown_language_is_refused_with_what_is_allowed(folder):
    with pytest.raises(InputError, match=r"'xx'; allowed: en, en_001, en_GB, zh, zh_Hant"):
        Cldr(folder).annotations("xx")


def test_a_folder_without_names_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not CLDR's folder common"):
        Cldr(tmp_path)


def test_a_broken_file_is_named(folder):
    (folder / "annotations" / "en.xml").write_text("<ldml>", encoding="utf-8")
    with pytest.raises(InputError, match=r"en\.xml"):
        Cldr(folder).annotations("en")
