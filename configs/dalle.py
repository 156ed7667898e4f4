"""A transformer that draws a tokenizer's codes, one after another, behind what conditions them.

    python launch/train.py --config=configs/vqvae.py:data=shapes,size=tiny --workdir=runs/vqvae
    python launch/train.py --config=configs/dalle.py:data=shapes,tokenizer=runs/vqvae,size=tiny \
        --workdir=runs/dalle

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  tokenizer: the run of a `vqvae` with codes, which fixes the image size; this run copies it.
  size: tiny | b | l | xl; the last three have LlamaGen's 111, 343 and 775 million parameters.

Expected, size=tiny on two CPU cores with other work beside it, text+label+audio, both stages
together:
  digits: 12 minutes; by `launch/evaluate.py --metrics=satisfaction,diversity,contradictions` of 500
    pictures a classifier finds 99.0% right for a label alone (97.7 - 99.6), 98.8% for a word in any
    of 79 languages (97.4 - 99.4), 99.0% for a recording (97.7 - 99.6); recall 0.77 to 0.79. Where
    they contradict each other, the label wins over the text in 76% (13% as the text says), the
    sound over the text in 58% (30%), the label over the sound in 63% (26%).
  shapes: 8 minutes; joint satisfaction 96.1% of 256 (93.0 - 97.9),
    of combinations that were held out 91.8% (87.8 - 94.6).
  emoji, text+label, with a tokenizer of 3,000 steps (`--metrics=fitting,contradictions
    --count=300`): 18 minutes after it; the nearest of all training pictures is the right one for
    56.0% given both (50.3 - 61.5), 45.0% given the name (39.5 - 50.7). Where the group contradicts
    the name, the picture is of the name's group in 73%, of the other in 7%.
The larger sizes want a GPU or a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes


class Size(NamedTuple):
    """What a size fixes."""

    width: int
    depth: int
    num_heads: int
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(128, 4, 4, 64, 1),
    "b": Size(768, 12, 12, 384, 6),
    "l": Size(1024, 24, 16, 512, 8),
    "xl": Size(1280, 36, 20, 768, 12),
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "dalle", {"tokenizer": ""})
    size = configs.choose("size", chosen["size"], SIZES)
    family, optimizer = config.generator.dalle, config.optimizer.generator
    family.width, family.depth, family.num_heads = size.width, size.depth, size.num_heads
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        optimizer.name, optimizer.learning_rate = "muon", 0.01
        optimizer.adamw_learning_rate = 0.003
        config.train.steps = 2_000
        for name in config.modalities.names:
            config.modalities[name].guidance = 2.0
        if recipes.preset(config).content == "icons":
            # The name says more than its group.
            recipes.set_inputs(config, {"label": {"guidance": 1.0}})
            family.sample.temperature = 0.7
            config.train.steps = 2_400
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        config.fusion.pool_tokens = False  # every token of a caption is in the prefix
        tokenizer = config.generator.vqvae
        tokenizer.quantizer, tokenizer.codebook_size, tokenizer.patch_size = "ema", 16_384, 16
        config.data.image_size = 256
        optimizer.learning_rate, optimizer.warmup_steps = 3e-4, 1_000
    config.objective.recovery_patch_size = 2
    config.tokenizer.family = "vqvae"
    if chosen["tokenizer"]:
        recipes.on_tokenizer(config, chosen["tokenizer"])
    return config
