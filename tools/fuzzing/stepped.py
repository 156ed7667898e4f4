"""Configs that `validate` lets pass: built, and their training step traced; a few really run.

What is only costly is made small before (how many records fit a tokenizer), for it would show
nothing. A few configs that are small enough train for two steps.
"""

import importlib.util
import random
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import all_keys
from mmgen_jax.errors import InputError
from mmgen_jax.schema import find
from tools.fuzzing import values
from tools.fuzzing.cases import ROOT, Case, Kind

RUN_EVERY = 25  # of the cases, one trains in earnest, if it is small enough
MOST_PARAMETERS, MOST_PIXELS = 4e6, 32 * 32 * 64
FAMILIES = ("flow", "flow", "gan", "stylegan", "autoencoder", "vae", "vqvae", "dalle")
# Of what these hold nothing is to be tried here: places on the disk, and other data.
LEFT_OUT = ("data.name", "data.path", "tokenizer.", "train.init_from", "data.workers")


def passing(draw: random.Random) -> tuple[ConfigDict, str]:
    """A config with a few odd values that `validate` accepts, and what is odd about it."""
    while True:
        family = draw.choice(FAMILIES)
        names = draw.choice(("text", "label", "audio", "image", "text+label", "label+audio+image"))
        config = recipe(family).get_config(f"modalities={names},size=tiny")
        keys = [key for key in sorted(all_keys()) if relevant(key, family, names)]
        said = [f"configs/{family}.py:modalities={names},size=tiny"]
        for key in draw.sample(keys, draw.randint(1, 4)):
            group, _, name = key.rpartition(".")
            value = values.near(draw, all_keys()[key].default)
            try:
                find(config, group)[name] = value
            except (TypeError, ValueError):
                continue
            said.append(f"--config.{key}={value!r}")
        try:
            configs.validate(config)
        except InputError:
            continue
        return config, " ".join(said)


def relevant(key: str, family: str, names: str) -> bool:
    """Whether a key has a part in what is built, or may well have."""
    group, *rest = key.split(".")
    if key.startswith(LEFT_OUT):
        return False
    if group == "generator" and len(rest) > 1:
        return rest[0] == family
    if group == "modalities" and len(rest) > 1:
        return rest[0] in names
    return True


def recipe(family: str) -> Any:
    """The module of a recipe."""
    path = ROOT / f"configs/{family}.py"
    spec = importlib.util.spec_from_file_location(f"fuzzed_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(config: ConfigDict, train: bool) -> None:
    """Builds a config's model and traces its step; if `train`, and it is small, trains it."""
    import jax
    import numpy as np

    from mmgen_jax import model as models
    from mmgen_jax.data import DataOptions
    from mmgen_jax.training import loop, run, start, step

    if config.generator.name == "dalle":  # of a tokenizer that it does not have here
        tokenizer = recipe("vqvae").get_config("size=tiny")
        config.tokenizer.family = "vqvae"
        config.generator.vqvae.update(tokenizer.generator.vqvae)
    for name in ("text", "audio"):
        options = config.modalities[name]
        options.fit_examples = min(options.fit_examples, 30)
    start.check_devices(config)
    source = DataOptions.of(config).open(config.data.split)
    model = models.build(config, models.fit(config, source))
    state = run.state_shapes(config, model)
    batch = jax.eval_shape(lambda: models.blank_batch(model, config.train.batch_size))
    jax.eval_shape(step.build(config, model, run.players(config, model)), state, batch)
    size = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    pixels = np.prod(model.shared.image_shape) * config.train.batch_size
    if train and size <= MOST_PARAMETERS and pixels <= MOST_PIXELS and not config.tokenizer.family:
        config.train.steps, config.train.sample_every, config.train.log_every = 2, 0, 1
        config.eval.count = min(config.eval.count, 4)
        loop.train(config, Path("run"))


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A config that passes, to be built."""
    config, said = passing(draw)
    train = number % RUN_EVERY == 0
    title = f"{'train' if train else 'trace'} {said}"
    return Case(title, lambda: build(config, train), ("run",))


STEPPED = Kind(
    name="stepped",
    modules=(
        "mmgen_jax.training.loop",
        "mmgen_jax.data.shapes",
        "mmgen_jax.generators.flow.family",
    ),
    prepare=lambda shared: None,
    make=make,
    seconds=60,
)
