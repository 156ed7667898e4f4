"""The config keys of every family and of every player, with their checks.

Nothing here imports jax. `config` has all other keys, and is what others import.
"""

import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from mmgen_jax.config.schema import (
    ANY,
    CHANNELS,
    COUNT,
    COUNT_OR_NONE,
    DECAY,
    DRAWS,
    FRACTION,
    GUIDANCE,
    HEADS,
    LARGEST,
    LATENTS,
    LAYERS,
    MOST_GUIDANCE,
    MOST_SIDE,
    MOST_WIDTH,
    PATH,
    SIDE,
    SIGN,
    SQUARE,
    WEIGHT,
    WIDTH,
    WIDTHS,
    Check,
    Key,
    Latents,
    Rule,
    above,
    between,
    declare,
    one_of,
)
from mmgen_jax.errors import InputError
from mmgen_jax.generators.stylegan import augmentations

MOST_CODES = 2**24  # of a codebook, whose numbers float32 holds exactly
RATE = above(0, 1_000)
LOGIT = between(-100, 100)
CANDIDATES = between(1, 10_000)
TEMPERATURE = between(0, 1_000)
LEVELS = Rule(
    lambda value: (
        0 < len(value) <= 24 and all(n > 1 for n in value) and math.prod(value) <= MOST_CODES
    ),
    f"at least one, each from 2 on, of a product of at most {MOST_CODES}",
)


def declare_family(
    name: str,
    keys: Mapping[str, Key],
    sample: Mapping[str, Key],
    check: Check | None = None,
    guided: bool = True,
    draws: tuple[str, ...] = ("pixels",),
    latents: Latents | None = None,
    square: bool = False,
) -> None:
    """Declares a family's keys, and those of its sampling.

    Args:
      name: of the family.
      keys: of config.generator.NAME.
      sample: keys of config.generator.NAME.sample.
      check: of keys against one another; see `schema.declare`.
      guided: one that is not takes a modality or leaves it: guidance weights 1 and 0 alone.
      draws: what it can draw: pixels, a tokenizer's continuous latents, its codes.
      latents: what its runs offer to others; None where they do not.
      square: whether all that it draws is as wide as high.
    """
    declare(f"generator.{name}", keys, check)
    meaning = "pictures drawn for each one kept: whose inputs are recovered best; 1: no choice"
    declare(f"generator.{name}.sample", {"candidates": Key(1, meaning, CANDIDATES), **sample})
    GUIDANCE[name] = between(0, MOST_GUIDANCE) if guided else one_of(0, 1)
    DRAWS[name] = draws
    if latents is not None:
        LATENTS[name] = latents
    if square:
        SQUARE.add(name)


def declare_player(name: str) -> None:
    """Declares the optimizer of one player."""
    declare(
        f"optimizer.{name}",
        {
            "name": Key(
                "adamw", "adamw, or muon on matrices and adamw on the rest", one_of("adamw", "muon")
            ),
            "learning_rate": Key(3e-4, "peak learning rate", RATE),
            "adamw_learning_rate": Key(3e-4, "of what muon leaves to adamw", RATE),
            "warmup_steps": Key(100, "the player's steps of linear warm-up", COUNT_OR_NONE),
            "final_fraction": Key(
                0.0, "learning rate at the end of the cosine, of the peak", FRACTION
            ),
            "beta1": Key(0.9, "decay of the first moment", DECAY),
            "beta2": Key(0.99, "decay of the second moment", DECAY),
            "weight_decay": Key(0.0, "decoupled, on hidden weight matrices only", WEIGHT),
            "clip_norm": Key(1.0, "largest global gradient norm; 0: any", between(0, LARGEST)),
            "every": Key(1, "the player moves every so many steps", COUNT),
            "start": Key(0, "the player's first step", COUNT_OR_NONE),
        },
    )


def _check_flow(options: ConfigDict, image_size: int) -> None:
    if options.weights and options.architecture != "dit":
        raise InputError(
            f"config.generator.flow.weights = {options.weights!r} with architecture ="
            f" {options.architecture!r}; allowed: architecture 'dit', or no weights"
        )


def _check_gan(options: ConfigDict, image_size: int) -> None:
    for name in ("widths", "discriminator_widths"):
        factor = options.patch * 2 ** (len(options[name]) - 1)
        if image_size % factor:
            raise InputError(
                f"config.data.image_size = {image_size} with config.generator.gan.patch ="
                f" {options.patch} and {len(options[name])} {name}; allowed: multiples of {factor}"
            )


def _check_stylegan(options: ConfigDict, image_size: int) -> None:
    size, left = divmod(image_size, options.patch)
    if left or size < 4 or size & (size - 1):
        raise InputError(
            f"config.data.image_size = {image_size} with config.generator.stylegan.patch ="
            f" {options.patch}; allowed: {options.patch} times a power of 2 that is at least 4"
        )
    if options.channel_base < size:
        raise InputError(
            f"config.generator.stylegan.channel_base = {options.channel_base} leaves no channels at"
            f" {size} x {size}; allowed: at least {size}"
        )


