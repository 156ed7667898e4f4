"""Flow matching with a multimodal diffusion transformer (MM-DiT).

    python launch/train.py --config=configs/flow.py:data=shapes,modalities=text+label,size=tiny \
        --workdir=runs/flow

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, Your own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base | large | xl, at 32, 64, 128, 256 and 256 pixels.

Expected, size=tiny on two CPU cores (README.md has the figures as measured):
  shapes, text+label+audio: 5 minutes; joint satisfaction of unseen scenes.
  emoji, text+label: 33 minutes; nearest training picture is the right one.
  emoji, text in 20 languages: an hour; the same picture by the name in any of them.
  digits, text+label+audio: 9 minutes; the digit that was asked for, by a classifier.
The larger sizes want a GPU or a TPU.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs


class Size(NamedTuple):
    """What a size fixes; widths are multiples of the attention heads' 32 or 64 channels."""

    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    text_width: int
    text_depth: int
    fusion_width: int


SIZES = {
    "tiny": Size(32, 8, 128, 4, 4, 64, 1, 128),
    "small": Size(64, 4, 384, 12, 6, 256, 4, 256),
    "base": Size(128, 8, 768, 12, 12, 384, 6, 384),
    "large": Size(256, 16, 1024, 24, 16, 512, 8, 512),
    "xl": Size(256, 16, 1152, 28, 18, 768, 12, 768),
}


def get_config(argument: str | None = None) -> ConfigDict:
    chosen = configs.parse_argument(
        argument,
        {"data": "shapes", "modalities": "text+label", "languages": "", "size": "tiny"},
    )
    size = configs.choose("size", chosen["size"], SIZES)
    config = configs.default()
    config.data.name = chosen["data"]
    config.modalities.names = configs.modality_names(chosen["modalities"])
    languages = chosen["languages"] or ("en" if chosen["data"] == "emoji" else "all")
    if languages != "all":
        config.data.languages = tuple(languages.split("+"))
    _resize(config, size)
    if chosen["size"] == "tiny":
        _tiny(config)
        if chosen["data"] == "emoji":
            _tiny_emoji(config)
        if chosen["data"] == "digits":
            _tiny_digits(config)
    else:
        _accelerator(config)
    return config


def _resize(config: ConfigDict, size: Size) -> None:
    config.data.image_size = size.image_size
    flow, text = config.generator.flow, config.modalities.text
    flow.patch, flow.width, flow.depth, flow.heads = size.patch, size.width, size.depth, size.heads
    text.width, text.depth, text.heads = size.text_width, size.text_depth, size.text_width // 32
    config.fusion.width = size.fusion_width


def _tiny(config: ConfigDict) -> None:
    """Learns in minutes on two CPU cores: pooled condition tokens, and Muon."""
    config.modalities.text.max_tokens = 16
    config.objective.reader_depth = 1
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


def _tiny_emoji(config: ConfigDict) -> None:
    """Thousands of names and pictures want more room, and eighty epochs."""
    flow, text = config.generator.flow, config.modalities.text
    flow.width, flow.heads = 192, 6
    text.width, text.depth, text.heads = 128, 2, 4
    text.vocabulary_size, text.max_tokens = 2_048, 24
    config.modalities.label.guidance = 1.0  # the name says more than its group
    audio = config.modalities.audio
    audio.seconds, audio.patch_frames = 3.2, 16  # a spoken name
    audio.width, audio.depth, audio.heads = 128, 2, 4
    config.train.steps = 4_200
    config.train.sample_every = 1_000
    if len(config.modalities.names) == 1:
        config.fusion.present_all = 0.8  # its only subsets are all and none
    if len(config.data.languages) != 1:  # or all of them: many names of the same picture
        text.vocabulary_size = 8_192
        config.train.steps = 7_000


def _tiny_digits(config: ConfigDict) -> None:
    """A spoken digit is longer than a tone, and says more."""
    audio = config.modalities.audio
    audio.seconds = 0.8
    audio.width, audio.depth, audio.heads = 128, 2, 4
    config.modalities.label.guidance = 3.0  # a class has many handwritings, and they blur
    config.train.steps = 2_000


def _accelerator(config: ConfigDict) -> None:
    """For a GPU or a TPU: every token of a caption in the attention, bfloat16."""
    config.fusion.pool_tokens = False
    text, optimizer = config.modalities.text, config.optimizer.generator
    text.vocabulary_size, text.max_tokens = 16_384, 64
    optimizer.learning_rate = 2e-4
    optimizer.warmup_steps = 1_000
    config.objective.reader_width, config.objective.reader_depth = 256, 4
    config.objective.reader_heads = 4
    config.train.dtype = "bfloat16"
    config.train.batch_size = 256
    config.train.steps = 200_000
    config.train.ema_decay = 0.9999
    config.data.threads, config.data.workers = 0, 4
    config.train.sample_every = config.checkpoint.every = 5_000
