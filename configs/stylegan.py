"""StyleGAN2 with adaptive augmentation, conditioned on labels and any other modality.

    python launch/train.py --config=configs/stylegan.py:data=shapes,modalities=label,size=tiny \
        --workdir=runs/stylegan

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base | large, at 32, 64, 256 and 1024 pixels; the networks of large are
    those of StyleGAN2's config F (30.4 M parameters of the generator), those of base half as wide
    at the larger maps (NVIDIA's `paper256`).

Guidance weights are 1 and 0: an input is given or not; how typical pictures are is --truncation's
(`launch/sample.py`). Styles can be blended and mixed: `launch/latents.py`.

Expected, size=tiny on two CPU cores, 7 to 8 minutes (381 images/s or more), by `launch/evaluate.py
--metrics=satisfaction,diversity --count=2000`:
  digits, label: 99.7% right by a classifier; recall of the test pictures 0.41, precision 0.85.
It trains without mixing and lengths of paths, and with mode seeking: see `get_config`.
The larger sizes want a GPU or a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    width: int
    mapping_layers: int
    channel_base: int
    channel_max: int
    gamma: float
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(32, 64, 2, 512, 64, 5.0, 64, 1),
    "small": Size(64, 512, 8, 8_192, 512, 0.1, 256, 4),
    "base": Size(256, 512, 8, 16_384, 512, 1.0, 384, 6),
    "large": Size(1024, 512, 8, 32_768, 512, 10.0, 512, 8),
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "stylegan", {"modalities": "label"})
    size = configs.choose("size", chosen["size"], SIZES)
    config.data.image_size = size.image_size
    stylegan = config.generator.stylegan
    stylegan.width, stylegan.mapping_layers = size.width, size.mapping_layers
    stylegan.channel_base, stylegan.channel_max = size.channel_base, size.channel_max
    stylegan.gamma = size.gamma
    for name in config.modalities.names:
        # Little: what the networks that recover inputs are fooled by looks like nothing to people.
        config.modalities[name].generated_weight = 0.03
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        # A short training: it cannot wait for styles, nor for the game alone to spread them.
        recipes.adversarial_optimizers(config, 1e-2)
        stylegan.mapping_rate, stylegan.mode_seeking_weight = 0.1, 0.1
        stylegan.patch_size, stylegan.r1_every = 2, 4
        stylegan.path_weight, stylegan.mixing = 0.0, 0.0
        stylegan.mbstd_group, stylegan.mismatch_weight = 32, 1.0
        config.train.batch_size, config.train.steps = 32, 5_000
        config.train.ema_decay = 0.998
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        recipes.adversarial_optimizers(config, 2e-3)
        for player in ("generator", "discriminator"):
            config.optimizer[player].final_fraction = 1.0  # a constant rate, as its authors have it
        config.train.batch_size = 64 if chosen["size"] == "base" else 32
    return config
