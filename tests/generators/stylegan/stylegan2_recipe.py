"""Networks, parameters and inputs that we and NVIDIA's code both compute with.

Numbers come from a generator that is seeded with a checksum of their name: for a parameter, its
path in our networks. `make_stylegan2_golden.py` puts them into NVIDIA's, and writes what comes out.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from mmgen_jax.generators.stylegan.networks import (
    Discriminator,
    Mapping,
    Synthesis,
    layer_count,
    noise_shapes,
)
from mmgen_jax.nn.layout import path_name

IMAGE_SIZE, WIDTH, CONDITION, MAPPING_LAYERS = 32, 16, 5, 2
BATCH = 8
CHANNELS = dict(channel_base=512, channel_max=32)
CLAMP = 0.5
MEAN_LENGTH = 0.5
TAPS = ((1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 4.0, 3.0))  # the second is not the same from both sides

MAPPING = Mapping(WIDTH, MAPPING_LAYERS)
SYNTHESIS = Synthesis(IMAGE_SIZE, **CHANNELS)
CLAMPED = Synthesis(IMAGE_SIZE, **CHANNELS, clamp=CLAMP)
DISCRIMINATOR = Discriminator(IMAGE_SIZE, **CHANNELS)
PLAIN = Discriminator(IMAGE_SIZE, **CHANNELS, residual=False)

# As NVIDIA's train.py makes them: FFHQ at 1024 pixels, its preset for 256, and that for CIFAR-10.
PUBLISHED = {
    "stylegan2": dict(image_size=1024, base=32768, mapping=8, condition=0, residual=True),
    "paper256": dict(image_size=256, base=16384, mapping=8, condition=0, residual=True),
    "cifar": dict(image_size=32, base=32768, mapping=2, condition=10, residual=False),
    "residual cifar": dict(image_size=32, base=32768, mapping=2, condition=10, residual=True),
}


def draw(name, *shape):
    """Standard normal numbers, the same whenever they have the same name and shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def inputs():
    """What the networks see, in our layout."""
    # Coarse, for blurs to leave it, and unlike each other, for the minibatch to have a deviation.
    coarse = draw("images", BATCH, 8, 8, 3).repeat(4, axis=1).repeat(4, axis=2)
    return {
        "z": draw("z", BATCH, WIDTH),
        "condition": draw("condition", BATCH, CONDITION),
        "images": coarse * np.linspace(0.5, 4, BATCH, dtype=np.float32)[:, None, None, None],
        "direction": draw("direction", BATCH, IMAGE_SIZE, IMAGE_SIZE, 3),
        # NVIDIA's constant noise is the same for all examples.
        "noise": tuple(
            draw(f"noise{number}", 1, *shape).repeat(BATCH, axis=0)
            for number, shape in enumerate(noise_shapes(IMAGE_SIZE))
        ),
    }


def parameters(name):
    """Of the generator, the discriminator or the plain, unconditional discriminator."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _parameter(f"{name}/{path_name(path)}", leaf.shape), shapes(name)
    )


def shapes(name):
    """The same parameters as jax.ShapeDtypeStructs."""
    array = jax.ShapeDtypeStruct
    if name == "generator":
        return generator_shapes(MAPPING, SYNTHESIS, WIDTH, CONDITION)
    network, condition = {
        "discriminator": (DISCRIMINATOR, array((BATCH, CONDITION), jnp.float32)),
        "plain": (PLAIN, None),
    }[name]
    images = array((BATCH, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), images, condition)["params"]


def generator_shapes(mapping, synthesis, z, condition):
    layers = layer_count(synthesis.image_size)
    one = lambda *shape: jax.ShapeDtypeStruct((1, *shape), jnp.float32)  # noqa: E731
    key = jax.random.key(0)
    return {
        "mapping": jax.eval_shape(mapping.init, key, one(z), one(condition))["params"],
        "synthesis": jax.eval_shape(synthesis.init, key, one(layers, mapping.width))["params"],
    }


def named(tree, prefix):
    """The leaves of a tree by the names that their numbers are drawn by."""
    return {
        f"{prefix}/{path_name(path)}": leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def filtered(x, taps, up, down, padding, gain):
    """By definition: zeros between and around the pixels, the filter turned, every `down`-th."""
    taps = np.asarray(taps) / np.sum(taps)
    kernel = gain * np.outer(taps, taps)
    batch, height, width, channel = x.shape
    spread = np.zeros((batch, (height - 1) * up + 1, (width - 1) * up + 1, channel))
    spread[:, ::up, ::up] = x
    padded = np.pad(spread, ((0, 0), padding, padding, (0, 0)))
    rows, columns = (size - len(taps) + 1 for size in padded.shape[1:3])
    out = np.zeros((batch, rows, columns, channel))
    for row in range(rows):
        for column in range(columns):
            window = padded[:, row : row + len(taps), column : column + len(taps)]
            out[:, row, column] = np.einsum("bhwc,hw->bc", window, kernel[::-1, ::-1])
    return out[:, ::down, ::down]


def thinned(x):
    """About a hundred numbers that stand for an array, and its root mean square."""
    x = np.asarray(x, np.float64)
    return {
        "values": x.ravel()[:: x.size // 100 | 1].tolist(),
        "size": float(np.sqrt(np.square(x).mean())),
    }


def _parameter(name, shape):
    """About as large as when training begins; what is zero then is not."""
    numbers = draw(name, *shape)
    slow = "mapping/dense" in name  # stored a hundred times as large
    if name.endswith("kernel"):
        return numbers * (100 if slow else 1)
    if name.endswith("style/bias"):
        return 1 + 0.1 * numbers
    if name.endswith("bias"):
        return numbers * (10 if slow else 0.1)
    return numbers * (0.3 if name.endswith("noise_strength") else 1)
