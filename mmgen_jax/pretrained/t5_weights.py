"""The weights of a T5 encoder, from a folder in the layout of the Hugging Face Hub.

config.json gives the sizes. model.safetensors holds the weights, or several files do, which
model.safetensors.index.json names. Nothing is unpickled.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from mmgen_jax.errors import InputError
from mmgen_jax.pretrained import weight_files
from mmgen_jax.pretrained.t5 import T5Encoder, T5Sizes
from mmgen_jax.storage import read_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# mT5's encoder is T5 v1.1's. UMT5 and LongT5 are others, with the same names for other things.
MODEL_TYPES = ("t5", "mt5")
SIZES = {
    "vocabulary": "vocab_size",
    "width": "d_model",
    "head_width": "d_kv",
    "feed_forward": "d_ff",
    "depth": "num_layers",
    "heads": "num_heads",
    "buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
}
# The largest of each: far above any T5's, and far below what would not end or not fit.
MOST = {
    "vocabulary": 2**24,
    "width": 2**16,
    "head_width": 2**12,
    "feed_forward": 2**18,
    "depth": 2**10,
    "heads": 2**10,
    "buckets": 2**8,
    "max_distance": 2**12,
}
# What the first checkpoints' config.json leave out, because they are older than these keys.
DEFAULTS = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
GATED = {"relu": False, "gated-gelu": True}

# The embedding goes by either name, as it is the decoder's too.
EMBEDDING = ("shared.weight", "encoder.embed_tokens.weight")
# Path among the parameters -> key in the file. Files hold kernels as [features out, features in].
ONCE = {
    "relative_bias/embedding": (
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    ),
    "norm/scale": "encoder.final_layer_norm.weight",
}
# The same within each layer; a file has a key for each of them, the parameters one stacked array.
IN_LAYER = {
    "layers/attention_norm/scale": "layer.0.layer_norm.weight",
    "layers/attention/query/kernel": "layer.0.SelfAttention.q.weight",
    "layers/attention/key/kernel": "layer.0.SelfAttention.k.weight",
    "layers/attention/value/kernel": "layer.0.SelfAttention.v.weight",
    "layers/attention/out/kernel": "layer.0.SelfAttention.o.weight",
    "layers/feed_norm/scale": "layer.1.layer_norm.weight",
    "layers/feed/hidden/kernel": "layer.1.DenseReluDense.wi.weight",
    "layers/feed/gate/kernel": "layer.1.DenseReluDense.wi_0.weight",
    "layers/feed/up/kernel": "layer.1.DenseReluDense.wi_1.weight",
    "layers/feed/down/kernel": "layer.1.DenseReluDense.wo.weight",
}
# What a whole T5 has besides its encoder.
IGNORED = ("decoder.", "lm_head.")


def load(folder: Path) -> tuple[T5Sizes, dict[str, Any]]:
    """Reads a T5 encoder from a checkpoint that holds one alone, or a whole T5.

    Args:
      folder: holds config.json, and model.safetensors or model.safetensors.index.json with the
        files that it names. Weights are float32, float16, bfloat16, or
        float8 (e4m3fn, e5m2).

    Returns:
      (sizes, params): `params` is the collection `params` of `T5Encoder`, NumPy arrays in float32.

    Raises:
      InputError: if a file is missing or broken, if a key is missing or superfluous, or if its
        array has another shape than config.json makes it. Where several are wrong, `details` has
        a line for each.
    """
    sizes = read_sizes(folder / CONFIG)
    listing, files = _files(folder)
    shapes = parameter_shapes(sizes)
    places = _places(sizes, shapes, files)
    weight_files.raise_faults(_key_faults(sizes, places, listing, files), folder, f"its {CONFIG}")
    faults = weight_files.wrong_arrays(places, files, f"as {CONFIG} says")
    weight_files.raise_faults(faults or _two_embeddings(files), folder, f"its {CONFIG}")
    return sizes, unflatten_dict(weight_files.filled(places, files, shapes), sep="/")


def digest(folder: Path) -> str:
    """Of the bytes of all files that `load` takes weights from, in hexadecimal.

    Raises:
      InputError: if one is not there.
    """
    digests = []
    for path in sorted(set(_files(folder)[1].values())):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "blake2b").hexdigest())
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def read_sizes(path: Path) -> T5Sizes:
    """The sizes that a config.json gives.

    Raises:
      InputError: if it is missing or broken, if it is no T5's, or if a size is impossible.
    """
    entries = DEFAULTS | _read_json(path)

    def wrong(key: str, allowed: str) -> InputError:
        found = repr(entries[key])[:80] if key in entries else "missing"
        return InputError(f"{path}: {key} is {found}; expected: {allowed}")

    for key, allowed in (("model_type", MODEL_TYPES), ("feed_forward_proj", tuple(GATED))):
        if entries.get(key) not in allowed:
            raise wrong(key, " or ".join(map(repr, allowed)))
    for name, key in SIZES.items():
        if type(entries.get(key)) is not int or not 1 <= entries[key] <= MOST[name]:
            raise wrong(key, f"a whole number above 0, and at most {MOST[name]}")
    buckets = entries[SIZES["buckets"]]
    if buckets < 4:
        raise wrong(SIZES["buckets"], "4 or more")
    if entries[SIZES["max_distance"]] <= buckets // 4:
        raise wrong(SIZES["max_distance"], f"more than a quarter of {SIZES['buckets']}, {buckets}")
    epsilon = entries["layer_norm_epsilon"]
    if type(epsilon) is not float or not 0 < epsilon < 1:
        raise wrong("layer_norm_epsilon", "a number between 0 and 1")
    numbers = {name: entries[key] for name, key in SIZES.items()}
    return T5Sizes(**numbers, gated=GATED[entries["feed_forward_proj"]], epsilon=epsilon)


def parameter_shapes(sizes: T5Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of an encoder, by its path."""
    encoder = T5Encoder(sizes, jnp.dtype("float32"))
    inputs = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
    return weight_files.parameter_shapes(encoder.init, *inputs)


