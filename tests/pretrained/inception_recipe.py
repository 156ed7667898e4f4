"""Weights and pictures that we and torch-fidelity's Inception both compute with.

Numbers come from a generator that is seeded with a checksum of their name: for a weight, its key in
a state dict of theirs. `make_inception_golden.py` writes what comes out. Only NumPy is needed here.
"""

import zlib

import numpy as np

FEATURES = ("64", "192", "768", "2048", "logits")
SHOWN = 16  # of each kind of features, first ones, of every picture


def _generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def weight(key, shape):
    """float32; of kernels such that activations neither grow nor shrink, of norms about 1 and 0."""
    rng = _generator(key)
    if key.endswith(("running_var", "bn.weight")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    fan_in = np.prod(shape[1:])
    return (np.sqrt(2 / fan_in) * rng.standard_normal(shape)).astype(np.float32)


def pictures():
    """uint8 [2, 299, 299, 3]."""
    return _generator("pictures").integers(0, 256, (2, 299, 299, 3), np.uint8)


def summary(features):
    """What is kept of features: by name the first ones, and the mean and deviation of all."""
    return {
        name: {
            "first": np.asarray(found, np.float64)[:, :SHOWN].tolist(),
            "moments": [float(np.mean(found)), float(np.std(found))],
        }
        for name, found in features.items()
    }
