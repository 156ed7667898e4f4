"""A run's directory: all that is needed to continue it or to sample from it.

config.json            the config
assets/MODALITY.json   what was learned from the data: vocabulary, label names, statistics
checkpoints/STEP/      see `checkpoints`
metrics.jsonl          one JSON object a line
samples/STEP.png       pictures drawn on the way
tensorboard/           events
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data import Source
from mmgen_jax.errors import InputError, writing
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.model import Assets, Model
from mmgen_jax.storage import read_json, write_json
from mmgen_jax.training import checkpoints, optimizers, processes, sharding
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


def load(workdir: Path, step: int | None = None) -> Trained:
    """Reads a checkpoint of a run onto every device of this process.

    Args:
      workdir: the run's directory.
      step: which checkpoint; None for the newest whole one.

    Raises:
      InputError: if there is no run, or no such checkpoint.
    """
    config_path = workdir / "config.json"
    if not config_path.exists():
        raise InputError(f"{workdir} is no run: it has no config.json; train one with --workdir")
    config = configs.load(config_path)
    model = models.build(config, read_assets(workdir, config))
    newest = step is None
    if newest:
        step = checkpoints.latest(workdir)
        if step is None:
            raise InputError(f"{workdir} has no whole checkpoint yet")
    mesh = sharding.mesh_of((jax.local_device_count(), 1, 1), jax.local_devices())
    shapes = state_shapes(config, model)
    like = sharding.placed(shapes, jax.tree.map(lambda _: sharding.replicated(mesh), shapes))
    restored = checkpoints.restore(workdir, step, like, checked=newest).state
    return Trained(config, model, restored.averaged, restored.state, step, mesh)


def players(config: ConfigDict, model: Model) -> dict[str, optax.GradientTransformation]:
    """Every player's optimizer."""
    return {
        player: optimizers.build(config.optimizer[player], config.train.steps)
        for player in model.generator.players
    }


def state_shapes(config: ConfigDict, model: Model) -> TrainState:
    """Shapes and dtypes of the training state; nothing is computed."""
    return jax.eval_shape(lambda: create(model, players(config, model), config.train.seed))


def read_assets(workdir: Path, config: ConfigDict) -> Assets:
    """What the modalities learned from the data when the run began.

    Raises:
      InputError: if a file is missing or no JSON.
    """
    assets = {}
    for name in config.modalities.names:
        path = workdir / "assets" / f"{name}.json"
        try:
            assets[name] = read_json(path)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; the run is not whole") from error
    return assets


def prepare(
    workdir: Path,
    config: ConfigDict,
    source: Source,
    resuming: bool,
    before: Assets | None = None,
) -> Assets:
    """Makes the run self-contained: process 0 writes its config and assets, once.

    A run that resumes keeps the assets that its parameters were trained with. `before` are assets
    of a run that a fresh one starts from, see `model.fit`.
    """

    def write() -> None:
        assets = {} if resuming else models.fit(config, source, before)
        with writing(workdir):
            (workdir / "assets").mkdir(parents=True, exist_ok=True)
            for name, asset in assets.items():
                write_json(workdir / "assets" / f"{name}.json", asset, indent=None)
            configs.save(config, workdir / "config.json")

    processes.on_main(write)
    return read_assets(workdir, config)


def as_begun(workdir: Path, config: ConfigDict, step: int) -> ConfigDict:
    """The config with what it leaves to the data (`ModalitySpec.left_open`) as the run began.

    A run that began with a fixed number, by an older recipe or on its own, goes on with it.
    """
    saved = configs.from_dict(
        checkpoints.read_json(workdir, step, "config"), f"checkpoint {step} of {workdir}"
    )
    config = config.copy_and_resolve_references()
    for name in config.modalities.names:
        options = config.modalities[name]
        for option in MODALITIES[name].left_open:
            options[option] = options[option] or saved.modalities[name][option]
    return config


# Keys that say who does the work, and how it is shared, not what is trained: they may change.
LAYOUT = (
    *("sharding.data", "sharding.fsdp", "sharding.tensor", "train.strategy"),
    *("data.threads", "data.workers"),
)


def check_config(workdir: Path, config: ConfigDict, step: int) -> None:
    """Raises InputError, with the difference, if a checkpoint was made by another config.

    Another layout is no other config.
    """
    saved = configs.from_dict(
        checkpoints.read_json(workdir, step, "config"), f"checkpoint {step} of {workdir}"
    )
    changed = [line for line in configs.differences(saved, config) if not line.startswith(LAYOUT)]
    if changed:
        raise InputError(
            f"the config differs from that of checkpoint {step} in {workdir}"
            f" ({'; '.join(changed)}); use another --workdir, or --accept_config_change"
        )


def sample_options(config: ConfigDict, **chosen: int | float | None) -> ConfigDict:
    """The family's sampling options, with those that are not None instead of the config's.

    Raises:
      InputError: for one that the family does not have.
    """
    family = config.generator.name
    options = config.generator[family].sample.copy_and_resolve_references()
    for name, value in chosen.items():
        if value is None:
            continue
        if name not in options:
            allowed = ", ".join(options) or "none"
            raise InputError(
                f"--{name} with a run of generator {family!r}; its options are: {allowed}"
            )
        options[name] = value
    return options
