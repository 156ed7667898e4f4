"""How a run starts: at step 0, or from its newest whole checkpoint.

`begin` and `resume` both return a `Start`, so that `loop.train` need not know which one it was.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data import DataOptions, Source
from mmgen_jax.errors import InputError
from mmgen_jax.model import Assets
from mmgen_jax.training import agreement, checkpoints, processes, run, sharding, transfer, whole
from mmgen_jax.training.program import Program
from mmgen_jax.training.state import TrainState


class Allowed(NamedTuple):
    """What a person has allowed a run to go on after; flags of `launch/train.py`.

    Attributes:
      config_change: its checkpoint was made by another config.
      data_change: the data is not what it was trained on so far.
      data_moved: the data set lay elsewhere then.
      start_afresh: the run had checkpoints, and none of them is whole: it begins at step 0.
    """

    config_change: bool = False
    data_change: bool = False
    data_moved: bool = False
    start_afresh: bool = False


class Start(NamedTuple):
    """A run that is about to be trained.

    Attributes:
      config: its own: what is left to the data is as the run began with it.
      step: of the checkpoint that it goes on from; None for a run that begins.
      fingerprint: of the data, see `agreement.check`.
      assets: () -> what the modalities learned from the data; of a run that begins they are learned
        now, and written.
      state: (trainer, assets) -> the state at `step`, and what there is to say of it.
    """

    config: ConfigDict
    step: int | None
    fingerprint: dict[str, Any]
    assets: Callable[[], Assets]
    state: Callable[["Trainer", Assets], tuple[TrainState, list[str]]]


@runtime_checkable
class Trainer(Protocol):
    """What `Start.state` needs of a `loop.Loop`."""

    model: models.Model
    program: Program

    def restore(self, step: int, other_data: bool) -> TrainState:
        """A checkpoint's state; the data and the log's means move to where they were."""
        ...


def start_of(
    config: ConfigDict,
    workdir: Path,
    source: Source,
    fingerprint: dict[str, Any],
    allowed: Allowed,
) -> Start:
    """`begin`, or `resume` where the run in `workdir` has a whole checkpoint.

    Raises:
      InputError: as they do, and if the run had checkpoints, and none of them is whole.
    """
    step = _newest(workdir, allowed.start_afresh)
    if step is None:
        return begin(config, workdir, source, fingerprint)
    return resume(config, workdir, source, fingerprint, step, allowed)


def begin(config: ConfigDict, workdir: Path, source: Source, fingerprint: dict[str, Any]) -> Start:
    """A run at step 0, of parameters that are drawn, or taken from elsewhere.

    Raises:
      InputError: if what it is to start from, or the latents of its pictures, are not those that
        the config names. Nothing is written before.
    """
    origin = transfer.origin(config.train.init_from)
    frozen = transfer.tokenizer(config)
    if config.tokenizer.latents:
        _check_latents(config, source, frozen)

    def state(trainer: Trainer, assets: Assets) -> tuple[TrainState, list[str]]:
        model, program = trainer.model, trainer.program
        found = transfer.by_path({"params": models.pretrained(model) | frozen})
        fresh = program.init()
        fresh = transfer.overlaid(model, fresh, found) if found else fresh
        if origin is None:
            return fresh, []
        found = transfer.from_origin(origin, program.mesh, assets)
        remark = f"from step {origin.step} of {origin.workdir}: {transfer.describe(fresh, found)}"
        return transfer.overlaid(model, fresh, found), [remark]

    before = origin.assets if origin else None
    assets = partial(run.prepare, workdir, config, source, before)
    return Start(config, None, fingerprint, assets, state)


def resume(
    config: ConfigDict,
    workdir: Path,
    source: Source,
    fingerprint: dict[str, Any],
    step: int,
    allowed: Allowed,
) -> Start:
    """A run at a checkpoint. Nothing of it is written before all of it has been restored.

    Raises:
      InputError: for a config, or data, that is not the checkpoint's, unless it is allowed.
    """
    config = run.as_begun(workdir, config, step)
    if not allowed.config_change:
        run.check_config(workdir, config, step, allowed.data_moved)
    before = agreement.check_data(config, source, workdir, step, allowed.data_change)
    other_data = before is None or allowed.data_moved

    def state(trainer: Trainer, assets: Assets) -> tuple[TrainState, list[str]]:
        restored = trainer.restore(step, other_data)
        if config.tokenizer.latents:
            _check_latents(config, source, restored.params, trainer.program.mesh)
        return restored, []

    assets = partial(run.read_assets, workdir, config, step)
    return Start(config, step, before or fingerprint, assets, state)


def facts(workdir: Path, allowed: Allowed) -> dict[str, Any]:
    """What else must be the same on all processes, see `agreement.check`."""
    return {
        "accept_config_change": allowed.config_change,
        "accept_data_change": allowed.data_change,
        "workdir": str(whole.directory_of(workdir).parent),
    }


def check_devices(config: ConfigDict) -> None:
    """Refuses a config that cannot work on the devices of all processes.

    Raises:
      InputError: naming the key.
    """
    slices = sharding.slice_count(jax.devices())
    configs.validate(config, jax.device_count(), jax.process_count(), slices)


def opened(config: ConfigDict) -> Source:
    """The split that a config trains on, with the latents that it names."""
    source = DataOptions.of(config).open(config.data.split)
    if not config.tokenizer.latents:
        return source
    from mmgen_jax.training import latent_cache  # by way of TFDS, which takes seconds to import

    return latent_cache.opened(config, source)


def _check_latents(*inputs: Any) -> None:
    from mmgen_jax.training import latent_cache

    latent_cache.compare(*inputs)


def _newest(workdir: Path, start_afresh: bool) -> int | None:
    """The newest whole checkpoint, as process 0 finds it.

    Raises:
      InputError: if the run had some, and none of them is whole.
    """

    def find() -> int:
        step = checkpoints.latest(workdir)
        if step is not None:
            return step
        lost = whole.lost(workdir)
        if lost and not start_afresh:
            raise InputError(
                f"{lost}; restore one from a copy, or begin again at step 0 with --start_afresh"
            )
        return -1

    step = processes.from_main(find)
    return None if step == -1 else step
