"""Inception-v3 as the FID has it: the network that Google released on 5 December 2015.

Szegedy et al. 2016 ("Rethinking the Inception architecture", table 1), with 1,008 classes. It
differs from other Inception-v3s: average pools do not count their padding, and the last block has a
maximum where the one before has an average. It is only ever applied, with weights from a file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax import lax
from jaxtyping import Array, Float

from mmgen_jax.pretrained import weight_files
from mmgen_jax.pretrained.weight_files import Place

SIDE, CLASSES = 299, 1_008
EPSILON = 1e-3  # of the batch norms
Maps = Float[Array, "batch rows columns features"]
Changed = Float[Array, "batch _ _ _"]


class Layer(NamedTuple):
    """A convolution, its batch norm and a ReLU.

    Attributes:
      name: its module, in the released weights' port to PyTorch.
      features: channels out.
      kernel: height and width.
      stride: 2 halves the map, without padding.
      padded: whether a map keeps its size; of stride 1.
    """

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


Branch = tuple[Layer | tuple[Layer, ...], ...]  # a tuple within it is a fork

STEM = (
    (Layer("Conv2d_1a_3x3", 32, (3, 3), 2), Layer("Conv2d_2a_3x3", 32, (3, 3), padded=False)),
    (Layer("Conv2d_2b_3x3", 64, (3, 3)),),
    (Layer("Conv2d_3b_1x1", 80), Layer("Conv2d_4a_3x3", 192, (3, 3), padded=False)),
)


def _thirty_five(pooled: int) -> tuple[Branch, ...]:
    """Branches at 35 x 35 places."""
    return (
        (Layer("branch1x1", 64),),
        (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        (
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, (3, 3)),
            Layer("branch3x3dbl_3", 96, (3, 3)),
        ),
        (Layer("branch_pool", pooled),),
    )


def _seventeen(width: int) -> tuple[Branch, ...]:
    """Branches at 17 x 17 places."""
    down, along = (7, 1), (1, 7)
    return (
        (Layer("branch1x1", 192),),
        (
            Layer("branch7x7_1", width),
            Layer("branch7x7_2", width, along),
            Layer("branch7x7_3", 192, down),
        ),
        (
            Layer("branch7x7dbl_1", width),
            Layer("branch7x7dbl_2", width, down),
            Layer("branch7x7dbl_3", width, along),
            Layer("branch7x7dbl_4", width, down),
            Layer("branch7x7dbl_5", 192, along),
        ),
        (Layer("branch_pool", 192),),
    )


EIGHT: tuple[Branch, ...] = (
    (Layer("branch1x1", 320),),
    (
        Layer("branch3x3_1", 384),
        (Layer("branch3x3_2a", 384, (1, 3)), Layer("branch3x3_2b", 384, (3, 1))),
    ),
    (
        Layer("branch3x3dbl_1", 448),
        Layer("branch3x3dbl_2", 384, (3, 3)),
        (Layer("branch3x3dbl_3a", 384, (1, 3)), Layer("branch3x3dbl_3b", 384, (3, 1))),
    ),
    (Layer("branch_pool", 192),),
)


class Block(NamedTuple):
    """Branches that see the same map, and whose maps are joined.

    Attributes:
      name: of its module.
      branches: all but those without a layer.
      pool: what the last branch begins with, average or max; halving: there is one branch more,
        without a layer, which halves the map by its maxima, as the others do.
    """

    name: str
    branches: tuple[Branch, ...]
    pool: str


BLOCKS = (
    Block("Mixed_5b", _thirty_five(32), "average"),
    Block("Mixed_5c", _thirty_five(64), "average"),
    Block("Mixed_5d", _thirty_five(64), "average"),
    Block(
        "Mixed_6a",
        (
            (Layer("branch3x3", 384, (3, 3), 2),),
            (
                Layer("branch3x3dbl_1", 64),
                Layer("branch3x3dbl_2", 96, (3, 3)),
                Layer("branch3x3dbl_3", 96, (3, 3), 2),
            ),
        ),
        "halving",
    ),
    Block("Mixed_6b", _seventeen(128), "average"),
    Block("Mixed_6c", _seventeen(160), "average"),
    Block("Mixed_6d", _seventeen(160), "average"),
    Block("Mixed_6e", _seventeen(192), "average"),
    Block(
        "Mixed_7a",
        (
            (Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, (3, 3), 2)),
            (
                Layer("branch7x7x3_1", 192),
                Layer("branch7x7x3_2", 192, (1, 7)),
                Layer("branch7x7x3_3", 192, (7, 1)),
                Layer("branch7x7x3_4", 192, (3, 3), 2),
            ),
        ),
        "halving",
    ),
    Block("Mixed_7b", EIGHT, "average"),
    Block("Mixed_7c", EIGHT, "max"),
)
LAST_AT_SEVENTEEN = "Mixed_6e"


class Inception(nn.Module):
    """Pictures -> features of several depths, by name: "64", "192", "768", "2048", "logits".

    The logits are without the biases of the last layer, as the Inception score has them. The call
    takes float pictures in 0..255, of SIDE x SIDE pixels, and computes in their dtype.
    """

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch side side 3"]
    ) -> dict[str, Float[Array, "batch features"]]:
        found, x = {}, (images - 128) / 128
        for number, layers in enumerate(STEM):
            x = self._chain(x, layers, "")
            if number:
                x = _halved(x)
                found[str(x.shape[-1])] = x.mean(axis=(1, 2))
        for block in BLOCKS:
            x = self._block(x, block)
            if block.name == LAST_AT_SEVENTEEN:
                found["768"] = x.mean(axis=(1, 2))
        found["2048"] = x.mean(axis=(1, 2))
        kernel = self.param("fc.kernel", nn.initializers.zeros, (x.shape[-1], CLASSES), x.dtype)
        return found | {"logits": found["2048"] @ kernel}

    def _block(self, x: Maps, block: Block) -> Changed:
        pooled = {"average": _averaged, "max": _highest, "halving": None}[block.pool]
        inputs = [x] * len(block.branches)
        if pooled:
            inputs[-1] = pooled(x)
        parts = [
            self._chain(given, branch, f"{block.name}.")
            for given, branch in zip(inputs, block.branches, strict=True)
        ]
        return jnp.concatenate(parts if pooled else [*parts, _halved(x)], axis=-1)

    def _chain(self, x: Maps, layers: Sequence[Any], prefix: str) -> Changed:
        for layer in layers:
            if isinstance(layer, Layer):
                x = self._layer(x, layer, prefix)
            else:
                x = jnp.concatenate([self._layer(x, fork, prefix) for fork in layer], axis=-1)
        return x

    def _layer(self, x: Maps, layer: Layer, prefix: str) -> Changed:
        name, shape = prefix + layer.name, (*layer.kernel, x.shape[-1], layer.features)
        kernel = self.param(f"{name}.kernel", nn.initializers.zeros, shape, x.dtype)
        scale, bias, mean, variance = (
            self.param(f"{name}.{part}", nn.initializers.ones, shape[-1:], x.dtype)
            for part in ("scale", "bias", "mean", "variance")
        )
        padding = "SAME" if layer.stride == 1 and layer.padded else "VALID"
        strides = (layer.stride, layer.stride)
        x = lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        factor = scale * lax.rsqrt(variance + EPSILON)
        return nn.relu(x * factor[None, None, None] + (bias - mean * factor)[None, None, None])


def _halved(x: Maps) -> Changed:
    return nn.max_pool(x, (3, 3), (2, 2))


def _highest(x: Maps) -> Maps:
    return nn.max_pool(x, (3, 3), padding="SAME")


def _averaged(x: Maps) -> Maps:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def load(path: Path) -> dict[str, Any]:
    """Reads the weights of the port to PyTorch that is known by its hash, 6726825d.

    Theirs is pickled; whoever trusts it writes it as safetensors, for nothing is unpickled here:

        state = torch.load("weights-inception-2015-12-05-6726825d.pth", weights_only=True)
        safetensors.torch.save_file(state, "inception.safetensors")

    Returns:
      the collection `params` of `Inception`, NumPy arrays in float32.

    Raises:
      InputError: if the file is broken, or a key is missing or of another shape; `details` has a
        line for each.
    """
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    shapes = weight_files.parameter_shapes(Inception().init, images)
    files = dict.fromkeys(weight_files.keys(path), path)
    places = dict(place(name, shape) for name, shape in shapes.items())
    kind = "the Inception-v3 of the FID"
    weight_files.raise_faults(weight_files.missing_keys(places, path, files), path, kind)
    faults = weight_files.wrong_arrays(places, files, f"for {kind}")
    weight_files.raise_faults(faults, path, kind)
    return unflatten_dict(weight_files.filled(places, files, shapes), sep="/")


THEIRS = {
    "scale": "bn.weight",
    "bias": "bn.bias",
    "mean": "bn.running_mean",
    "variance": "bn.running_var",
}


def place(name: str, shape: tuple[int, ...]) -> tuple[str, Place]:
    """(their key, where its array goes)."""
    module, _, part = name.rpartition(".")
    if module == "fc":
        return "fc.weight", Place(name, None, shape[::-1], np.transpose)
    if part != "kernel":
        return f"{module}.{THEIRS[part]}", Place(name, None, shape)
    turned = lambda kernel: kernel.transpose(2, 3, 1, 0)  # noqa: E731
    return f"{module}.conv.weight", Place(name, None, (shape[3], shape[2], *shape[:2]), turned)
