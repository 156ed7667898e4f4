"""Small data sets on the disk as TFDS would have prepared them, written without TensorFlow."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mmgen_jax import config as configs
from mmgen_jax.data import DataOptions
from mmgen_jax.data.builders.writer import Card, write

NOISE = np.random.default_rng(0)


def noise(height, width, channels=3):
    return NOISE.integers(0, 256, (height, width, channels), np.uint8)


def png(pixels):
    """A file of uint8 [height, width, channels]."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png")
    file.seek(0)
    return file


def prepare(root, name, features, **splits):
    """Writes a data set by its full name, `NAME[/CONFIG]:VERSION`; returns its folder."""
    path, _, version = name.partition(":")
    folder = root / path / version
    folder.mkdir(parents=True)
    card = Card(path.partition("/")[0], version, "made for a test", "CC0-1.0")
    write(folder, card, tfds.features.FeaturesDict(features), splits)
    return folder


def options(name, features=None, **keys):
    """Options of a data set."""
    config = configs.default()
    config.data = group(name, features, **keys)
    return DataOptions.of(config)


def group(name, features=None, **keys):
    """config.data for a data set."""
    data = configs.default().data
    data.update({"name": name, **keys})
    data.features.update(features or {})
    return data
