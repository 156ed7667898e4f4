"""StyleGAN2 with adaptive augmentation, for labels and any other modality.

    python launch/train.py --config=configs/stylegan.py:data=digits,modalities=label,size=tiny \
        --workdir=runs/stylegan
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    width: int
    mapping_layers: int
    channel_base: int
    channel_max: int


SIZES = {
    "tiny": Size(32, 64, 2, 512, 64),
}


def get_config(argument: str | None = None) -> ConfigDict:
    chosen = configs.parse_argument(
        argument,
        {"data": "digits", "modalities": "label", "languages": "", "size": "tiny"},
    )
    size = configs.choose("size", chosen["size"], SIZES)
    config = configs.default()
    config.generator.name = "stylegan"
    config.data.name = chosen["data"]
    config.modalities.names = configs.modality_names(chosen["modalities"])
    stylegan = config.generator.stylegan
    config.data.image_size = size.image_size
    stylegan.width, stylegan.mapping_layers = size.width, size.mapping_layers
    stylegan.channel_base, stylegan.channel_max = size.channel_base, size.channel_max
    _tiny(config)
    return config


def _tiny(config: ConfigDict) -> None:
    text = config.modalities.text
    text.width, text.depth, text.heads, text.max_tokens = 64, 1, 2, 16
    config.objective.reader_depth = 1
    for player in ("generator", "discriminator"):
        optimizer = config.optimizer[player]
        optimizer.learning_rate = 2e-3
        optimizer.beta1, optimizer.beta2, optimizer.clip_norm = 0.0, 0.99, 0
    config.train.steps = 2_000
    config.train.ema_decay = 0.995
    for name in config.modalities.names:
        config.modalities[name].generated_weight = 0.1
    if config.data.name == "digits":
        audio = config.modalities.audio
        audio.seconds = 0.8
        audio.width, audio.depth, audio.heads = 128, 2, 4
