"""The weights of a DiT by its authors' code, from a safetensors file.

Theirs are state dicts of PyTorch, which are pickled: whoever trusts one writes it as safetensors
with `safetensors.torch.save_file(torch.load(path), other_path)`. Nothing is unpickled here.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Float

from mmgen_jax.pretrained import weight_files
from mmgen_jax.pretrained.dit import DiT, sincos_positions
from mmgen_jax.pretrained.weight_files import Place

# Module of our network -> module of theirs; each has a weight, which is our kernel, and a bias.
ONCE = {
    "embed": "x_embedder.proj",
    "timestep/hidden": "t_embedder.mlp.0",
    "timestep/out": "t_embedder.mlp.2",
    "modulation/parts": "final_layer.adaLN_modulation.1",
    "out": "final_layer.linear",
}
# The same within each layer; a file has a key for each of them, the parameters one stacked array.
IN_LAYER = {
    "layers/modulation/parts": "adaLN_modulation.1",
    "layers/qkv": "attn.qkv",
    "layers/out": "attn.proj",
    "layers/hidden": "mlp.fc1",
    "layers/down": "mlp.fc2",
}
LEAVES = {"kernel": "weight", "bias": "bias"}
LABELS = "y_embedder.embedding_table.weight"
POSITIONS = "pos_embed"
# A file in bfloat16 has positions with 8 bits of their values, which are up to 1.
TOLERANCE = 1e-2

Table = Float[np.ndarray, "labels width"]


def load(path: Path, network: DiT, channel: int) -> tuple[dict[str, Any], Table]:
    """Reads a DiT's parameters and its labels' embeddings from a state dict of its authors' code.

    How many heads its attention has is not told by the file: it must be `network.num_heads`.

    Args:
      path: a safetensors file with all keys of `DiT.state_dict()` in float32, float16, bfloat16 or
        float8. Its fixed positions, `pos_embed`, may be left out, as they are computed.
      network: what the parameters are for.
      channel: number of channels of the noisy image.

    Returns:
      (params, labels): `params` is the collection `params` of `network`, NumPy arrays in float32;
      `labels` the table of labels, of shape [labels, width], whose last row stands for no label
      where the model was trained for guidance.

    Raises:
      InputError: if the file is broken, if a key is missing or superfluous, or if its array has
        another shape than `network`'s sizes make it. Where several are wrong, `details` has a line
        for each.
    """
    image = np.zeros((1, network.patch_size, network.patch_size, channel), np.float32)
    inputs = image, np.zeros(1, np.float32), np.zeros((1, network.width), np.float32)
    shapes = weight_files.parameter_shapes(network.init, *inputs)
    files = dict.fromkeys(weight_files.keys(path), path)
    kind = _kind(network, channel)
    places = _places(network, channel, shapes)
    tables = {LABELS: Place("labels", None, (None, network.width))}
    faults = weight_files.missing_keys(places | tables, path, files)
    if POSITIONS in files:
        tables[POSITIONS] = Place("positions", None, (1, None, network.width))
    faults += _superfluous_keys(places | tables, files, kind)
    weight_files.raise_faults(faults, path, kind)
    faults = weight_files.wrong_arrays(places | tables, files, f"for {kind}")
    if POSITIONS in files and not faults:
        faults = _position_faults(path, network.width)
    weight_files.raise_faults(faults, path, kind)
    params = unflatten_dict(weight_files.filled(places, files, shapes), sep="/")
    return params, weight_files.read(path, LABELS)


def _kind(network: DiT, channel: int) -> str:
    """What a network is, in words."""
    sigma = "with" if network.learn_sigma else "without"
    return (
        f"a DiT of patch {network.patch_size}, width {network.width}, {network.depth} layers,"
        f" {channel} channels, {sigma} learn_sigma"
    )


def _places(network: DiT, channel: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, Place]:
    """The place of each key that there must be, but for the labels' table, whose rows vary."""
    places = {}
    for leaf, their_leaf in LEAVES.items():
        for ours, theirs in ONCE.items():
            path = f"{ours}/{leaf}"
            places[f"{theirs}.{their_leaf}"] = weight_files.dense_place(path, None, shapes[path])
        for layer in range(network.depth):
            for ours, theirs in IN_LAYER.items():
                path = f"{ours}/{leaf}"
                place = weight_files.dense_place(path, layer, shapes[path][1:])
                if ours == "layers/qkv":
                    place = place._replace(turned=partial(_by_heads, num_heads=network.num_heads))
                places[f"blocks.{layer}.{theirs}.{their_leaf}"] = place
    # Theirs is a convolution whose stride is its size, ours a product with whole patches.
    window = (network.width, channel, network.patch_size, network.patch_size)
    places["x_embedder.proj.weight"] = Place("embed/kernel", None, window, _by_patches)
    return places


def _by_patches(kernel: np.ndarray) -> np.ndarray:
    """[width, channel, patch, patch] -> [patch * patch * channel, width], as `patchify` cuts."""
    return kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])


def _by_heads(array: np.ndarray, num_heads: int) -> np.ndarray:
    """Weight or bias of queries, keys and values: theirs by these first, ours by heads first."""
    parts = array.reshape(3, num_heads, -1, *array.shape[1:])
    return parts.swapaxes(0, 1).reshape(array.shape).T


def _superfluous_keys(places: dict[str, Place], files: dict[str, Path], kind: str) -> list[str]:
    """A line for each key that no DiT of these sizes has."""
    return [
        f"{path}: key {key} is superfluous; expected: the keys of {kind}"
        for key, path in files.items()
        if key not in places
    ]


def _position_faults(path: Path, width: int) -> list[str]:
    """A line if the file's fixed positions are not those that our network computes."""
    positions = weight_files.read(path, POSITIONS)[0]
    side = math.isqrt(len(positions))
    computed = sincos_positions(side, side, width)
    square = side**2 == len(positions)
    if square and np.allclose(positions, computed, atol=TOLERANCE, rtol=0):
        return []
    return [
        f"{path}: key {POSITIONS} has other values than DiT's; expected: the sines and cosines of"
        " a square of patches, which are not trained"
    ]
