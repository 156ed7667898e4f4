"""Modality `image`: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.modalities import ModalityOptions, ModalitySpec
from mmgen_jax.registry import deferred
from mmgen_jax.schema import HEADS, LAYERS, SIDE, WIDTH, Relation, option


@dataclass(frozen=True)
class ImageOptions(ModalityOptions):
    """Options of an input that is an image."""

    patch_size: int = option(8, "side of a patch in pixels", SIDE, Relation.PATCH)
    width: int = option(128, "channels of the encoder", WIDTH)
    depth: int = option(2, "layers of the encoder", LAYERS)
    num_heads: int = option(4, "attention heads of the encoder", HEADS, Relation.HEADS)


IMAGE = ModalitySpec(
    options=ImageOptions,
    fit=lambda options, source: {},  # nothing is learned from the data
    build=deferred("mmgen_jax.modalities.image.modality:build"),
    serves=lambda options, assets, source: True,
)
