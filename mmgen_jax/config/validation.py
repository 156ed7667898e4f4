"""Refuses a config that cannot work, before anything compiles.

Nothing here imports jax.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmgen_jax.config import declared, footprint
from mmgen_jax.config.core import CORE, OptimizerOptions
from mmgen_jax.config.declared import check_values, kinds_of
from mmgen_jax.data import SOURCES, DataOptions, image_shape
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS, family_of
from mmgen_jax.modalities import MODALITIES, input_of
from mmgen_jax.schema import Key, Relation, find, keys_of, read_options

VALIDATION = ("validation", "valid", "val", "dev")  # usual names of a split to evaluate on
MOST_SHARES = 16  # of the parameters, where a config leaves their number open; a power of two


def mesh_shape(options: ConfigDict, devices: int, slices: int = 1) -> tuple[int, int, int]:
    """Sizes of the mesh's axes (data, fsdp, tensor) on so many devices.

    `fsdp` = 0 is the largest power of two, up to `MOST_SHARES`, that divides what `tensor` and
    `data` leave of a slice's devices: more shares leave hardly less memory to each, for activations
    stay as they are, and widths such as 1152 are not to be cut into more than 128.

    Args:
      options: config.sharding.
      devices: of all processes.
      slices: of TPUs, that share the devices.
    """
    data, fsdp, tensor = options.data, options.fsdp, options.tensor
    if fsdp == 0:
        fsdp = math.gcd(devices // (tensor * max(data, slices)), MOST_SHARES)
    if data == -1:
        data = devices // (fsdp * tensor)
    return data, fsdp, tensor


def validate(
    config: ConfigDict, devices: int | None = None, processes: int = 1, slices: int = 1
) -> None:
    """Refuses a config that cannot work.

    Args:
      config: made from `default`. Where `eval.split` is `test`, and the data set has none but has a
        validation split, it becomes that, and is said.
      devices: number of devices of all processes, once known; their check is left out before.
      processes: number of processes.
      slices: of TPUs, that share the devices.

    Raises:
      InputError: one line that names the key, the value and what is allowed.
    """
    check_model(config)
    _check_unused(config)
    _check_data(config)
    if devices is not None:
        _check_devices(config, devices, processes, slices)


def check_model(config: ConfigDict) -> None:
    """Refuses a config of which no model can be built, wherever its data may be.

    Raises:
      InputError: as `validate` does.
    """
    check_values(config)
    _check_modalities(config)
    _check_tokenizer(config)
    _check_sizes(config)
    footprint.check_example(config, grids(config))


def load(path: Path) -> ConfigDict:
    """Reads what `save` wrote, as a run has it; its data set need not be there.

    Raises:
      InputError: if the file is missing, no JSON object, or as `from_dict` does.
    """
    return _checked(declared.load(path), str(path))


def from_dict(saved: Mapping[str, Any], where: str) -> ConfigDict:
    """The inverse of `ConfigDict.to_dict`, through JSON; keys that it lacks have their default.

    Raises:
      InputError: for what `validate` refuses but for the data set, naming `where`.
    """
    return _checked(declared.from_dict(saved, where), where)


def _checked(config: ConfigDict, where: str) -> ConfigDict:
    try:
        check_model(config)
    except InputError as error:
        raise InputError(f"{error}; in {where}") from error
    return config


def _check_modalities(config: ConfigDict) -> None:
    names = config.modalities.names
    there = [*MODALITIES, *kinds_of(config)]
    allowed = ", ".join(there)
    if not names:
        raise InputError(f"config.modalities.names is empty; allowed: {allowed}")
    for name in names:
        if name not in there:
            raise InputError(
                f"config.modalities.names: unknown modality {name!r}; allowed: {allowed}"
                f"{_joined(name)}"
            )
        check_guidance(
            f"config.modalities.{name}.guidance", config.modalities[name].guidance, config
        )
    if config.fusion.keep_all_rate + config.fusion.drop_all_rate > 1:
        raise InputError(
            f"config.fusion.keep_all_rate = {config.fusion.keep_all_rate} and"
            f" fusion.drop_all_rate = {config.fusion.drop_all_rate} are over 1 together;"
            " allowed: at most 1"
        )


def _joined(name: str) -> str:
    """How to write several modalities, where one name looks like several."""
    names = [part for part in re.split(r"[^\w-]+", name) if part]
    if len(names) < 2:
        return ""
    return (
        f"; several are modalities={'+'.join(names)} in the recipe's argument, or"
        f' --config.modalities.names="{tuple(names)}"'
    )


def _check_unused(config: ConfigDict) -> None:
    """Refuses what a person has chosen and nothing would read."""
    tokenizer = config.tokenizer
    if tokenizer.run and not tokenizer.family:
        raise InputError(
            f"config.tokenizer.run = {tokenizer.run!r} without tokenizer.family; allowed: '', or"
            " latents=RUN in the argument of configs/flow.py, tokenizer=RUN in that of"
            " configs/dalle.py"
        )


def _check_data(config: ConfigDict) -> None:
    names = config.modalities.names
    info = DataOptions.of(config).describe()
    for name in names:
        if name not in info.modalities:
            raise InputError(_lacking(config, name, info.modalities))
    _check_splits(config, info.splits)


def _lacking(config: ConfigDict, modality: str, there: tuple[str, ...]) -> str:
    """Why a modality cannot be had, and what can be done."""
    name = config.data.name
    line = f"data set {name!r} has no modality {modality!r}; it has: {', '.join(there) or 'none'}"
    reason = SOURCES[name].lacking(DataOptions.of(config), modality)
    line += f"; {reason}" if reason else ""
    others = "+".join(other for other in config.modalities.names if other in there)
    return (
        f"{line}, or leave it out: modalities={others} in the recipe's argument" if others else line
    )


def _check_splits(config: ConfigDict, splits: tuple[str, ...]) -> None:
    """Refuses splits that are not there; where there is no `test`, a validation split serves."""
    if config.eval.split == "test" and "test" not in splits:
        found = next((split for split in VALIDATION if split in splits), None)
        if found:
            config.eval.split = found
            print(
                f"the data set has no split 'test': pictures are drawn for {found!r}"
                f" (--config.eval.split={found})",
                file=sys.stderr,
            )
    for key in ("data.split", "eval.split"):
        group, name = key.split(".")
        split = config[group][name]
        if split.partition("[")[0] not in splits:
            raise InputError(
                f"config.{key} = {split!r}; allowed: {', '.join(splits)}; type"
                f" {_split_flags(config, splits)}"
            )


def _split_flags(config: ConfigDict, splits: tuple[str, ...]) -> str:
    """The flags that name splits which are there: those asked for, or the likeliest ones."""
    is_there = lambda split: split.partition("[")[0] in splits  # noqa: E731
    like = lambda words: [s for s in splits if any(w in s.lower() for w in words)]  # noqa: E731
    held_out = like(("test", *VALIDATION, "eval", "hold", "held"))
    train, test = config.data.split, config.eval.split
    if not is_there(train):
        train = [*like(("train",)), *(s for s in splits if s not in held_out), *splits][0]
    if not is_there(test):
        test = [*held_out, *(s for s in splits if s != train), train][0]
    return f"--config.data.split={train} --config.eval.split={test}"


def check_guidance(where: str, weight: float, config: ConfigDict) -> None:
    """Raises InputError for a guidance weight that the config's family cannot follow."""
    family = config.generator.name
    rule = GENERATORS[family].guidance
    if not rule.allows(weight):
        allowed = rule.describe()
        raise InputError(f"{where} = {weight:g} with generator {family!r}; allowed: {allowed}")


