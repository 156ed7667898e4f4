"""Messy folders, by a seeded fuzzer: opening one gives the values that its lines hold, or says why.

A line that cannot be used is named with a reason of one line; nothing else is ever raised.
"""

import json
import unicodedata

import numpy as np
import pytest

from mmgen_jax import config as configs
from mmgen_jax.data import BadRecord, DataOptions, OneOf
from mmgen_jax.errors import InputError
from tests.folders import group, hum, paint

FOLDERS, LINES = 25, 10  # of a seed; at most, of a folder
NAMES = ("a.png", "b.png", "c.jpg", "Köln.png", "sub/Ä b.png", "torn.png", "missing.png", "sub")
WEIRD = (
    *(None, True, False, 0, 1, 2, 7, 11, -1, 900, 10**12, 0.0, 2.0, 0.5, 1e300, float("nan")),
    *("", " ", "0", "1", "07", "7", "-1", "1.0", "cat", "cat ", "Cat", "Café", "Cafe\u0301", "猫"),
    *([], ["cat", "dog"], [0, "cat"], [None], [["cat"]], {}, {"en": "cat"}, {"en": ["x"], "de": 3}),
    *("\u2028", "a\tb", "a\\b", '"', "x" * 3000, "\ud83d", "٣"),
)
KEYS = (
    "text",
    "label",
    "audio_file_name",
    "image_file_name",
    "caption",
    "",
    "file_name ",
    "te\u0301",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Some files, whose names are as on a Mac where that makes a difference."""
    root = tmp_path_factory.mktemp("messy")
    for name in NAMES[:5]:
        paint(root / unicodedata.normalize("NFD", name), size=(4, 4))
    (root / "torn.png").write_bytes((root / "a.png").read_bytes()[:40])
    hum(root / "a.wav", seconds=0.01)
    return root


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def line(rng):
    """A line that may be anything."""
    made = {}
    if rng.random() < 0.95:
        good = NAMES[:5] if rng.random() < 0.8 else NAMES
        made["file_name"] = pick(rng, good) if rng.random() < 0.95 else pick(rng, WEIRD)
    for key in KEYS:
        if rng.random() < (0.7 if key == "label" else 0.25):
            usual = {"text": NAMES, "audio_file_name": ("a.wav",), "image_file_name": NAMES[:5]}
            plain = rng.random() < 0.7 and key in usual
            made[key] = pick(rng, usual[key]) if plain else pick(rng, WEIRD)
    text = json.dumps(made, ensure_ascii=rng.random() < 0.5)
    damage = rng.random()
    if damage < 0.05:
        text = text[:-1] + (", " if made else "") + '"file_name": "a.png"}'
    elif damage < 0.1:
        text = text[: int(rng.integers(len(text)))]
    elif damage < 0.13:
        text = pick(rng, ("[]", "3", "null", "{", "[" * 3000, '"a"', "\x00", "\ufeff{}"))
    raw = text.encode("utf-8", "surrogatepass")
    return raw.replace(b"\n", b" ") if rng.random() < 0.98 else raw + b"\xff"


def metadata(rng):
    """A metadata.jsonl, of lines of which some are given twice."""
    lines = [line(rng) for _ in range(int(rng.integers(LINES)))]
    lines += [pick(rng, lines)] if lines and rng.random() < 0.2 else []
    return pick(rng, (b"\n", b"\r\n", b"\n\n")).join(lines)


def labels(rng):
    """A labels.txt, or None."""
    names = ["cat", "dog", "Café", "0", "1", "2", "7", "900", "cat ", "", "Cafe\u0301", "猫"]
    chosen = [pick(rng, names) for _ in range(int(rng.integers(1, 5)))]
    return "\n".join(chosen) if rng.random() < 0.3 else None


def said(raw):
    """What a line says, each key once."""
    return json.loads(raw.decode("utf-8-sig").strip())


def alternatives(raw):
    if isinstance(raw, dict):
        raw = [x for value in raw.values() for x in (value if isinstance(value, list) else [value])]
    return [x for x in (raw if isinstance(raw, list) else [raw]) if x is not None]


def spelled(raw):
    """A label as a class is spelled: the name itself, or a whole number's."""
    return " ".join(unicodedata.normalize("NFC", str(int(raw) if raw == raw else raw)
                    if not isinstance(raw, str) else raw).split())  # fmt: skip


def check_record(fields, record, names, numbered):
    """The record holds what its line says."""
    assert record.image.dtype == np.uint8 and record.image.ndim == 3
    for name, value in dict(record.values).items():
        found = list(value) if isinstance(value, OneOf) else [value]
        key = name if name in ("text", "label") else f"{name}_file_name"
        raws = alternatives(fields[key])
        if name == "text":
            assert found == raws
        elif name == "label":
            wanted = [
                names[int(raw)] if numbered and not isinstance(raw, str) else spelled(raw)
                for raw in raws
            ]
            assert found == wanted, (raws, names)
        else:
            assert len(found) == len(raws)


def check_refusal(error):
    text = str(error)
    assert text and "\n" not in text and "Traceback" not in text and len(text) < 20_000
    for detail in error.details:
        assert detail and "\n" not in detail


def check_folder(place, file, split):
    """Opens a folder in every way that there is; returns how many records it has."""
    config = configs.default()
    config.data = group(place)
    config.data.split = config.eval.split = split
    config.modalities.names = ("text", "label")
    source = None
    for action in ("raise", "skip"):
        config.data.on_bad_record = action
        for use in (configs.validate, lambda config: DataOptions.of(config).open(split)):
            try:
                source = use(config)
            except InputError as error:
                check_refusal(error)
    if source is None:
        return 0
    lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    names = source.info.label_names
    assert len(set(names)) == len(names) == len({spelled(name) for name in names})
    numerals = [(i, name) for i, name in enumerate(names) if name.isdecimal() and name.isascii()]
    numbered = (file.parent / "labels.txt").is_file() and all(str(i) == n for i, n in numerals)
    for bad in source.bad:
        assert isinstance(bad, BadRecord)
        check_refusal(bad)
    for index, record in enumerate(source):
        number = int(source.where(index).partition(", line ")[2].partition(" ")[0])
        check_record(said(lines[number - 1]), record, names, numbered)
    return len(source)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 20))]
)
def test_whatever_the_metadata_are_a_record_holds_what_its_line_says(place, seed):
    rng, opened = np.random.default_rng(seed), 0
    file = place / "metadata.jsonl"
    for _ in range(FOLDERS):
        file.write_bytes(metadata(rng))
        names = labels(rng)
        (place / "labels.txt").unlink(missing_ok=True)
        if names is not None:
            (place / "labels.txt").write_text(names, encoding="utf-8")
        opened += check_folder(place, file, pick(rng, ("all", "all", "train", "test")))
    assert opened > FOLDERS / 3, "a fuzzer whose every folder is refused shows nothing"
