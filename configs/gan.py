"""A conditional GAN: DF-GAN's generator against a projection discriminator, by R3GAN's rules.

    python launch/train.py --config=configs/gan.py:data=shapes,modalities=text+label,size=tiny \
        --workdir=runs/gan

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  objective: r3gan (relativistic, with R1 and R2) or gan_cls (logistic, matching-aware penalty);
    in both a wrong condition is a third pair.
  size: tiny | small | base | large, at 32, 64, 128 and 256 pixels.

A GAN draws in one pass. Guidance weights are 1 and 0: an input is given or not; how typical
pictures are is --truncation's (`launch/sample.py`).

Expected, size=tiny on two CPU cores, 8 to 15 minutes (156 to 280 images/s), by
`launch/evaluate.py`:
  digits, text+label (--metrics=satisfaction,diversity --count=2000): 99.0% right by a classifier
    for text alone, 100.0% for label, 99.9% for both; recall of the test pictures 0.66, 0.56, 0.57.
  shapes, text+label+audio (--count=256): joint satisfaction 50.4% (44.3 - 56.5), of combinations
    that were held out 41.0% (35.2 - 47.1).
The larger sizes want a GPU or a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    patch_size: int
    widths: tuple[int, ...]
    features: int
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(32, 2, (96, 64, 32), 128, 64, 1),
    "small": Size(64, 1, (384, 256, 192, 128, 64), 256, 256, 4),
    "base": Size(128, 1, (512, 512, 384, 256, 128, 64), 512, 384, 6),
    "large": Size(256, 1, (768, 768, 512, 384, 256, 128, 64), 512, 512, 8),
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "gan", {"objective": "r3gan"})
    size = configs.choose("size", chosen["size"], SIZES)
    config.data.image_size = size.image_size
    gan = config.generator.gan
    gan.patch_size, gan.widths, gan.discriminator_widths = size.patch_size, size.widths, size.widths
    gan.features = gan.style_width = size.features
    gan.objective = chosen["objective"]
    for name in config.modalities.names:
        # Little: what the networks that recover inputs are fooled by looks like nothing to people.
        config.modalities[name].generated_weight = 0.03
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        recipes.adversarial_optimizers(config, 1e-3)
        gan.penalty_every = 4
        gan.gamma, gan.gamma_final, gan.gamma_steps = 5.0, 0.5, 2_800
        # Of two trainings as long, the one with more and smaller steps draws better.
        config.train.batch_size, config.train.steps = 32, 4_000
        config.train.ema_decay = 0.998
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        recipes.adversarial_optimizers(config, 2e-4)
    return config