def _check_tokenizer(config: ConfigDict) -> None:
    family, tokenizer = config.generator.name, config.tokenizer.family
    kind = "pixels"
    if tokenizer:
        spec, options = family_of(config, tokenizer)
        kind = spec.tokenizer.kind(options)
    if config.tokenizer.latents and not tokenizer:
        raise InputError(
            f"config.tokenizer.latents = {config.tokenizer.latents!r} without tokenizer.family;"
            " allowed: '', or that of the tokenizer which has made them"
        )
    targets = GENERATORS[family].targets
    if kind not in targets:
        what = f"config.tokenizer.family = {tokenizer!r} ({kind})"
        raise InputError(
            f"{what} with generator {family!r}; allowed: what has {' or '.join(targets)}"
        )


class Group(NamedTuple):
    """A group of a config that the model is made of.

    Attributes:
      path: dotted, in the config.
      keys: by name.
      shape: height and width of what it works on.
      check: (path, height) -> raises InputError for values that do not go together.
    """

    path: str
    keys: Mapping[str, Key]
    shape: tuple[int, int]
    check: Callable[[str, int], None] = lambda path, height: None


def groups_in_use(config: ConfigDict) -> list[Group]:
    """Returns the groups of which a config's model is made: family, tokenizer, inputs, heads."""
    shape = target = image_shape(config.data)
    family, tokenizer = config.generator.name, config.tokenizer.family
    groups = []
    if tokenizer:
        groups.append(_group_of_family(config, tokenizer, shape))
        spec, options = family_of(config, tokenizer)
        side = spec.tokenizer.side(options)
        target = shape[0] // side, shape[1] // side
    groups.append(_group_of_family(config, family, target))
    groups.append(Group("objective", CORE["objective"], target))
    groups += [_group_of_input(config, name, shape) for name in config.modalities.names]
    return groups


