"""Folders of files for tests: written in a line or two, and opened."""

import json
import struct
import zlib

import numpy as np
import soundfile
from PIL import Image

from mmgen_jax import config as configs
from mmgen_jax.data import DataOptions
from mmgen_jax.data.folder.source import FOLDER

NOISE = np.random.default_rng(0)


def options(path, features=None, **keys):
    """Options of a folder."""
    config = configs.default()
    config.data = group(path, features, **keys)
    return DataOptions.of(config)


def group(path, features=None, **keys):
    """config.data for a folder."""
    data = configs.default().data
    data.update({"name": "folder", "path": str(path), **keys})
    data.features.update(features or {})
    return data


def open_folder(path, split="all", **keys):
    return FOLDER.open(options(path, **keys), split)


def open_rest(path, split="all", **keys):
    """The records that are good."""
    return open_folder(path, split, on_bad_record="skip", **keys)


def names_in(source):
    return [source.where(i).rpartition("(")[2][:-1] for i in range(len(source))]


def write(folder, *lines):
    """A metadata.jsonl of these lines: objects, or bytes as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "metadata.jsonl").write_bytes(b"\n".join(raw) + b"\n")


def paint(path, colour=None, size=(8, 8)):
    """A picture of one colour, or of noise; returns its pixels."""
    pixels = np.full((*size, 3), colour if colour else 0, np.uint8)
    if colour is None:
        pixels = NOISE.integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def hum(path, rate=16_000, seconds=0.25, channels=1):
    """A tone of 440 Hz; returns it at 16 kHz."""
    tone = lambda at: 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * at)) / at)  # noqa: E731
    soundfile.write(path, np.repeat(tone(rate)[:, None], channels, axis=1), rate)
    return tone(16_000)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(1000)),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
