"""What the recipes in configs/ share: each begins with a family and overrides what is its own.

Nothing here imports jax.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.data import SOURCES, Preset
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS


def begin(
    argument: str | None, family: str, defaults: Mapping[str, str]
) -> tuple[ConfigDict, dict[str, str]]:
    """What every recipe begins with: (a config of its family, data and modalities, its argument).

    Args:
      argument: the recipe's, `data=...,modalities=...,languages=...,size=...` and its own keys.
      family: of generators.
      defaults: of `argument`'s keys, where they are not shapes, text+label, the data set's and
        tiny; and of the recipe's own.

    Raises:
      InputError: as `config.parse_argument` and `config.parse_inputs` do.
    """
    usual = {"data": "shapes", "modalities": "text+label", "languages": "", "size": "tiny"}
    chosen = configs.parse_argument(argument, usual | dict(defaults))
    inputs = configs.parse_inputs(chosen["modalities"])
    config = configs.default({name: kind for name, kind in inputs.items() if name != kind})
    config.generator.name, config.data.name = family, chosen["data"]
    config.modalities.names = tuple(inputs)
    if chosen["languages"] != "all":
        named = tuple(filter(None, chosen["languages"].split("+")))
        config.data.languages = named or preset(config).languages
    return config, chosen


def on_tokenizer(config: ConfigDict, run: str) -> None:
    """Has the generator draw latents of a trained run: its family, its options, its image size.

    Raises:
      InputError: if there is no such run, or its family makes no latents.
    """
    there = configs.load(Path(run) / "config.json")
    family = there.generator.name
    if GENERATORS[family].tokenizer is None:
        tokenizers = [name for name in GENERATORS if GENERATORS[name].tokenizer]
        raise InputError(
            f"the run {run} is of generator {family!r}, which makes no latents; allowed: a run of"
            f" {' or '.join(tokenizers)}, such as configs/vqvae.py trains"
        )
    config.tokenizer.family = family
    config.tokenizer.run = run
    config.generator[family].update(there.generator[family])
    config.data.image_size = there.data.image_size
    config.data.image_width = there.data.image_width


def on_planned_tokenizer(config: ConfigDict, patch_size: int, latent_dim: int) -> None:
    """Has the generator draw continuous latents of a tokenizer that is yet to be trained.

    It is what `configs/vqvae.py:quantizer=kl,size=base` trains, at another patch and width of
    latents. A program can be compiled and timed with it; training wants its run.
    """
    config.tokenizer.family = "vqvae"
    config.generator.vqvae.update(
        {
            "quantizer": "kl",
            "patch_size": patch_size,
            "latent_dim": latent_dim,
            "width": 768,
            "depth": 12,
            "num_heads": 12,
        }
    )


def preset(config: ConfigDict) -> Preset:
    """Returns what the inputs of a config's data set need."""
    return SOURCES[config.data.name].preset


def of_kind(config: ConfigDict, kind: str) -> list[ConfigDict]:
    """Returns the options of all inputs of a kind of modality."""
    return [
        group for name, group in config.modalities.items() if name != "names" and group.kind == kind
    ]


def set_inputs(config: ConfigDict, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Sets options of all inputs, by their kind of modality."""
    for kind, chosen in options.items():
        for group in of_kind(config, kind):
            group.update(chosen)


def tiny_inputs(config: ConfigDict) -> None:
    """Encoders and recovery for two CPU cores, and what the data set needs besides."""
    data = preset(config)
    set_inputs(config, {"text": {"width": 64, "depth": 1, "num_heads": 2}})
    config.objective.recovery_depth = 1
    set_inputs(config, data.lengths)
    set_inputs(config, data.inputs(len(config.data.languages)))


def large_inputs(config: ConfigDict, text_width: int, text_depth: int) -> None:
    """Encoders, recovery and the loop for GPUs or TPUs, in bfloat16, parameters shared out."""
    text = {"width": text_width, "depth": text_depth, "num_heads": text_width // 32}
    set_inputs(config, preset(config).lengths)
    if preset(config).lengths:
        text["max_tokens"] = 64
    set_inputs(config, {"text": text | {"vocabulary_size": 16_384}})
    config.fusion.width = text_width
    config.objective.recovery_width, config.objective.recovery_depth = 256, 4
    config.objective.recovery_num_heads = 4
    config.train.dtype = "bfloat16"
    config.sharding.fsdp = 0  # as many shares as there are devices, up to 16
    config.train.batch_size = 256
    config.train.steps = 200_000
    config.train.ema_decay = 0.9999
    config.data.threads, config.data.workers = 0, 4
    config.train.sample_every = config.checkpoint.every = 5_000


def adversarial_optimizers(config: ConfigDict, learning_rate: float) -> None:
    """Adam without momentum and without clipping, for both players (Karras et al. 2018)."""
    for player in ("generator", "discriminator"):
        optimizer = config.optimizer[player]
        optimizer.name, optimizer.learning_rate = "adamw", learning_rate
        optimizer.beta1, optimizer.beta2 = 0.0, 0.99
        optimizer.weight_decay, optimizer.clip_norm = 0.0, 0.0
