"""Files whose names are written in another Unicode form than the metadata write them."""

import os
import unicodedata

import numpy as np
import pytest

from mmgen_jax.data.folder import files
from tests.folders import hum, open_folder, open_rest, paint, write


def nfc(text):
    return unicodedata.normalize("NFC", text)


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(("on_disk", "written"), [(nfd, nfc), (nfc, nfd)], ids=["macOS", "Linux"])
def test_a_file_is_found_by_its_normalized_name(tmp_path, on_disk, written):
    """Archives that were packed on a Mac hold decomposed names."""
    place = tmp_path / on_disk("Städte") / "no accent" / on_disk("Çelik")
    pixels = paint(place / on_disk("Köln.png"))
    hum(tmp_path / on_disk("Ton für.wav"))
    line = {
        "file_name": written("Städte/no accent/Çelik/Köln.png"),
        "audio_file_name": [written("Ton für.wav")],
    }
    write(tmp_path, line, {"file_name": written("Städte/no accent/Çelik/Bonn.png")})
    for _ in range(2):  # the second time the verdict is remembered
        source = open_rest(tmp_path)
        (record,) = source
        np.testing.assert_array_equal(record.image, pixels)
        assert len(record.values["audio"]) == 4000
        (bad,) = source.bad
        assert bad.reason.endswith("No such file or directory")


def test_the_folder_itself_is_found_so(tmp_path):
    paint(tmp_path / nfd("Bücher") / "a.png")
    write(tmp_path / nfd("Bücher"), {"file_name": "a.png"})
    assert len(open_folder(tmp_path / nfc("Bücher"))) == 1


def test_a_file_of_exactly_that_name_comes_first(tmp_path):
    pictures = {form("ä.png"): paint(tmp_path / form("ä.png")) for form in (nfc, nfd)}
    write(tmp_path, *({"file_name": name} for name in pictures))
    for record, pixels in zip(open_folder(tmp_path), pictures.values(), strict=True):
        np.testing.assert_array_equal(record.image, pixels)


def test_a_name_that_stands_for_two_files_is_refused(tmp_path):
    vowels = "ȁ̈", "ạ̈"  # two marks each: three spellings are equal, and one is not on the disk
    mixed = nfc("ạ̈") + nfd("ạ̈") + ".png"
    for form in (nfc, nfd):
        paint(tmp_path / (form(vowels[1]) * 2 + ".png"))
    write(tmp_path, {"file_name": mixed}, {"file_name": nfc(vowels[1]) * 2 + ".png"})
    source = open_rest(tmp_path)
    assert len(source) == 1
    assert "is written in another Unicode form in several files" in source.bad[0].reason


def test_one_file_under_two_spellings_is_a_repetition(tmp_path):
    paint(tmp_path / nfc("ä.png"))
    lines = [{"file_name": form("ä.png"), "text": form.__name__} for form in (nfc, nfd)]
    write(tmp_path, *lines)
    (bad,) = open_rest(tmp_path).bad
    assert "duplicate" in bad.reason and "stands in line 1 already" in bad.reason


def test_a_big_folder_is_listed_once(tmp_path, monkeypatch):
    names = [f"ä{i}.png" for i in range(200)]
    for name in names:
        paint(tmp_path / nfd(name), size=(2, 2))
    write(tmp_path, *({"file_name": nfc(name)} for name in names))
    files._listing.cache_clear()
    listed, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scan(path))
    assert len([record.image for record in open_folder(tmp_path)]) == 200
    # Threads may ask at once; the index that is written meanwhile changes the folder once.
    assert len(listed) <= 2 * (os.cpu_count() + 4) + 1


def test_a_name_that_is_there_costs_no_listing(tmp_path, monkeypatch):
    for name in ("a.png", nfc("ä.png")):
        paint(tmp_path / name)
    write(tmp_path, *({"file_name": name} for name in ("a.png", nfc("ä.png"))))
    monkeypatch.setattr(files, "_listing", None)
    assert len([record.image for record in open_folder(tmp_path)]) == 2


def test_a_file_whose_name_differs_in_case_is_named(tmp_path):
    """Where such metadata were made, the disk forgives it."""
    paint(tmp_path / "p30.jpg.png")
    paint(tmp_path / "p31.png")
    write(tmp_path, {"file_name": "P30.jpg.PNG"}, {"file_name": "p31.png"})
    (bad,) = open_rest(tmp_path).bad
    assert "No such file or directory; did you mean 'p30.jpg.png'?" in bad.reason
