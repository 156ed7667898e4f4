"""A tokenizer: images as a small grid of codes, for `dalle` and `flow` to draw.

    python launch/train.py --config=configs/vqvae.py:data=shapes,size=tiny --workdir=runs/vqvae

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has; they condition
    the simple prior that its own samples are drawn from, not the tokenizer.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base, at 32, 64 and 256 pixels, on a grid of 8 (of shapes and digits 4), 16
    and 16 latents a side.
  quantizer: fsq (1,000 codes; 15,360 of size base), ema (a learned codebook of 1,024;
    16,384), kl (continuous latents).

Expected, size=tiny on two CPU cores with other work beside it, by `launch/evaluate.py
--metrics=reconstruction,codes`, of pictures that were held out:
  digits: 5 minutes; 23.5 dB (PSNR), 92.1% of 1,000 codes used by 1,000 pictures.
  shapes: 4 minutes 18 s; 36.2 dB, 45.2% used by 500 pictures.
  emoji, modalities=label: 18 to 31 minutes. 23.8 dB (23.5 - 24.2), 98.7% used by all 341; of
    training pictures 99.9% used by 400.
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
    width: int
    depth: int
    num_heads: int
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(32, 4, 128, 3, 4, 64, 1),
    "small": Size(64, 4, 384, 6, 6, 256, 4),
    "base": Size(256, 16, 768, 12, 12, 384, 6),
}


STEPS = {"handwriting": 1_000, "shapes": 1_200}  # of what takes few codes


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "vqvae", {"quantizer": "fsq"})
    size = configs.choose("size", chosen["size"], SIZES)
    config.data.image_size = size.image_size
    family, optimizer = config.generator.vqvae, config.optimizer.generator
    family.patch_size, family.width, family.depth = size.patch_size, size.width, size.depth
    family.num_heads, family.quantizer = size.num_heads, chosen["quantizer"]
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        optimizer.name, optimizer.learning_rate = "muon", 0.01
        optimizer.adamw_learning_rate = 0.003
        config.train.steps = 3_000
        content = recipes.preset(config).content
        if content in STEPS:
            family.patch_size, config.train.steps = 8, STEPS[content]
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        optimizer.learning_rate, optimizer.warmup_steps = 2e-4, 1_000
    if chosen["size"] == "base":
        family.codebook_size, family.levels = 16_384, (8, 8, 8, 6, 5)
    return config
