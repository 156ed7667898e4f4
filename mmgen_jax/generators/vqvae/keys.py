"""The vector-quantized autoencoder: its options and what the registry holds of it."""

import math
from dataclasses import dataclass

from mmgen_jax.generators import FamilySpec, SamplingOptions, TokenizerSpec
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    ANY,
    CHANNELS,
    COUNT_OR_NONE,
    DECAY,
    FRACTION,
    HEADS,
    LAYERS,
    MOST_CODES,
    SIDE,
    TEMPERATURE,
    WEIGHT,
    WIDTH,
    WIDTHS,
    Relation,
    Rule,
    between,
    one_of,
    option,
)

LEVELS = Rule(
    lambda value: (
        0 < len(value) <= 24 and all(n > 1 for n in value) and math.prod(value) <= MOST_CODES
    ),
    f"at least one, each from 2 on, of a product of at most {MOST_CODES}",
)


@dataclass(frozen=True)
class VQVAEOptions:
    """Options of a model of this family, the group `generator.vqvae` of a config."""

    patch_size: int = option(
        4, "pixels along each side of what one latent stands for", SIDE, Relation.PATCH
    )
    width: int = option(128, "channels of encoder and decoder", WIDTH)
    depth: int = option(4, "layers of each", LAYERS)
    num_heads: int = option(4, "attention heads", HEADS, Relation.HEADS)
    remat: bool = option(False, "recompute activations in the backward pass to save memory", ANY)
    quantizer: str = option(
        "ema",
        "ema: a learned codebook; fsq: rounding; kl: none, latents are continuous",
        one_of("ema", "fsq", "kl"),
    )
    codebook_size: int = option(1_024, "in the codebook (ema)", between(2, MOST_CODES))
    latent_dim: int = option(8, "channels of a latent (ema, kl)", CHANNELS)
    levels: tuple[int, ...] = option(
        (8, 5, 5, 5), "of each channel; their product is the number of codes (fsq)", LEVELS
    )
    commitment: float = option(0.25, "weight of the distance to the code (ema)", WEIGHT)
    restart_below: float = option(
        0.1, "share of an even use below which a code starts again (ema)", FRACTION
    )
    kl_weight: float = option(1e-4, "of the divergence from a standard normal (kl)", WEIGHT)
    prior_weight: float = option(1.0, "of the prior's surprise at the latents", WEIGHT)
    statistics_decay: float = option(0.99, "of the running moments and the codebook", DECAY)
    adversarial_weight: float = option(
        0.0, "of a discriminator's opinion; 0: there is none", WEIGHT
    )
    adversarial_from: int = option(0, "step from which it counts", COUNT_OR_NONE)
    discriminator_widths: tuple[int, ...] = option(
        (64, 128, 256), "channels of its maps, largest first", WIDTHS
    )


@dataclass(frozen=True)
class VQVAESampling(SamplingOptions):
    """Options of its sampling, the group `generator.vqvae.sample`."""

    temperature: float = option(1.0, "how random latents are drawn; 0: the likeliest", TEMPERATURE)


VQVAE = FamilySpec(
    options=VQVAEOptions,
    sampling=VQVAESampling,
    build=deferred("mmgen_jax.generators.vqvae.family:build"),
    players=("generator", "discriminator"),
    tokenizer=TokenizerSpec(
        side=lambda options: options.patch_size,
        kind=lambda options: "latents" if options.quantizer == "kl" else "codes",
        codec=deferred("mmgen_jax.generators.vqvae.family:codec"),
        freeze=deferred("mmgen_jax.generators.vqvae.family:freeze"),
    ),
)
