"""A hierarchical VAE.

    python launch/train.py --config=configs/vae.py:data=shapes,modalities=text+label,size=tiny \
        --workdir=runs/vae
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import recipes


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    latent: int
    latent_sides: tuple[int, ...]
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(32, 8, 96, 2, 3, 32, (1,), 64, 1),
    "small": Size(64, 8, 384, 3, 6, 256, (1, 4, 8), 256, 4),
    "base": Size(128, 16, 768, 4, 12, 256, (1, 4, 8), 384, 6),
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "vae", {})
    size = configs.choose("size", chosen["size"], SIZES)
    config.data.image_size = size.image_size
    vae = config.generator.vae
    vae.patch, vae.width, vae.depth, vae.heads = size.patch, size.width, size.depth, size.heads
    vae.latent, vae.latent_sides = size.latent, size.latent_sides
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        config.optimizer.generator.learning_rate = 2e-3
        vae.kl_warmup_steps = 300
        config.train.batch_size, config.train.steps = 32, 4_000
        config.train.ema_decay = 0.998
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        vae.kl_warmup_steps = 5_000
    return config
