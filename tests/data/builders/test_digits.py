"""Digits: pictures, words and recordings that belong together, in the splits of their sources."""

import json
import zipfile

import numpy as np
import pytest
import soundfile

from mmgen_jax.data import SOURCES
from mmgen_jax.data.builders import digits
from mmgen_jax.data.builders.digits import build
from mmgen_jax.errors import InputError
from tests import prepared

LANGUAGES = ("de", "en", "ja")
RATE = 8_000


def pitch(digit, take):
    return 200 + 100 * digit + take


@pytest.fixture
def raw(tmp_path):
    """20 + 10 pictures whose brightness is ten times their digit; tones whose pitch says it."""
    folder = tmp_path / "raw"
    (folder / "recordings").mkdir(parents=True)
    arrays = {}
    for split, count in (("train", 20), ("test", 10)):
        digits = np.arange(count) % 10
        pictures = np.full((count, 28, 28), 10, np.uint8) * digits[:, None, None].astype(np.uint8)
        arrays |= {f"x_{split}": pictures, f"y_{split}": digits.astype(np.uint8)}
    np.savez(folder / "mnist.npz", **arrays)
    for digit in range(10):
        for take in (0, 7):
            seconds = np.arange(RATE // 4) / RATE
            tone = 0.5 * np.sin(2 * np.pi * pitch(digit, take) * seconds)
            soundfile.write(folder / "recordings" / f"{digit}_ada_{take}.wav", tone, RATE)
    words = {language: [f"{language}{digit}" for digit in range(10)] for language in LANGUAGES}
    (folder / "number_words.json").write_text(json.dumps(words), encoding="utf-8")
    return folder


def loudest(sound):
    return np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound)


def test_what_a_record_has_is_all_of_one_digit(raw, tmp_path):
    summary = build(tmp_path / "digits", raw=str(raw))
    assert summary["splits"] == {"train": 20, "test": 10}
    assert summary["recordings"] == {"train": 10, "test": 10}
    options = prepared.options("digits", path=str(tmp_path / "digits"))
    for split, take in (("train", 7), ("test", 0)):
        source = SOURCES["digits"].open(options, split)
        seen = set()
        for i in range(len(source)):
            record = source[i]
            digit = int(record.values["label"])
            assert record.image.shape == (32, 32, 3)
            assert (record.image[2:30, 2:30] == 10 * digit).all()
            assert (record.image[:2] == 0).all() and (record.image[:, 30:] == 0).all()
            text = record.values["text"]
            assert int(text[-1]) == digit
            seen.add(text[:2])
            assert abs(loudest(record.values["audio"]) - pitch(digit, take)) < 4
        assert seen == set(LANGUAGES)


def test_the_pairing_follows_from_the_seed(raw, tmp_path):
    def texts(name, seed):
        build(tmp_path / name, raw=str(raw), seed=seed)
        options = prepared.options("digits", path=str(tmp_path / name))
        source = SOURCES["digits"].open(options, "train")
        return [source[i].values["text"] for i in range(len(source))]

    assert texts("a", 0) == texts("b", 0) != texts("c", 1)


def lose(raw, name):
    (raw / name).unlink()


def save(raw, **changed):
    with np.load(raw / "mnist.npz") as arrays:
        kept = dict(arrays)
    np.savez(raw / "mnist.npz", **kept | changed)


def flip(raw):
    """In the middle of the compressed pictures."""
    with np.load(raw / "mnist.npz") as arrays:
        kept = dict(arrays)
    noise = np.random.default_rng(0).integers(0, 256, kept["x_train"].shape, np.uint8)
    np.savez_compressed(raw / "mnist.npz", **kept | {"x_train": noise // 16})
    content = bytearray((raw / "mnist.npz").read_bytes())
    for place in range(2000, 2100):
        content[place] ^= 255
    (raw / "mnist.npz").write_bytes(content)


def bomb(raw):
    """A thousandth of what it unpacks to."""
    packed = zipfile.ZipFile(raw / "mnist.npz", "a", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("x_more.npy", "w") as file:
        file.write(bytes(2**20))


def claim(raw):
    """An array that is said to have more values than it has."""
    head = np.lib.format.header_data_from_array_1_0(np.zeros((20, 28, 28), np.uint8))
    with zipfile.ZipFile(raw / "mnist.npz", "w") as archive, archive.open("x_train.npy", "w") as x:
        np.lib.format.write_array_header_1_0(x, head | {"shape": (10**15, 28, 28)})


BROKEN = {
    "a bomb": (bomb, "x_more.npy has 1048576 bytes, unpacked; allowed: at most 1000000"),
    "a wrong shape": (claim, "cannot read"),
    "no pictures": (lambda raw: lose(raw, "mnist.npz"), "cannot read"),
    "torn pictures": (lambda raw: (raw / "mnist.npz").write_bytes(b"PK torn"), "cannot read"),
    "no words": (lambda raw: lose(raw, "number_words.json"), "number_words.json"),
    "nine words": (
        lambda raw: (raw / "number_words.json").write_text(
            json.dumps({"en": ["one"] * 9}), encoding="utf-8"
        ),
        "'en' must have ten words",
    ),
    "a list of words": (
        lambda raw: (raw / "number_words.json").write_text('["one"]', encoding="utf-8"),
        "must be an object: language -> ten words",
    ),
    "no download": (lambda raw: (raw / "mnist.npz").write_bytes(b""), "cannot read"),
    "a flipped byte": (flip, "cannot read"),
    "other pictures": (lambda raw: save(raw, x_train=np.zeros((20, 28, 27), np.uint8)), "x_train"),
    "a label too few": (lambda raw: save(raw, y_test=np.zeros(9, np.uint8)), "y_test must have"),
    "a label of 10": (lambda raw: save(raw, y_test=np.full(10, 10)), "y_test must have a digit"),
    "no recording": (lambda raw: lose(raw, "recordings/3_ada_7.wav"), "no train recording of 3"),
    "a strange name": (
        lambda raw: (raw / "recordings" / "three.wav").touch(),
        "the name is not DIGIT_SPEAKER_TAKE.wav",
    ),
    "a torn recording": (
        lambda raw: (raw / "recordings" / "3_ada_7.wav").write_bytes(b"RIFF"),
        "3_ada_7.wav",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_input_is_named(raw, tmp_path, monkeypatch, name):
    monkeypatch.setattr(digits, "_MOST_BYTES", 1_000_000)
    harm, words = BROKEN[name]
    harm(raw)
    with pytest.raises(InputError, match=words):
        build(tmp_path / "digits", raw=str(raw))
    assert not (tmp_path / "digits").exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"--raw=.* is not there; it holds mnist\.npz"):
        build(tmp_path / "digits", raw=str(tmp_path / "nowhere"))


def test_a_seed_below_zero_is_refused(raw, tmp_path):
    with pytest.raises(InputError, match="--seed=-1: allowed: 0 or more"):
        build(tmp_path / "digits", raw=str(raw), seed=-1)
