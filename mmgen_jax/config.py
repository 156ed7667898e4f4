"""Every config key, declared once, with its default, its meaning and its check.

Nothing here imports jax: a config that cannot work is refused before jax is loaded. A modality or
a family from outside the package declares its keys with `declare`.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax.data import SOURCES
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.schema import (
    ANY,
    FRACTION,
    KEYS,
    Key,
    Rule,
    above,
    at_least,
    declare,
    default,
    differences,
    from_dict,
    leaves,
    load,
    name_in,
    one_of,
    save,
)

__all__ = [
    "ANY",
    "FRACTION",
    "KEYS",
    "Key",
    "Rule",
    "above",
    "at_least",
    "choose",
    "declare",
    "declare_family",
    "declare_modality",
    "declare_player",
    "default",
    "differences",
    "from_dict",
    "load",
    "mesh_shape",
    "modality_names",
    "name_in",
    "one_of",
    "parse_argument",
    "save",
    "validate",
]


def declare_modality(name: str, keys: Mapping[str, Key]) -> None:
    """Declares a modality's own keys and those that every modality has."""
    declare(
        f"modalities.{name}",
        {
            "recovery_weight": Key(0.1, "λ_m on real images", at_least(0)),
            "generated_weight": Key(0.0, "λ_m on generated images", at_least(0)),
            "keep": Key(0.5, "probability of being in a random subset", FRACTION),
            "guidance": Key(1.0, "guidance weight of samples drawn in training", at_least(0)),
            **keys,
        },
    )


def declare_family(name: str, keys: Mapping[str, Key], sample: Mapping[str, Key]) -> None:
    """Declares a family's keys, and those of its sampling."""
    declare(f"generator.{name}", keys)
    declare(f"generator.{name}.sample", sample)


def declare_player(name: str) -> None:
    """Declares the optimizer of one player."""
    declare(
        f"optimizer.{name}",
        {
            "name": Key(
                "adamw", "adamw, or muon on matrices and adamw on the rest", one_of("adamw", "muon")
            ),
            "learning_rate": Key(3e-4, "peak learning rate", above(0)),
            "adamw_learning_rate": Key(3e-4, "of what muon leaves to adamw", above(0)),
            "warmup_steps": Key(100, "steps of linear warm-up", at_least(0)),
            "final_fraction": Key(
                0.0, "learning rate at the end of the cosine, of the peak", FRACTION
            ),
            "beta1": Key(0.9, "decay of the first moment", FRACTION),
            "beta2": Key(0.99, "decay of the second moment", FRACTION),
            "weight_decay": Key(0.0, "decoupled, on hidden weight matrices only", at_least(0)),
            "clip_norm": Key(1.0, "largest global gradient norm", above(0)),
            "every": Key(1, "the player moves every so many steps", at_least(1)),
            "start": Key(0, "the player's first step", at_least(0)),
        },
    )


