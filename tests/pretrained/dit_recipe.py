"""Sizes, weights and inputs that we and the DiT authors' code both compute with.

Numbers come from a generator that is seeded with a checksum of their name: for a weight, its key in
a state dict of theirs. `make_dit_golden.py` writes what comes out. Only NumPy is needed here.
"""

import zlib

import numpy as np

CLASSES = 3
LABELS = (2, 0, CLASSES)  # the last stands for none
TIMESTEPS = (0, 437, 999)  # of 1000
# The authors' code makes square images only; the other is put together from its parts. Four layers
# are unrolled, and five a loop.
CASES = {
    "square": dict(patch_size=2, width=32, depth=3, num_heads=2, learn_sigma=True),
    "rectangle": dict(patch_size=4, width=48, depth=5, num_heads=3, learn_sigma=False),
}
# (height, width, channel) of the images.
IMAGES = {"square": (12, 12, 4), "rectangle": (8, 24, 3)}
# Rows and columns of patches, and the width, of the positions that are compared.
GRID = (3, 5, 16)


def draw(name, *shape):
    """Standard normal numbers, the same whenever they have the same name and shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def noisy(case):
    """The images of one of `CASES`, channels last."""
    return draw(f"{case}/noisy", len(LABELS), *IMAGES[case])


def shapes(patch_size, width, depth, channel, learn_sigma, classes):
    """The shape of each weight of the authors' network but the fixed positions, by its key."""
    dense = {
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "final_layer.linear": (patch_size**2 * channel * (1 + learn_sigma), width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
        "x_embedder.proj": (width, channel, patch_size, patch_size),
    }
    for number in range(depth):
        dense |= {
            f"blocks.{number}.attn.qkv": (3 * width, width),
            f"blocks.{number}.attn.proj": (width, width),
            f"blocks.{number}.mlp.fc1": (4 * width, width),
            f"blocks.{number}.mlp.fc2": (width, 4 * width),
            f"blocks.{number}.adaLN_modulation.1": (6 * width, width),
        }
    found = {"y_embedder.embedding_table.weight": (classes + 1, width)}
    for name, shape in dense.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


def state_dict(patch_size, width, depth, channel, learn_sigma, classes=CLASSES):
    """Random weights of those shapes; what is zero when training begins is not."""
    sizes = shapes(patch_size, width, depth, channel, learn_sigma, classes)
    return {key: _weight(key, shape) for key, shape in sizes.items()}


def case_state_dict(case):
    """The weights of one of `CASES`."""
    sizes = {name: value for name, value in CASES[case].items() if name != "num_heads"}
    return state_dict(**sizes, channel=IMAGES[case][2])


def _weight(key, shape):
    if key.endswith("bias"):
        return 0.3 * draw(key, *shape)
    if key.startswith("y_embedder"):
        return draw(key, *shape)
    return draw(key, *shape) / np.sqrt(np.prod(shape[1:], dtype=np.float32))