def _check_autoencoder(options: ConfigDict, image_size: int) -> None:
    factor = 2 ** (len(options.decoder_widths) + 1)
    if image_size % factor:
        raise InputError(
            f"config.data.image_size = {image_size} with config.generator.autoencoder."
            f"decoder_widths = {options.decoder_widths}; allowed: multiples of {factor}"
        )


def _check_vae(options: ConfigDict, image_size: int) -> None:
    grid = image_size // options.patch
    for side in options.latent_sides:
        if grid % side or options.latent % side**2:
            raise InputError(
                f"config.generator.vae.latent_sides = {options.latent_sides} with {grid} patches"
                f" along a side and latent = {options.latent}; allowed: divisors of {grid} whose"
                f" squares divide {options.latent}"
            )


declare_player("generator")
declare_player("discriminator")
declare_family(
    "flow",
    {
        "architecture": Key(
            "mmdit",
            "mmdit: condition tokens in the attention; dit: one vector modulates the layers",
            one_of("mmdit", "dit"),
        ),
        "learn_sigma": Key(
            False, "twice the channels out, half of them unused, as DiT's weights have (dit)", ANY
        ),
        "weights": Key(
            "", "safetensors file of a published DiT, which a fresh run begins with (dit)", PATH
        ),
        "patch": Key(8, "side of a patch in pixels, or latents", SIDE),
        "width": Key(128, "channels", WIDTH),
        "depth": Key(4, "layers", LAYERS),
        "heads": Key(4, "attention heads", HEADS),
        "prediction": Key("x", "what the network predicts", one_of("x", "velocity")),
        "timestep_mean": Key(0.0, "of the logit of the timestep; more is noisier", LOGIT),
        "timestep_deviation": Key(1.0, "of the logit of the timestep", above(0, 100)),
        "base_size": Key(32, "side of an image, or of latents, without timestep shift", SIDE),
        "remat": Key(False, "recompute activations in the backward pass to save memory", ANY),
    },
    {
        "steps": Key(32, "solver steps", between(2, 10_000)),
        "solver": Key("heun", "ODE solver", one_of("euler", "heun")),
        "guidance_from": Key(0.0, "smallest timestep that is guided", FRACTION),
        "guidance_to": Key(1.0, "largest timestep that is guided", FRACTION),
    },
    _check_flow,
    draws=("pixels", "latents", "codes"),
)
declare_family(
    "gan",
    {
        "objective": Key("r3gan", "the game that is played", one_of("r3gan", "gan_cls")),
        "noise": Key(64, "channels of the noise", CHANNELS),
        "patch": Key(1, "pixels along each side of a place of the largest map", SIDE),
        "widths": Key(
            (256, 128, 64, 32), "channels of the generator's maps, smallest first", WIDTHS
        ),
        "style_width": Key(256, "channels of what is fused at every layer", WIDTH),
        "discriminator_widths": Key(
            (256, 128, 64, 32), "channels of its maps, smallest first", WIDTHS
        ),
        "features": Key(256, "of an image, on which conditions are projected", WIDTH),
        "gamma": Key(1.0, "weight of R1 and R2 at step 0 (r3gan)", WEIGHT),
        "gamma_final": Key(1.0, "the same from step gamma_steps on: set both", WEIGHT),
        "gamma_steps": Key(1, "steps of the half cosine between them", COUNT),
        "matching_weight": Key(2.0, "of the matching-aware penalty (gan_cls)", WEIGHT),
        "mismatch_weight": Key(1.0, "of real images with a wrong condition", WEIGHT),
        "penalty_every": Key(1, "steps between gradient penalties", COUNT),
    },
    {"truncation": Key(1.0, "scale of the noise; less is less varied", FRACTION)},
    _check_gan,
    guided=False,
    square=True,
)
declare_family(
    "stylegan",
    {
        "width": Key(512, "channels of a style, and of the noise that it is made of", CHANNELS),
        "mapping_layers": Key(
            8, "layers that make a style, and that read a condition", between(1, 100)
        ),
        "mapping_rate": Key(
            0.01, "learning rate of what makes a style, as a fraction of all others'", RATE
        ),
        "channel_base": Key(
            16_384, "a map's channels are this over its side", between(1, MOST_WIDTH * MOST_SIDE)
        ),
        "channel_max": Key(512, "but at most this", CHANNELS),
        "patch": Key(1, "pixels along each side of a place of the largest map", SIDE),
        "mixing": Key(0.9, "probability that two styles are mixed", FRACTION),
        "mismatch_weight": Key(0.0, "of real images with a wrong condition", WEIGHT),
        "mode_seeking_weight": Key(
            0.0, "of a penalty where two styles draw the same; 0: not measured", WEIGHT
        ),
        "gamma": Key(1.0, "weight of R1", WEIGHT),
        "r1_every": Key(16, "steps between penalties of gradients", COUNT),
        "path_weight": Key(2.0, "of a penalty on uneven lengths of paths; 0: not measured", WEIGHT),
        "path_every": Key(4, "steps between penalties of lengths", COUNT),
        "mbstd_group": Key(4, "examples of a minibatch standard deviation, at most", COUNT),
        "augment": Key(
            "blit+geometry+colour",
            "what the discriminator sees changed, joined by +",
            Rule(augmentations.is_known, augmentations.ALLOWED),
        ),
        "augment_target": Key(0.6, "mean sign of real scores that its probability seeks", SIGN),
        "augment_images": Key(500_000, "images in which it can go from 0 to 1", COUNT),
    },
    {
        "truncation": Key(
            1.0, "how far styles are from the mean over all conditions; at 0 all are it", FRACTION
        )
    },
    _check_stylegan,
    guided=False,
    square=True,
)
declare_family(
    "autoencoder",
    {
        "encoder_widths": Key(
            (64, 128, 256, 512, 1024), "channels of what halves the size; the last keeps it", WIDTHS
        ),
        "dense_widths": Key((4096, 4096), "of the dense layers before the reshaped one", WIDTHS),
        "base_width": Key(512, "channels of what the last dense layer is reshaped to", CHANNELS),
        "decoder_widths": Key(
            (512, 256, 128, 64), "channels of what doubles the size; RGB doubles it again", WIDTHS
        ),
        "moments_decay": Key(0.99, "of the running moments of norms and code", FRACTION),
    },
    {"temperature": Key(1.0, "scale of a drawn code's deviation", TEMPERATURE)},
    _check_autoencoder,
    guided=False,
    square=True,
)
declare_family(
    "vqvae",
    {
        "patch": Key(4, "pixels along each side of what one latent stands for", SIDE),
        "width": Key(128, "channels of encoder and decoder", WIDTH),
        "depth": Key(4, "layers of each", LAYERS),
        "heads": Key(4, "attention heads", HEADS),
        "remat": Key(False, "recompute activations in the backward pass to save memory", ANY),
        "quantizer": Key(
            "ema",
            "ema: a learned codebook; fsq: rounding; kl: none, latents are continuous",
            one_of("ema", "fsq", "kl"),
        ),
        "codes": Key(1_024, "in the codebook (ema)", between(2, MOST_CODES)),
        "latent": Key(8, "channels of a latent (ema, kl)", CHANNELS),
        "levels": Key(
            (8, 5, 5, 5),
            "of each channel; their product is the number of codes (fsq)",
            LEVELS,
        ),
        "commitment": Key(0.25, "weight of the distance to the code (ema)", WEIGHT),
        "restart_below": Key(
            0.1, "share of an even use below which a code starts again (ema)", FRACTION
        ),
        "kl_weight": Key(1e-4, "of the divergence from a standard normal (kl)", WEIGHT),
        "prior_weight": Key(1.0, "of the prior's surprise at the latents", WEIGHT),
        "moments_decay": Key(0.99, "of the running moments and the codebook", DECAY),
        "adversarial_weight": Key(0.0, "of a discriminator's opinion; 0: there is none", WEIGHT),
        "adversarial_from": Key(0, "step from which it counts", COUNT_OR_NONE),
        "discriminator_widths": Key((64, 128, 256), "channels of its maps, largest first", WIDTHS),
    },
    {"temperature": Key(1.0, "how random latents are drawn; 0: the likeliest", TEMPERATURE)},
    latents=Latents(
        side=lambda options: options.patch,
        kind=lambda options: "latents" if options.quantizer == "kl" else "codes",
    ),
)
declare_family(
    "dalle",
    {
        "width": Key(128, "channels", WIDTH),
        "depth": Key(4, "layers", LAYERS),
        "heads": Key(4, "attention heads", HEADS),
        "remat": Key(False, "recompute activations in the backward pass to save memory", ANY),
    },
    {
        "temperature": Key(1.0, "how random codes are drawn; 0: the likeliest", TEMPERATURE),
        "top_k": Key(0, "likeliest codes that are eligible; 0: all", between(0, MOST_CODES)),
        "top_p": Key(1.0, "probability that the eligible codes must sum to", above(0, 1)),
    },
    draws=("codes",),
)
declare_family(
    "vae",
    {
        "patch": Key(8, "side of a patch in pixels", SIDE),
        "width": Key(128, "channels", WIDTH),
        "depth": Key(2, "layers of the encoder, and after each group of latents", LAYERS),
        "heads": Key(4, "attention heads", HEADS),
        "latent": Key(64, "values of each group of latents", CHANNELS),
        "latent_sides": Key(
            (1, 4), "places along each side of each group of latents, first drawn first", WIDTHS
        ),
        "free_bits": Key(4.0, "of each group's KL divergence: none is asked for less", WEIGHT),
        "kl_warmup_steps": Key(500, "steps of the KL divergence's linear warm-up", COUNT),
        "scale_warmup_steps": Key(
            0, "steps until a pixel's scale is what the network says; 0: at once", COUNT_OR_NONE
        ),
    },
    {"temperature": Key(1.0, "scale of the prior's deviations", TEMPERATURE)},
    _check_vae,
    guided=False,
    square=True,
)