declare(
    "data",
    {
        "name": Key("shapes", "data set", name_in(SOURCES)),
        "path": Key("", "folder of the data set; empty: data/NAME", ANY),
        "image_size": Key(32, "height and width that the model draws, in pixels", at_least(8)),
        "split": Key("train", "split to train on", ANY),
        "seed": Key(0, "of procedural data and of the order of examples", at_least(0)),
        "on_bad_record": Key("raise", "what a bad record does", one_of("raise", "skip")),
        "threads": Key(4, "threads that read and prepare records", at_least(1)),
    },
)
declare(
    "modalities",
    {"names": Key(("text", "label"), "what conditions the image, in this order", ANY)},
)
declare_modality(
    "text",
    {
        "vocabulary_size": Key(
            512, "tokens of the byte-level BPE, 256 bytes included", at_least(257)
        ),
        "fit_examples": Key(20_000, "captions that train the tokenizer, at most", at_least(1)),
        "max_tokens": Key(24, "tokens of a caption; longer ones are cut", at_least(1)),
        "width": Key(128, "channels of the encoder", at_least(8)),
        "depth": Key(2, "layers of the encoder", at_least(1)),
        "heads": Key(4, "attention heads of the encoder", at_least(1)),
    },
)
declare_modality("label", {})
declare_modality(
    "audio",
    {
        "seconds": Key(0.5, "length of a sound; longer ones are cut", at_least(0.1)),
        "fit_examples": Key(256, "sounds that fix the normalisation, at most", at_least(1)),
        "bins": Key(64, "mel bands", at_least(8)),
        "patch_frames": Key(8, "spectrogram frames (10 ms each) in a token", at_least(1)),
        "width": Key(64, "channels of the encoder", at_least(8)),
        "depth": Key(1, "layers of the encoder", at_least(1)),
        "heads": Key(2, "attention heads of the encoder", at_least(1)),
    },
)
declare_modality(
    "image",
    {
        "patch": Key(8, "side of a patch in pixels", at_least(1)),
        "width": Key(128, "channels of the encoder", at_least(8)),
        "depth": Key(2, "layers of the encoder", at_least(1)),
        "heads": Key(4, "attention heads of the encoder", at_least(1)),
    },
)
declare(
    "fusion",
    {
        "width": Key(128, "channels of a condition token", at_least(8)),
        "pooled": Key(64, "channels of an expert", at_least(1)),
        "pool_tokens": Key(True, "one pooled token per modality, or all of its tokens", ANY),
        "present_all": Key(0.4, "probability that an example is given all it has", FRACTION),
        "present_none": Key(0.1, "probability that it is given nothing", FRACTION),
    },
)
declare(
    "generator",
    {"name": Key("flow", "family", name_in(GENERATORS))},
)
declare_family(
    "flow",
    {
        "patch": Key(8, "side of a patch in pixels", at_least(1)),
        "width": Key(128, "channels", at_least(8)),
        "depth": Key(4, "layers", at_least(1)),
        "heads": Key(4, "attention heads", at_least(1)),
        "prediction": Key("x", "what the network predicts", one_of("x", "velocity")),
        "timestep_mean": Key(0.0, "of the logit of the timestep; more is noisier", ANY),
        "timestep_deviation": Key(1.0, "of the logit of the timestep", above(0)),
        "base_size": Key(32, "image size without timestep shift", at_least(1)),
        "remat": Key(False, "recompute activations in the backward pass to save memory", ANY),
    },
    {
        "steps": Key(32, "solver steps", at_least(2)),
        "solver": Key("heun", "ODE solver", one_of("euler", "heun")),
        "guidance_from": Key(0.0, "smallest timestep that is guided", FRACTION),
        "guidance_to": Key(1.0, "largest timestep that is guided", FRACTION),
    },
)
declare(
    "objective",
    {
        "reader_patch": Key(8, "patch side of the networks that recover inputs", at_least(1)),
        "reader_width": Key(64, "their channels", at_least(8)),
        "reader_depth": Key(2, "their layers", at_least(1)),
        "reader_heads": Key(2, "their attention heads", at_least(1)),
    },
)
declare(
    "train",
    {
        "steps": Key(2_000, "optimizer steps", at_least(1)),
        "batch_size": Key(64, "examples of a step, over all devices", at_least(1)),
        "accumulate": Key(1, "parts that a batch is cut into, one after another", at_least(1)),
        "strategy": Key(
            "jit",
            "jit: the compiler splits a step over the mesh; pmap: data parallel alone",
            one_of("jit", "pmap"),
        ),
        "seed": Key(0, "of parameters and of all randomness in training", at_least(0)),
        "dtype": Key(
            "float32", "compute dtype; parameters are float32", one_of("float32", "bfloat16")
        ),
        "ema_decay": Key(0.999, "of the averaged parameters that samples are drawn with", FRACTION),
        "log_every": Key(50, "steps between lines of metrics", at_least(1)),
        "sample_every": Key(500, "steps between sample grids; 0: none", at_least(0)),
    },
)
declare_player("generator")
declare(
    "sharding",
    {
        "data": Key(
            -1,
            "shares of a batch, parameters repeated; -1: what the others leave of the devices",
            Rule(lambda v: v == -1 or v > 0, "-1 or more than 0"),
        ),
        "fsdp": Key(1, "shares of a batch and of the parameters alike", at_least(1)),
        "tensor": Key(1, "shares of the layers' channels", at_least(1)),
    },
)
declare(
    "checkpoint",
    {
        "every": Key(500, "steps between checkpoints", at_least(1)),
        "keep_last": Key(3, "newest checkpoints kept", at_least(2)),
        "keep_every": Key(0, "steps whose multiples are kept for good; 0: none", at_least(0)),
        "keep_best": Key(0, "best checkpoints kept, by the last line logged before", at_least(0)),
        "best_metric": Key("loss", "the metric, as in metrics.jsonl, that says which", ANY),
        "best_is": Key("smallest", "which value is best", one_of("smallest", "largest")),
    },
)
declare(
    "eval",
    {
        "split": Key("test", "split of the conditions that samples are drawn for", ANY),
        "count": Key(16, "pictures in a sample grid", at_least(1)),
    },
)


def parse_argument(argument: str | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """Reads a recipe's `key=value,key=value`.

    Raises:
      InputError: for a key that `defaults` does not have, or a part without `=`.
    """
    chosen = dict(defaults)
    for part in filter(None, (argument or "").split(",")):
        key, equals, value = part.partition("=")
        if not equals or key not in defaults:
            raise InputError(
                f"unknown recipe argument {part!r}; allowed: "
                + ", ".join(f"{name}=..." for name in defaults)
            )
        chosen[key] = value
    return chosen


def modality_names(joined: str) -> tuple[str, ...]:
    """Reads `text+label`. Raises InputError for a modality that is not there."""
    names = tuple(joined.split("+"))
    for name in names:
        MODALITIES.check(name)
    return names


def choose(what: str, name: str, options: Mapping[str, Any]) -> Any:
    """`options[name]`, or InputError that lists what is allowed."""
    if name not in options:
        raise InputError(f"unknown {what} {name!r}; allowed: {', '.join(options)}")
    return options[name]


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
    if config.fusion.present_all + config.fusion.present_none > 1:
        raise InputError("config.fusion.present_all + present_none is over 1; allowed: at most 1")


def _check_sizes(config: ConfigDict) -> None:
    size = config.data.image_size
    family = config.generator.name
    groups = {f"generator.{family}": config.generator[family], "objective": config.objective}
    groups |= {f"modalities.{name}": config.modalities[name] for name in config.modalities.names}
    for group, options in groups.items():
        for name, value in options.items():
            if name.endswith("patch") and size % value:
                raise InputError(
                    f"config.{group}.{name} = {value} does not divide"
                    f" config.data.image_size = {size}; allowed: its divisors"
                )
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
