"""A run's directory: all that is needed to continue it or to sample from it.

config.json            the config
assets/MODALITY.json   what was learned from the data: vocabulary, label names, statistics
checkpoints/STEP/      see `checkpoints`
metrics.jsonl          one JSON object a line
samples/STEP.png       pictures drawn on the way
tensorboard/           events
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data import Source
from mmgen_jax.errors import InputError
from mmgen_jax.model import Assets, Model
from mmgen_jax.training import checkpoints, optimizers
from mmgen_jax.training.state import TrainState, create


class Trained(NamedTuple):
    """A model with its averaged parameters, as samples are drawn with."""

    config: ConfigDict
    model: Model
    params: Any
    state: Any
    step: int


def load(workdir: Path) -> Trained:
    """Reads the newest whole checkpoint of a run.

    Raises:
      InputError: if there is no run, or no checkpoint yet.
    """
    config_path = workdir / "config.json"
    if not config_path.exists():
        raise InputError(f"{workdir} is no run: it has no config.json; train one with --workdir")
    config = configs.load(config_path)
    model = models.build(config, read_assets(workdir, config))
    step = checkpoints.latest(workdir)
    if step is None:
        raise InputError(f"{workdir} has no whole checkpoint yet")
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = abstract_state(config, model, device)
    restored = checkpoints.restore(workdir, step, like).state
    return Trained(config, model, restored.ema, restored.state, step)


def abstract_state(config: ConfigDict, model: Model, sharding: jax.sharding.Sharding) -> TrainState:
    """Shapes, dtypes and shardings of the training state; nothing is computed."""
    players = {
        player: optimizers.build(config.optimizer[player], config.train.steps)
        for player in model.generator.players
    }
    shapes = jax.eval_shape(lambda: create(model, players, config.train.seed))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def read_assets(workdir: Path, config: ConfigDict) -> Assets:
    """What the modalities learned from the data when the run began.

    Raises:
      InputError: if a file is missing or no JSON.
    """
    assets = {}
    for name in config.modalities.names:
        path = workdir / "assets" / f"{name}.json"
        try:
            assets[name] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; the run is not whole") from error
    return assets


def prepare(workdir: Path, config: ConfigDict, source: Source, resuming: bool) -> Assets:
    """Makes the run self-contained: writes its config and assets, once.

    A run that resumes keeps the assets that its parameters were trained with.
    """
    (workdir / "assets").mkdir(parents=True, exist_ok=True)
    if resuming:
        assets = read_assets(workdir, config)
    else:
        assets = models.fit(config, source)
        for name, asset in assets.items():
            path = workdir / "assets" / f"{name}.json"
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asset, ensure_ascii=False))
            temporary.replace(path)
    configs.save(config, workdir / "config.json")
    return assets


def check_config(workdir: Path, config: ConfigDict, step: int) -> None:
    """Raises InputError, with the difference, if a checkpoint was made by another config."""
    saved = configs.from_dict(
        checkpoints.read_json(workdir, step, "config"), f"checkpoint {step} of {workdir}"
    )
    changed = configs.differences(saved, config)
    if changed:
        raise InputError(
            f"the config differs from that of checkpoint {step} in {workdir}"
            f" ({'; '.join(changed)}); use another --workdir, or --accept_config_change"
        )


def sample_options(config: ConfigDict, steps: int | None) -> ConfigDict:
    """The family's sampling options, with `steps` instead of the config's if given.

    Raises:
      InputError: if the family does not sample in steps.
    """
    family = config.generator.name
    options = config.generator[family].sample.copy_and_resolve_references()
    if steps is not None:
        if "steps" not in options:
            raise InputError(f"--steps: family {family!r} does not sample in steps")
        options.steps = steps
    return options
