"""StyleGAN2: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.generators.stylegan import augmentations
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    CHANNELS,
    COUNT,
    FRACTION,
    MOST_SIDE,
    MOST_WIDTH,
    RATE,
    SIDE,
    SIGN,
    WEIGHT,
    Relation,
    Rule,
    between,
    one_of,
    option,
)


@dataclass(frozen=True)
class StyleGANOptions:
    """Options of a model of this family, the group `generator.stylegan` of a config."""

    width: int = option(512, "channels of a style, and of the noise that it is made of", CHANNELS)
    mapping_layers: int = option(
        8, "layers that make a style, and that read a condition", between(1, 100)
    )
    mapping_rate: float = option(
        0.01, "learning rate of what makes a style, as a fraction of all others'", RATE
    )
    channel_base: int = option(
        16_384, "a map's channels are this over its side", between(1, MOST_WIDTH * MOST_SIDE)
    )
    channel_max: int = option(512, "but at most this", CHANNELS)
    patch_size: int = option(
        1, "pixels along each side of a place of the largest map", SIDE, Relation.PATCH
    )
    mixing: float = option(0.9, "probability that two styles are mixed", FRACTION)
    mismatch_weight: float = option(0.0, "of real images with a wrong condition", WEIGHT)
    mode_seeking_weight: float = option(
        0.0, "of a penalty where two styles draw the same; 0: not measured", WEIGHT
    )
    gamma: float = option(1.0, "weight of R1", WEIGHT)
    r1_every: int = option(16, "steps between penalties of gradients", COUNT, Relation.PERIOD)
    path_weight: float = option(
        2.0, "of a penalty on uneven lengths of paths; 0: not measured", WEIGHT
    )
    path_every: int = option(4, "steps between penalties of lengths", COUNT, Relation.PERIOD)
    mbstd_group: int = option(4, "examples of a minibatch standard deviation, at most", COUNT)
    augment: str = option(
        "blit+geometry+colour",
        "what the discriminator sees changed, joined by +",
        Rule(augmentations.is_known, augmentations.ALLOWED),
    )
    augment_target: float = option(0.6, "mean sign of real scores that its probability seeks", SIGN)
    augment_images: int = option(500_000, "images in which it can go from 0 to 1", COUNT)


@dataclass(frozen=True)
class StyleGANSampling(SamplingOptions):
    """Options of its sampling, the group `generator.stylegan.sample`."""

    truncation: float = option(
        1.0, "how far styles are from the mean over all conditions; at 0 all are it", FRACTION
    )


def _check(options: StyleGANOptions, height: int, group: str) -> None:
    size, left = divmod(height, options.patch_size)
    if left or size < 4 or size & (size - 1):
        raise InputError(
            f"config.data.image_size = {height} with config.{group}.patch_size ="
            f" {options.patch_size}; allowed: {options.patch_size} times a power of 2 that is"
            " at least 4"
        )
    if options.channel_base < size:
        raise InputError(
            f"config.{group}.channel_base = {options.channel_base} leaves no channels at"
            f" {size} x {size}; allowed: at least {size}"
        )


STYLEGAN = FamilySpec(
    options=StyleGANOptions,
    sampling=StyleGANSampling,
    build=deferred("mmgen_jax.generators.stylegan.family:build"),
    check=_check,
    guidance=one_of(0, 1),
    square=True,
    players=("generator", "discriminator"),
)
