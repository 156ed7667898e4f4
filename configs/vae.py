"""A variational autoencoder with a conditional prior, on patches through transformers.

    python launch/train.py --config=configs/vae.py:data=shapes,modalities=text+label,size=tiny \
        --workdir=runs/vae

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base, at 32, 64 and 128 pixels; tiny has one global group of latents, small
    and base have grids of 4 x 4 and 8 x 8 places after it.

A VAE draws in one pass. Guidance weights are 1 and 0: an input is given or not; how varied pictures
are is --temperature's (`launch/sample.py`). How probable unseen pictures are to it, in bits per
dimension, how well they come back, and what lies between two:

    python launch/evaluate.py --workdir=runs/vae --metrics=likelihood,reconstruction --out=vae.json
    python launch/latents.py --workdir=runs/vae --label=7 --out=between.png

Expected, size=tiny on two CPU cores, 3 min 27 s (8 min 46 s on slower ones with another training
beside it), of digits, text + label + audio, by `launch/evaluate.py
--metrics=satisfaction,likelihood,diversity --count=500`: a classifier finds the digit that was
asked for in 95.2% for a label alone (93.0 - 96.8), 94.6% for a word in any of 79 languages (92.3 -
96.3), 95.4% for a recording (93.2 - 96.9), 99.2% for all three (98.0 - 99.7); recall of the test
pictures 0.64 to 0.73; 1.1054 bits per dimension at most (IWAE-64; 1.1165 by the evidence lower
bound). Of shapes, text + label + audio, after 3,686 of its 5,000 steps, 4 minutes: joint
satisfaction 47.7% of 256, of combinations that were held out 39.1%. The larger sizes want a GPU or
a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
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
    vae.patch_size, vae.width, vae.depth, vae.num_heads = (
        size.patch_size,
        size.width,
        size.depth,
        size.num_heads,
    )
    vae.latent_dim, vae.latent_sides = size.latent, size.latent_sides
    handwriting = recipes.preset(config).content == "handwriting"
    if handwriting:
        for name in config.modalities.names:
            # In nats per dimension what an input says is next to nothing. By its likelihood alone
            # the tiny size drew the right digit for 72% of labels after as many steps, not for 95%.
            config.modalities[name].generated_weight = 0.003
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        vae.kl_warmup_steps = 300
        config.train.batch_size, config.train.steps = 32, 2_500
        config.train.ema_decay = 0.998
        if handwriting:
            config.optimizer.generator.learning_rate = 2e-3
        else:
            _tiny_scenes(config)
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        vae.kl_warmup_steps = vae.scale_warmup_steps = 5_000
    return config


def _tiny_scenes(config: ConfigDict) -> None:
    """Of objects before an even background. No weight on generated pictures: they became noise."""
    optimizer = config.optimizer.generator
    optimizer.name, optimizer.learning_rate, optimizer.adamw_learning_rate = "muon", 0.01, 0.003
    config.train.steps, config.generator.vae.scale_warmup_steps = 5_000, 4_000
