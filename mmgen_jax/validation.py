"""Refuses a config that cannot work, before anything compiles.

Nothing here imports jax.
"""

import math

from ml_collections import ConfigDict

from mmgen_jax.data import SOURCES
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.schema import CHECKS, DRAWS, GUIDANCE, KEYS, LATENTS, leaves


def mesh_shape(options: ConfigDict, devices: int) -> tuple[int, int, int]:
    """Sizes of the mesh's axes (data, fsdp, tensor) on so many devices.

    Args:
      options: config.sharding.
      devices: of all processes.
    """
    data = options.data
    if data == -1:
        data = devices // (options.fsdp * options.tensor)
    return data, options.fsdp, options.tensor


def validate(config: ConfigDict, devices: int | None = None, processes: int = 1) -> None:
    """Refuses a config that cannot work.

    Args:
      config: made from `default`.
      devices: number of devices of all processes, once known; their check is left out before.
      processes: number of processes.

    Raises:
      InputError: one line that names the key, the value and what is allowed.
    """
    for path, value in leaves(config):
        if path not in KEYS:
            raise InputError(f"unknown config key {path}")
        if not KEYS[path].rule.allows(value):
            raise InputError(f"config.{path} = {value!r}; allowed: {KEYS[path].rule.describe()}")
    _check_modalities(config)
    _check_tokenizer(config)
    _check_sizes(config)
    if devices is not None:
        _check_devices(config, devices, processes)


def _check_modalities(config: ConfigDict) -> None:
    names = config.modalities.names
    if not names:
        raise InputError(f"config.modalities.names is empty; allowed: {', '.join(MODALITIES)}")
    if len(set(names)) < len(names):
        raise InputError(f"config.modalities.names = {names!r} names a modality twice")
    for name in names:
        MODALITIES.check(name)
    info = SOURCES[config.data.name].describe(config.data)
    for name in names:
        if name not in info.modalities:
            raise InputError(
                f"data set {config.data.name!r} has no modality {name!r}; "
                f"it has: {', '.join(info.modalities)}"
            )
    for key in ("data.split", "eval.split"):
        group, name = key.split(".")
        split = config[group][name]
        if split.partition("[")[0] not in info.splits:
            raise InputError(f"config.{key} = {split!r}; allowed: {', '.join(info.splits)}")
    for name in names:
        check_guidance(
            f"config.modalities.{name}.guidance", config.modalities[name].guidance, config
        )
    if config.fusion.present_all + config.fusion.present_none > 1:
        raise InputError("config.fusion.present_all + present_none is over 1; allowed: at most 1")


def check_guidance(where: str, weight: float, config: ConfigDict) -> None:
    """Raises InputError for a guidance weight that the config's family cannot follow."""
    family = config.generator.name
    if not GUIDANCE[family].allows(weight):
        allowed = GUIDANCE[family].describe()
        raise InputError(f"{where} = {weight:g} with generator {family!r}; allowed: {allowed}")


def _check_tokenizer(config: ConfigDict) -> None:
    family, tokenizer = config.generator.name, config.tokenizer.family
    options = config.generator[tokenizer] if tokenizer else None
    kind = LATENTS[tokenizer].kind(options) if tokenizer else "pixels"
    if kind not in DRAWS[family]:
        what = f"config.tokenizer.family = {tokenizer!r} ({kind})"
        raise InputError(
            f"{what} with generator {family!r}; allowed: what has {' or '.join(DRAWS[family])}"
        )


def _check_sizes(config: ConfigDict) -> None:
    size = drawn = config.data.image_size
    family, tokenizer = config.generator.name, config.tokenizer.family
    groups = {}
    if tokenizer:
        groups[f"generator.{tokenizer}"] = config.generator[tokenizer], size
        drawn = size // LATENTS[tokenizer].side(config.generator[tokenizer])
    groups[f"generator.{family}"] = config.generator[family], drawn
    groups["objective"] = config.objective, drawn
    for name in config.modalities.names:
        groups[f"modalities.{name}"] = config.modalities[name], size
    for group, (options, size) in groups.items():
        if group in CHECKS:
            CHECKS[group](options, size)
        for name, value in options.items():
            if name.endswith("patch") and size % value:
                what = (
                    "config.data.image_size =" if size == config.data.image_size else "latents of"
                )
                raise InputError(
                    f"config.{group}.{name} = {value} does not divide {what} {size};"
                    " allowed: its divisors"
                )
            if name.endswith("_every"):
                _check_period(config, f"{group}.{name}", value)
            if name.endswith("heads"):
                width = options[name.replace("heads", "width")]
                if width % (2 * value):
                    raise InputError(
                        f"config.{group}.{name} = {value} does not divide the width {width} into"
                        " even parts; allowed: divisors of half the width"
                    )
    if config.train.strategy == "pmap" and (config.sharding.fsdp, config.sharding.tensor) != (1, 1):
        raise InputError(
            f"config.sharding.fsdp = {config.sharding.fsdp}, tensor = {config.sharding.tensor} with"
            " config.train.strategy = 'pmap'; allowed: 1, 1, or strategy 'jit'"
        )
    if config.train.batch_size % config.train.accumulate:
        raise InputError(
            f"config.train.accumulate = {config.train.accumulate} does not divide"
            f" config.train.batch_size = {config.train.batch_size}; allowed: its divisors"
        )


def _check_period(config: ConfigDict, key: str, period: int) -> None:
    """Refuses a lazy term that would come to a player's updates more often than it counts."""
    for player, options in config.optimizer.items():
        if math.gcd(period, options.every) > 1:
            raise InputError(
                f"config.{key} = {period} with config.optimizer.{player}.every = {options.every};"
                " allowed: no common divisor"
            )


def _check_devices(config: ConfigDict, devices: int, processes: int) -> None:
    if config.train.strategy == "pmap" and processes > 1:
        raise InputError(
            f"config.train.strategy = 'pmap' with {processes} processes; allowed: strategy 'jit'"
        )
    data, fsdp, tensor = mesh_shape(config.sharding, devices)
    axes = config.sharding
    asked = f"config.sharding.data = {axes.data}, fsdp = {axes.fsdp}, tensor = {axes.tensor}"
    used = data * fsdp * tensor
    if not 0 < used <= devices:
        raise InputError(f"{asked}; allowed: a product of at most {devices} devices")
    if used < devices and (processes > 1 or config.sharding.data == -1):
        raise InputError(
            f"{asked} leaves {devices - used} of {devices} devices without work;"
            f" allowed: a product of {devices}"
        )
    share = config.train.batch_size // config.train.accumulate
    if share % (data * fsdp):
        raise InputError(
            f"config.train.batch_size = {config.train.batch_size} in {config.train.accumulate}"
            f" parts does not divide over {data * fsdp} devices; allowed: multiples of"
            f" {data * fsdp * config.train.accumulate}"
        )
