"""The DALL-E-like transformer: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    ANY,
    HEADS,
    LAYERS,
    MOST_CODES,
    TEMPERATURE,
    WIDTH,
    Relation,
    above,
    between,
    option,
)


@dataclass(frozen=True)
class DALLEOptions:
    """Options of a model of this family, the group `generator.dalle` of a config."""

    width: int = option(128, "channels", WIDTH)
    depth: int = option(4, "layers", LAYERS)
    num_heads: int = option(4, "attention heads", HEADS, Relation.HEADS)
    remat: bool = option(False, "recompute activations in the backward pass to save memory", ANY)


@dataclass(frozen=True)
class DALLESampling(SamplingOptions):
    """Options of its sampling, the group `generator.dalle.sample`."""

    temperature: float = option(1.0, "how random codes are drawn; 0: the likeliest", TEMPERATURE)
    top_k: int = option(0, "likeliest codes that are eligible; 0: all", between(0, MOST_CODES))
    top_p: float = option(1.0, "probability that the eligible codes must sum to", above(0, 1))


DALLE = FamilySpec(
    options=DALLEOptions,
    sampling=DALLESampling,
    build=deferred("mmgen_jax.generators.dalle.family:build"),
    targets=("codes",),
)