def grids(config: ConfigDict) -> list[footprint.Grid]:
    """Returns what a config's model cuts into patches for attention."""
    return [
        footprint.Grid(group.path, name.removesuffix("patch_size"), *group.shape)
        for group in groups_in_use(config)
        for name, key in group.keys.items()
        if key.relation is Relation.PATCH and name.replace("patch_size", "num_heads") in group.keys
    ]


def _group_of_family(config: ConfigDict, family: str, shape: tuple[int, int]) -> Group:
    spec, options = family_of(config, family)

    def check(path: str, height: int) -> None:
        if spec.check is not None:
            spec.check(options, height, path)

    return Group(f"generator.{family}", keys_of(spec.options), shape, check)


def _group_of_input(config: ConfigDict, name: str, shape: tuple[int, int]) -> Group:
    spec, options = input_of(config, name)

    def check(path: str, height: int) -> None:
        if spec.check is not None:
            spec.check(options, height, path)

    return Group(f"modalities.{name}", keys_of(spec.options), shape, check)


def _check_sizes(config: ConfigDict) -> None:
    shape = image_shape(config.data)
    family = config.generator.name
    if shape[0] != shape[1] and GENERATORS[family].square:
        oblong = ", ".join(name for name in GENERATORS if not GENERATORS[name].square)
        raise InputError(
            f"config.data.image_width = {shape[1]} with image_size = {shape[0]} and generator"
            f" {family!r}, which draws squares; allowed: 0, or one of {oblong}"
        )
    for group in groups_in_use(config):
        group.check(group.path, group.shape[0])
        for name, key in group.keys.items():
            if key.relation is not None:
                _RELATIONS[key.relation](config, group, name)
    if config.train.strategy == "pmap" and (config.sharding.fsdp, config.sharding.tensor) != (1, 1):
        raise InputError(
            f"config.sharding.fsdp = {config.sharding.fsdp}, tensor = {config.sharding.tensor} with"
            " config.train.strategy = 'pmap'; allowed: 1, 1, or strategy 'jit'"
        )
    if config.train.batch_size % config.train.grad_accum_steps:
        raise InputError(
            f"config.train.grad_accum_steps = {config.train.grad_accum_steps} does not divide"
            f" config.train.batch_size = {config.train.batch_size}; allowed: its divisors"
        )


def _check_patch(config: ConfigDict, group: Group, name: str) -> None:
    """Refuses patches that do not fill what they are of, height by width."""
    patch_size = find(config, group.path)[name]
    for key, side in zip(("image_size", "image_width"), group.shape, strict=True):
        if side % patch_size:
            pixels = group.shape == image_shape(config.data)
            what = f"config.data.{key} =" if pixels else "latents of"
            raise InputError(
                f"config.{group.path}.{name} = {patch_size} does not divide {what} {side};"
                " allowed: its divisors"
            )


def _check_heads(config: ConfigDict, group: Group, name: str) -> None:
    """Refuses a number of heads that does not divide the width into even parts."""
    options, other = find(config, group.path), name.replace("num_heads", "width")
    if options[other] % (2 * options[name]):
        raise InputError(
            f"config.{group.path}.{name} = {options[name]} does not divide"
            f" config.{group.path}.{other} = {options[other]} into even parts; allowed: divisors of"
            " half the width"
        )


def _check_period(config: ConfigDict, group: Group, name: str) -> None:
    """Refuses a lazy term that would come to a player's updates more often than it counts."""
    period = find(config, group.path)[name]
    for player in config.optimizer:
        options = read_options(OptimizerOptions, config.optimizer[player])
        if math.gcd(period, options.update_every) > 1:
            raise InputError(
                f"config.{group.path}.{name} = {period} with config.optimizer.{player}.update_every"
                f" = {options.update_every}; allowed: no common divisor"
            )


_RELATIONS = {
    Relation.PATCH: _check_patch,
    Relation.HEADS: _check_heads,
    Relation.PERIOD: _check_period,
}


def _check_devices(config: ConfigDict, devices: int, processes: int, slices: int) -> None:
    if config.train.strategy == "pmap" and processes > 1:
        raise InputError(
            f"config.train.strategy = 'pmap' with {processes} processes; allowed: strategy 'jit'"
        )
    data, fsdp, tensor = mesh_shape(config.sharding, devices, slices)
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
    if data % slices:
        raise InputError(
            f"{asked}: data = {data} is not shared out evenly over {slices} slices; allowed:"
            f" multiples of {slices}"
        )
    share = config.train.batch_size // config.train.grad_accum_steps
    if share % (data * fsdp):
        raise InputError(
            f"config.train.batch_size = {config.train.batch_size} in"
            f" {config.train.grad_accum_steps} parts does not divide over"
            f" {data * fsdp} devices; allowed: multiples of"
            f" {data * fsdp * config.train.grad_accum_steps}"
        )
