"""The conditional GAN: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    CHANNELS,
    COUNT,
    FRACTION,
    SIDE,
    WEIGHT,
    WIDTH,
    WIDTHS,
    Relation,
    one_of,
    option,
)


@dataclass(frozen=True)
class GANOptions:
    """Options of a model of this family, the group `generator.gan` of a config."""

    objective: str = option("r3gan", "the game that is played", one_of("r3gan", "gan_cls"))
    z_dim: int = option(64, "channels of the noise", CHANNELS)
    patch_size: int = option(
        1, "pixels along each side of a place of the largest map", SIDE, Relation.PATCH
    )
    widths: tuple[int, ...] = option(
        (256, 128, 64, 32), "channels of the generator's maps, smallest first", WIDTHS
    )
    style_width: int = option(256, "channels of what is fused at every layer", WIDTH)
    discriminator_widths: tuple[int, ...] = option(
        (256, 128, 64, 32), "channels of its maps, smallest first", WIDTHS
    )
    features: int = option(256, "of an image, on which conditions are projected", WIDTH)
    gamma: float = option(1.0, "weight of R1 and R2 at step 0 (r3gan)", WEIGHT)
    gamma_final: float = option(1.0, "the same from step gamma_steps on: set both", WEIGHT)
    gamma_steps: int = option(1, "steps of the half cosine between them", COUNT)
    matching_weight: float = option(2.0, "of the matching-aware penalty (gan_cls)", WEIGHT)
    mismatch_weight: float = option(1.0, "of real images with a wrong condition", WEIGHT)
    penalty_every: int = option(1, "steps between gradient penalties", COUNT, Relation.PERIOD)


@dataclass(frozen=True)
class GANSampling(SamplingOptions):
    """Options of its sampling, the group `generator.gan.sample`."""

    truncation: float = option(1.0, "scale of the noise; less is less varied", FRACTION)


def _check(options: GANOptions, height: int, group: str) -> None:
    for name in ("widths", "discriminator_widths"):
        count = len(getattr(options, name))
        factor = options.patch_size * 2 ** (count - 1)
        if height % factor:
            raise InputError(
                f"config.data.image_size = {height} with config.{group}.patch_size ="
                f" {options.patch_size} and {count} {name}; allowed: multiples of {factor}"
            )


GAN = FamilySpec(
    options=GANOptions,
    sampling=GANSampling,
    build=deferred("mmgen_jax.generators.gan.family:build"),
    check=_check,
    guidance=one_of(0, 1),
    square=True,
    players=("generator", "discriminator"),
)