def _places(
    sizes: T5Sizes, shapes: dict[str, tuple[int, ...]], files: dict[str, Path]
) -> dict[str, weight_files.Place]:
    """The place of each key that there must be."""
    embedding = next((key for key in EMBEDDING if key in files), EMBEDDING[0])
    places = {
        embedding: weight_files.dense_place("embed/embedding", None, shapes["embed/embedding"])
    }
    for path, key in ONCE.items():
        places[key] = weight_files.dense_place(path, None, shapes[path])
    for layer in range(sizes.depth):
        for path, key in IN_LAYER.items():
            if path in shapes:  # a gated feed-forward layer has other parameters than a plain one
                place = weight_files.dense_place(path, layer, shapes[path][1:])
                places[f"encoder.block.{layer}.{key}"] = place
    return places


def _key_faults(
    sizes: T5Sizes, places: dict[str, weight_files.Place], listing: Path, files: dict[str, Path]
) -> list[str]:
    """A line for each key that is missing, or that no T5 encoder of these sizes has."""
    feed = "gated" if sizes.gated else "plain"
    superfluous = [
        f"{path}: key {key} is superfluous; expected: a T5 encoder of {sizes.depth} layers with"
        f" {feed} feed-forward layers, as {CONFIG} says"
        for key, path in files.items()
        if not (key in places or key in EMBEDDING or key.startswith(IGNORED))
    ]
    return weight_files.missing_keys(places, listing, files) + superfluous


def _two_embeddings(files: dict[str, Path]) -> list[str]:
    """A line if the embedding is there by both names and they are not the same."""
    one, other = EMBEDDING
    if not {one, other} <= files.keys():
        return []
    if np.array_equal(weight_files.read(files[one], one), weight_files.read(files[other], other)):
        return []
    return [
        f"{files[other]}: key {other} differs from {one}; expected: one of them, or the same"
        " array as both"
    ]


def _files(folder: Path) -> tuple[Path, dict[str, Path]]:
    """(the file that lists the keys, the file of each key)."""
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file():
        return single, dict.fromkeys(weight_files.keys(single), single)
    if not index.is_file():
        raise InputError(
            f"{folder} has neither {WEIGHTS} nor {INDEX}; other formats are not read, as they may"
            " be pickled: save_pretrained(folder, safe_serialization=True) writes the former"
        )
    weight_map = _read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else [None]
    # A name, and no path: what is read lies in the folder.
    if not all(type(name) is str and re.fullmatch(r"[^/\\]+\.safetensors", name) for name in names):
        raise InputError(
            f"{index}: weight_map must give each key the name of a .safetensors file of the folder"
        )
    paths = [folder / name for name in sorted(set(names))]
    return index, {key: path for path in paths for key in weight_files.keys(path)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: it is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"cannot read {path}: it holds no JSON object")
    return found
