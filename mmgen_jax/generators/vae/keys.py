"""The hierarchical VAE: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    CHANNELS,
    COUNT,
    COUNT_OR_NONE,
    HEADS,
    LAYERS,
    SIDE,
    TEMPERATURE,
    WEIGHT,
    WIDTH,
    WIDTHS,
    Relation,
    one_of,
    option,
)


@dataclass(frozen=True)
class VAEOptions:
    """Options of a model of this family, the group `generator.vae` of a config."""

    patch_size: int = option(8, "side of a patch in pixels", SIDE, Relation.PATCH)
    width: int = option(128, "channels", WIDTH)
    depth: int = option(2, "layers of the encoder, and after each group of latents", LAYERS)
    num_heads: int = option(4, "attention heads", HEADS, Relation.HEADS)
    latent_dim: int = option(64, "values of each group of latents", CHANNELS)
    latent_sides: tuple[int, ...] = option(
        (1, 4), "places along each side of each group of latents, first drawn first", WIDTHS
    )
    free_bits: float = option(4.0, "of each group's KL divergence: none is asked for less", WEIGHT)
    kl_warmup_steps: int = option(500, "steps of the KL divergence's linear warm-up", COUNT)
    scale_warmup_steps: int = option(
        0, "steps until a pixel's scale is what the network says; 0: at once", COUNT_OR_NONE
    )


@dataclass(frozen=True)
class VAESampling(SamplingOptions):
    """Options of its sampling, the group `generator.vae.sample`."""

    temperature: float = option(1.0, "scale of the prior's deviations", TEMPERATURE)


def _check(options: VAEOptions, height: int, group: str) -> None:
    grid = height // options.patch_size
    for side in options.latent_sides:
        if grid % side or options.latent_dim % side**2:
            raise InputError(
                f"config.{group}.latent_sides = {options.latent_sides} with {grid} patches"
                f" along a side and latent_dim = {options.latent_dim}; allowed: divisors of"
                f" {grid} whose squares divide {options.latent_dim}"
            )


VAE = FamilySpec(
    options=VAEOptions,
    sampling=VAESampling,
    build=deferred("mmgen_jax.generators.vae.family:build"),
    check=_check,
    guidance=one_of(0, 1),
    square=True,
)
