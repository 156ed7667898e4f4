"""A run's directory: all that is needed to continue it or to sample from it.

config.json            the config of the newest checkpoint
assets/MODALITY.json   what was learned from the data: vocabulary, label names, statistics
checkpoints/STEP/      see `checkpoints`
newest_checkpoint.json which of them became whole last
metrics.jsonl          one JSON object a line
samples/STEP.png       pictures drawn on the way
tensorboard/           events
lock.json              who writes here, while it does; see `lock`

A checkpoint holds its own config, and digests of the assets: whoever reads a run goes by these.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.data import Source
from mmgen_jax.errors import InputError, writing
from mmgen_jax.generators import GENERATORS, SamplingOptions
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.model import Assets, Model
from mmgen_jax.schema import keys_of, read_options
from mmgen_jax.storage import read_json, write_json
from mmgen_jax.training import checkpoints, optimizers, processes, sharding, whole
from mmgen_jax.training.state import TrainState, create


class Trained(NamedTuple):
    """A model with its averaged parameters, as samples are drawn with.

    Attributes:
      mesh: the devices that each hold all parameters, and share what is drawn; None for one.
    """

    config: ConfigDict
    model: Model
    params: Any
    state: Any
    step: int
    mesh: Mesh | None = None


def load(workdir: Path | str, step: int | None = None) -> Trained:
    """Reads a checkpoint of a run onto every device of this process.

    Args:
      workdir: the run's directory.
      step: which checkpoint; None for the newest whole one.

    Raises:
      InputError: as `newest_step`, `read` and `checkpoints.restore` do.
    """
    workdir = Path(workdir)
    newest = step is None
    if newest:
        step = newest_step(workdir)
    config, _, model = read(workdir, step)
    mesh = sharding.mesh_of((jax.local_device_count(), 1, 1), jax.local_devices())
    shapes = state_shapes(config, model)
    like = sharding.placed(shapes, jax.tree.map(lambda _: sharding.replicated(mesh), shapes))
    restored = checkpoints.restore(workdir, step, like, checked=newest).state
    return Trained(config, model, restored.averaged, restored.state, step, mesh)


def newest_step(workdir: Path) -> int:
    """The newest whole checkpoint of a run.

    Raises:
      InputError: if there is no run, or none of its checkpoints is whole.
    """
    _check_is_run(workdir)
    step = checkpoints.latest(workdir)
    if step is None:
        raise InputError(whole.lost(workdir) or f"{workdir} has no whole checkpoint yet")
    return step


def read(workdir: Path, step: int) -> tuple[ConfigDict, Assets, Model]:
    """Reads the config and the assets that a checkpoint was trained with, and builds its model.

    Raises:
      InputError: if there is no run or no such checkpoint, or its config or assets cannot work, or
        config.json or the assets are not those that it was saved with.
    """
    _check_is_run(workdir)
    if checkpoints.read_json(workdir, step, "run"):
        config = _saved_config(workdir, step)
        _compare_config(workdir, step, config)
    else:  # an older checkpoint; its run may have been given another config since
        config = configs.load(workdir / "config.json")
    try:
        assets = read_assets(workdir, config, step)
        return config, assets, models.build(config, assets)
    except (TypeError, ValueError) as error:
        raise InputError(f"the run in {workdir} cannot be used: {error}") from error


def _check_is_run(workdir: Path) -> None:
    if not (workdir / "config.json").is_file():
        raise InputError(f"{workdir} is no run: it has no config.json; train one with --workdir")


def _saved_config(workdir: Path, step: int) -> ConfigDict:
    content = checkpoints.read_json(workdir, step, "config")
    return configs.from_dict(content, f"checkpoint {step} of {workdir}")


def _saved_configs(workdir: Path) -> Iterator[ConfigDict]:
    """Those of all checkpoints, but for the ones that are damaged."""
    for step in whole.steps(whole.directory_of(workdir)):
        with contextlib.suppress(InputError):
            yield _saved_config(workdir, step)


def _compare_config(workdir: Path, step: int, config: ConfigDict) -> None:
    """Refuses a config.json that none of the run's checkpoints was saved with."""
    path = workdir / "config.json"
    there = configs.load(path)
    changed = differences(config, there)
    if changed and not any(not differences(other, there) for other in _saved_configs(workdir)):
        kept = workdir / "checkpoints" / str(step) / "config" / checkpoints.JSON_FILE
        raise InputError(
            f"{path} is not what checkpoint {step} was trained with ({'; '.join(changed)});"
            f" its own config is {kept}: copy that over it"
        )


def players(config: ConfigDict, model: Model) -> dict[str, optax.GradientTransformation]:
    """Every player's optimizer."""
    return {
        player: optimizers.build(
            read_options(OptimizerOptions, config.optimizer[player]), config.train.steps
        )
        for player in model.generator.players
    }


def state_shapes(config: ConfigDict, model: Model) -> TrainState:
    """Shapes and dtypes of the training state; nothing is computed."""
    return jax.eval_shape(lambda: create(model, players(config, model), config.train.seed))


