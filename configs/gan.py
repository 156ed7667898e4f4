"""A conditional GAN for any combination of modalities (DF-GAN's generator, R3GAN's game).

    python launch/train.py --config=configs/gan.py:data=digits,modalities=text+label,size=tiny \
        --workdir=runs/gan
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    patch: int
    widths: tuple[int, ...]
    features: int
    style_width: int


SIZES = {
    "tiny": Size(32, 2, (96, 64, 32), 128, 128),
}


def get_config(argument: str | None = None) -> ConfigDict:
    chosen = configs.parse_argument(
        argument,
        {"data": "shapes", "modalities": "text+label", "languages": "", "size": "tiny"},
    )
    size = configs.choose("size", chosen["size"], SIZES)
    config = configs.default()
    config.generator.name = "gan"
    config.data.name = chosen["data"]
    config.modalities.names = configs.modality_names(chosen["modalities"])
    gan = config.generator.gan
    config.data.image_size = size.image_size
    gan.patch, gan.widths, gan.discriminator_widths = size.patch, size.widths, size.widths
    gan.features, gan.style_width = size.features, size.style_width
    _tiny(config)
    return config


def _tiny(config: ConfigDict) -> None:
    text, gan = config.modalities.text, config.generator.gan
    text.width, text.depth, text.heads, text.max_tokens = 64, 1, 2, 16
    config.objective.reader_depth = 1
    gan.penalty_every, gan.gamma = 4, 5.0
    for player in ("generator", "discriminator"):
        optimizer = config.optimizer[player]
        optimizer.learning_rate = 5e-4
        optimizer.beta1, optimizer.beta2, optimizer.clip_norm = 0.0, 0.99, 0
    config.train.steps = 2_000
    config.train.ema_decay = 0.995
    for name in config.modalities.names:
        config.modalities[name].generated_weight = 0.1
    if config.data.name == "digits":
        audio = config.modalities.audio
        audio.seconds = 0.8
        audio.width, audio.depth, audio.heads = 128, 2, 4
