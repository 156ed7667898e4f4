"""Parameters from elsewhere, laid over those of a fresh state: what fits is taken, and said."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgen_jax import model as models
from mmgen_jax.data import image_shape
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES, learned
from mmgen_jax.model import Assets, Model
from mmgen_jax.nn.layout import path_name
from mmgen_jax.schema import leaves
from mmgen_jax.training import checkpoints, processes, run, sharding, whole
from mmgen_jax.training.state import TrainState, trained

# The groups whose second level are modalities.
GROUPS = ("encoders", "recovery", "frozen")


class Origin(NamedTuple):
    """The checkpoint that a fresh run starts from (`train.init_from`)."""

    workdir: Path
    step: int
    config: ConfigDict
    assets: Assets


def origin(path: str) -> Origin | None:
    """Finds a checkpoint.

    Args:
      path: a run's directory, for its newest whole checkpoint, or WORKDIR/checkpoints/STEP; empty
        for none.

    Raises:
      InputError: if it is not there.
    """
    if not path:
        return None
    place = Path(path)
    step = whole.step_of(place.name) if place.parent.name == "checkpoints" else None
    if step is not None:
        place = place.parent.parent
    if not (place / "config.json").is_file():
        raise InputError(
            f"config.train.init_from = {path!r} is no run; allowed: a folder that train.py has"
            " written, or its checkpoints/STEP"
        )
    if step is None:
        newest = processes.from_main(lambda: checkpoints.latest(place) or 0)
        if not newest:
            raise InputError(f"config.train.init_from = {path!r} has no whole checkpoint yet")
        step = newest
    config, assets, _ = run.read(place, step)
    return Origin(place, step, config, assets)


def from_origin(start: Origin, mesh: Mesh, assets: Assets) -> dict[str, jax.Array]:
    """The averaged parameters of a checkpoint, and its family's state, by their paths.

    What was learned together with assets (a vocabulary, class names) that are not those of this
    run is left out.

    Args:
      start: from `origin`.
      mesh: on which they are laid out as this run's.
      assets: this run's.
    """
    model = models.build(start.config, start.assets)
    shapes = run.state_shapes(start.config, model)
    like = sharding.placed(shapes, sharding.shard(mesh, shapes))
    restored = checkpoints.restore(start.workdir, start.step, like).state
    found = by_path({"params": restored.averaged, "state": restored.state})
    others = [m for m in start.assets if learned(start.assets[m]) != learned(assets.get(m))]
    tied = {m: MODALITIES[start.config.modalities[m].kind].tied for m in others}
    return {path: leaf for path, leaf in found.items() if not _is_tied(path, tied)}


def tokenizer(config: ConfigDict) -> dict[str, Any]:
    """What a fresh run takes of the tokenizer in whose latents it draws, as NumPy arrays.

    Returns:
      the codec's parameters, group by group; none where the generator draws pixels.

    Raises:
      InputError: if config.tokenizer.run is no run, or not of the options that the config has.
    """
    family, place = config.tokenizer.family, config.tokenizer.run
    if not family:
        return {}
    if not place:
        raise InputError(
            f"config.tokenizer.run = '' with family {family!r}; allowed: the folder of a trained"
            " run (a recipe's argument tokenizer= or latents=)"
        )
    there = run.load(Path(place))
    mine, its = (_what_is_tokenized(c, family) for c in (config, there.config))
    mine |= {"generator.name": family}
    differing = [f"{key}: {its[key]!r} -> {mine[key]!r}" for key in mine if mine[key] != its[key]]
    if differing:
        raise InputError(
            f"config.tokenizer.run = {place!r} does not match this config"
            f" ({'; '.join(differing)}); allowed: a run of the same options"
        )
    return jax.device_get(GENERATORS[family].tokenizer.freeze(there.params, there.state))


def _what_is_tokenized(config: ConfigDict, family: str) -> dict[str, Any]:
    """What must be the same where a tokenizer is trained and where it serves."""
    own = {f"generator.{family}.{key}": v for key, v in leaves(config.generator[family])}
    own["data.image_size"], own["data.image_width"] = image_shape(config.data)
    return own | {"generator.name": config.generator.name}


def _is_tied(path: str, tied: Mapping[str, Sequence[str]]) -> bool:
    """Whether a parameter means nothing with other assets; `tied` are the names of such ones."""
    _, group, *names = path.split("/")
    if group == "tokenizer":  # a fresh run has the one that its config names
        return True
    return group in GROUPS and names[0] in tied and names[1] in tied[names[0]]


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, by the names on the way to them, joined by /."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def overlaid(model: Model, state: TrainState, found: Mapping[str, Any]) -> TrainState:
    """The state with those of its parameters that are found in the same shape.

    Args:
      model: the state's.
      state: fresh.
      found: arrays by path, "params/..." and "state/..."; NumPy's, the same in every process, or
        jax's, with the sharding of what they replace.
    """

    def choose(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        other = found.get(path_name(path))
        if other is None or other.shape != leaf.shape:
            return leaf
        if isinstance(other, jax.Array):
            return other
        part = lambda index: np.asarray(other[index], leaf.dtype)  # noqa: E731
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, part)

    own = {"params": state.params, "state": state.state}
    chosen = jax.tree_util.tree_map_with_path(choose, own)
    ema = jax.tree.map(jnp.copy, trained(model, chosen["params"]))  # the state is donated: no twins
    return state._replace(params=chosen["params"], state=chosen["state"], ema=ema)


def describe(state: TrainState, found: Mapping[str, Any]) -> str:
    """One line on what of a state was found elsewhere, and what was not."""
    own = by_path({"params": state.params, "state": state.state})
    taken = [p for p, leaf in own.items() if p in found and found[p].shape == leaf.shape]
    fresh = sorted({_short(path) for path in own.keys() - set(taken)})
    size = lambda paths: sum(own[p].size for p in paths if p.startswith("params/"))  # noqa: E731
    share = size(taken) / size(own)
    line = f"{len(taken)} of {len(own)} arrays taken, {share:.1%} of the parameters"
    return f"{line}; as in any fresh run: {', '.join(fresh)}" if fresh else line


def _short(path: str) -> str:
    """Enough of a path for people."""
    names = path.split("/")[1:]
    return "/".join(names[:3] if names[0] in GROUPS else names[:2])