def read_assets(workdir: Path, config: ConfigDict, step: int | None = None) -> Assets:
    """What the modalities learned from the data when the run began.

    Args:
      workdir: the run's directory.
      config: the run's.
      step: a checkpoint with whose digests they are compared, if it has some.

    Raises:
      InputError: if a file is missing or no JSON object, or another one than the checkpoint knows.
    """
    assets = {}
    for name in config.modalities.names:
        path = _asset_path(workdir, name)
        try:
            assets[name] = read_json(path)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; the run is not whole") from error
        if not isinstance(assets[name], dict):
            raise InputError(f"cannot read {path}: it holds no JSON object; the run is not whole")
    known = {} if step is None else checkpoints.read_json(workdir, step, "run").get("assets", {})
    for name, found in digests(assets).items():
        if known.get(name, found) != found:
            raise InputError(
                f"{_asset_path(workdir, name)} is not what checkpoint {step} was trained with (its"
                " digest differs); restore it from a copy of the run"
            )
    return assets


def _asset_path(workdir: Path, name: str) -> Path:
    return workdir / "assets" / f"{name}.json"


def digests(assets: Assets) -> dict[str, str]:
    """A SHA-256 of what each modality has learned, however its file is laid out."""
    return {
        name: hashlib.sha256(json.dumps(asset, sort_keys=True).encode()).hexdigest()
        for name, asset in assets.items()
    }


def prepare(
    workdir: Path, config: ConfigDict, source: Source, before: Assets | None = None
) -> Assets:
    """Makes a fresh run self-contained: process 0 writes its config and assets, once.

    `before` are assets of a run that it starts from, see `model.fit`.
    """

    def write() -> None:
        assets = models.fit(config, source, before)
        with writing(workdir):
            if whole.lost(workdir):  # as the caller knows
                whole.set_aside(workdir)
            (workdir / "assets").mkdir(parents=True, exist_ok=True)
            for name, asset in assets.items():
                write_json(_asset_path(workdir, name), asset, indent=None)
            configs.save(config, workdir / "config.json")

    processes.on_main(write)
    return read_assets(workdir, config)


def announce(workdir: Path, config: ConfigDict, step: int) -> None:
    """Writes what a run says of its newest checkpoint: its step, and its config.

    Raises:
      OSError: if it cannot be written.
    """
    configs.save(config, workdir / "config.json")
    whole.note(workdir, step)


def as_begun(workdir: Path, config: ConfigDict, step: int) -> ConfigDict:
    """The config with what it leaves to the data (`ModalitySpec.left_open`) as the run began.

    A run that began with a fixed number, by an older recipe or on its own, goes on with it.
    """
    saved = _saved_config(workdir, step)
    config = config.copy_and_resolve_references()
    for name in config.modalities.names:
        options = config.modalities[name]
        for option in MODALITIES[options.kind].left_open if name in saved.modalities else ():
            options[option] = options[option] or saved.modalities[name][option]
    return config


# Keys that say who does the work, and how it is shared, not what is trained: they may change.
LAYOUT = (
    *("sharding.data", "sharding.fsdp", "sharding.tensor", "train.strategy"),
    *("data.threads", "data.workers"),
)


def check_config(workdir: Path, config: ConfigDict, step: int, data_moved: bool = False) -> None:
    """Raises InputError, with the difference, if a checkpoint was made by another config.

    Another layout is no other config, nor is another place of the data, if it was moved.
    """
    moved = ("data.path",) if data_moved else ()
    changed = differences(_saved_config(workdir, step), config, moved)
    if changed:
        of_path = any(line.startswith("data.path:") for line in changed)
        moved = " (--data_path for data that was moved)" if of_path else ""
        raise InputError(
            f"the config differs from that of checkpoint {step} in {workdir}"
            f" ({'; '.join(changed)}); use another --workdir, or --accept_config_change{moved}"
        )


def differences(old: ConfigDict, new: ConfigDict, may_differ: tuple[str, ...] = ()) -> list[str]:
    """Lists what differs in what is trained, a line for each key; `may_differ` are left out."""
    left_out = (*LAYOUT, *may_differ)
    return [line for line in configs.differences(old, new) if not line.startswith(left_out)]


def sample_options(config: ConfigDict, **chosen: int | float | None) -> SamplingOptions:
    """The family's sampling options, with those that are not None instead of the config's.

    Raises:
      InputError: for one that the family does not have.
    """
    family = config.generator.name
    declared = keys_of(GENERATORS[family].sampling)
    options = read_options(GENERATORS[family].sampling, config.generator[family].sample)
    asked = {name: value for name, value in chosen.items() if value is not None}
    for name in asked:
        if name not in declared:
            allowed = ", ".join(declared) or "none"
            raise InputError(
                f"--{name} with a run of generator {family!r}; its options are: {allowed}"
            )
    return dataclasses.replace(options, **asked)
