"""Flow matching with a multimodal diffusion transformer (MM-DiT), in pixels or in latents.

    python launch/train.py --config=configs/flow.py:data=shapes,modalities=text+label,size=tiny \
        --workdir=runs/flow

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base | large, of 32, 64, 128 and 256 pixels; xl | 3b, for pods, of latents of
    256 pixels (1,437 and 3,242 million trained parameters, of which the transformers have 1,344 and
    3,078; a frozen tokenizer has 172 more); or, of architecture dit, dit_s_2 | dit_b_2 |
    dit_l_2 | dit_xl_2 (Peebles & Xie 2023), for latents of 32 x 32.
  architecture: mmdit, or dit, which reads the pooled condition alone.
  latents: the run of a tokenizer (configs/vqvae.py) in whose latents to draw, instead of pixels;
    it fixes the image size, and this run copies it. Sizes from xl on cannot train without, but be
    planned (launch/compile.py, launch/benchmark.py):

    python launch/train.py --config=configs/vqvae.py:quantizer=kl,size=tiny --workdir=runs/kl
    python launch/train.py --config=configs/flow.py:latents=runs/kl,size=tiny --workdir=runs/latent

A published DiT's weights, as safetensors, are what a run begins with; they are for latents of 4
channels, such as those of a tokenizer with config.generator.vqvae.latent_dim=4 and patch_size=8:

    python launch/train.py --config=configs/flow.py:size=dit_xl_2,latents=runs/kl,data=folder \
        --config.data.path=PATH --config.generator.flow.learn_sigma=True \
        --config.generator.flow.weights=DiT-XL-2.safetensors --workdir=runs/dit

Expected, size=tiny on two CPU cores (README.md says what was measured):
  shapes, text+label+audio: 7 minutes; joint satisfaction of unseen scenes.
  emoji, text+label: 33 minutes; nearest training picture is the right one.
  emoji, text in 20 languages: an hour; the same picture by the name in any of them.
  digits, text+label+audio: 9 minutes; the digit that was asked for, by a classifier.
The larger sizes want a GPU or a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes
from mmgen_jax.generators import family_of
from mmgen_jax.pretrained import dit_sizes


class Size(NamedTuple):
    """What a size fixes; widths are multiples of the attention heads' 32 or 64 channels."""

    image_size: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    text_width: int
    text_depth: int


SIZES = {
    "tiny": Size(32, 8, 128, 4, 4, 64, 1),
    "small": Size(64, 4, 384, 12, 6, 256, 4),
    "base": Size(128, 8, 768, 12, 12, 384, 6),
    "large": Size(256, 16, 1024, 24, 16, 512, 8),
    "xl": Size(256, 16, 1152, 28, 18, 768, 12),
    "3b": Size(256, 16, 2048, 20, 16, 1024, 12),
}


# On latents of 8 pixels a side: of 256 pixels they are 32 x 32.
DIT_SIZES = {
    f"dit_{name.lower()}_2": Size(256, 2, **sizes, text_width=384, text_depth=6)
    for name, sizes in dit_sizes.SIZES.items()
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "flow", {"architecture": "", "latents": ""})
    size = configs.choose("size", chosen["size"], SIZES | DIT_SIZES)
    config.data.image_size = size.image_size
    flow = config.generator.flow
    flow.patch_size, flow.width, flow.depth, flow.num_heads = (
        size.patch_size,
        size.width,
        size.depth,
        size.num_heads,
    )
    flow.architecture = "dit" if chosen["size"] in DIT_SIZES else "mmdit"
    if chosen["architecture"]:
        flow.architecture = chosen["architecture"]
    if chosen["size"] == "tiny":
        _tiny(config)
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        config.fusion.pool_tokens = False  # every token of a caption is in the attention
        optimizer = config.optimizer.generator
        optimizer.learning_rate, optimizer.warmup_steps = 2e-4, 1_000
    if chosen["size"] == "xl":
        flow.remat = True  # else a v5e has no room for 8 examples; elsewhere it may cost more
    if chosen["size"] == "3b":
        config.sharding.tensor = 4  # its layers are wide enough
    if chosen["latents"]:
        recipes.on_tokenizer(config, chosen["latents"])
    elif chosen["size"] in DIT_SIZES:
        recipes.on_planned_tokenizer(config, patch_size=8, latent_dim=4)
    elif chosen["size"] in ("xl", "3b"):
        recipes.on_planned_tokenizer(config, patch_size=16, latent_dim=8)
    if config.tokenizer.family:
        _on_latents(config, size)
    return config


def _on_latents(config: ConfigDict, size: Size) -> None:
    """A patch covers at least as many pixels as it would without; a velocity is predicted."""
    flow, family = config.generator.flow, config.tokenizer.family
    spec, options = family_of(config, family)
    side = spec.tokenizer.side(options)
    flow.patch_size = (
        size.patch_size if flow.architecture == "dit" else max(1, size.patch_size // side)
    )
    flow.base_size = config.data.image_size // side
    config.objective.recovery_patch_size = max(1, config.objective.recovery_patch_size // side)
    # A narrow code, unlike a patch of pixels, leaves room for the noise (JiT is for those).
    flow.prediction = "velocity"


def _tiny(config: ConfigDict) -> None:
    """Learns in minutes on two CPU cores: pooled condition tokens, and Muon."""
    recipes.tiny_inputs(config)
    config.generator.flow.sample.solver = "euler"
    config.generator.flow.sample.steps = 20
    optimizer = config.optimizer.generator
    optimizer.name = "muon"
    optimizer.learning_rate = 0.01
    optimizer.adamw_learning_rate = 0.003
    config.train.steps = 1_200
    for name in config.modalities.names:
        # A short training blurs between what it was asked for and all else; guidance decides.
        config.modalities[name].guidance = 2.0
    content = recipes.preset(config).content
    if content == "icons":
        _tiny_icons(config)
    if content == "handwriting":
        # A class has many handwritings, and they blur.
        recipes.set_inputs(config, {"label": {"guidance": 3.0}})
        config.train.steps = 2_000


def _tiny_icons(config: ConfigDict) -> None:
    """Thousands of names and pictures want more room, and eighty epochs."""
    flow = config.generator.flow
    flow.width, flow.num_heads = 192, 6
    recipes.set_inputs(config, {"label": {"guidance": 1.0}})  # the name says more than its group
    config.train.steps = 4_200
    config.train.sample_every = 1_000
    if len(config.modalities.names) == 1:
        config.fusion.keep_all_rate = 0.8  # its only subsets are all and none
    if len(config.data.languages) != 1:  # or all of them: many names of the same picture
        config.train.steps = 7_000
