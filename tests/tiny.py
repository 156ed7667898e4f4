"""The smallest models that still have every part, for tests."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.config import recipes
from mmgen_jax.data import DataOptions
from mmgen_jax.data.pipeline import fixed_batch
from mmgen_jax.generators import GENERATORS
from mmgen_jax.modalities import MODALITIES
from mmgen_jax.model import Batch, Model
from mmgen_jax.nn import layout

ALL = ("text", "label", "audio", "image")


def tiny_config(names: tuple[str, ...] = ALL) -> ConfigDict:
    """Shapes at 16 pixels through a flow of width 32 and depth 1: compiles in seconds.

    `names` are of inputs, such as "text" or "sketch:image".
    """
    inputs = configs.parse_inputs("+".join(names))
    config = configs.default({name: kind for name, kind in inputs.items() if name != kind})
    config.data.image_size = 16
    config.modalities.names = tuple(inputs)
    config.fusion.width, config.fusion.pooled = 16, 8
    flow = config.generator.flow
    flow.patch_size, flow.width, flow.depth, flow.num_heads = 8, 32, 1, 2
    flow.sample.steps = 2
    gan, stylegan = config.generator.gan, config.generator.stylegan
    gan.widths, gan.discriminator_widths = (16, 8), (12, 6)
    gan.patch_size, gan.z_dim, gan.style_width, gan.features = 2, 8, 16, 16
    stylegan.width, stylegan.mapping_layers, stylegan.mapping_rate = 16, 2, 1.0
    stylegan.channel_base, stylegan.channel_max = 64, 16
    coder = config.generator.autoencoder
    coder.encoder_widths, coder.decoder_widths = (8, 16), (16, 8)
    coder.dense_widths, coder.base_width = (32, 32), 16
    vae = config.generator.vae
    vae.patch_size, vae.width, vae.depth, vae.num_heads = 4, 24, 1, 2
    vae.latent_dim, vae.latent_sides = 16, (1, 4)
    vqvae, dalle = config.generator.vqvae, config.generator.dalle
    vqvae.width, vqvae.depth, vqvae.num_heads, vqvae.codebook_size, vqvae.latent_dim = (
        16,
        1,
        2,
        32,
        4,
    )
    dalle.width, dalle.depth, dalle.num_heads = 32, 2, 2
    for kind in ("text", "audio", "image"):
        recipes.set_inputs(config, {kind: {"width": 16, "depth": 1, "num_heads": 2}})
    config.modalities.text.vocabulary_size = 300
    config.modalities.text.fit_examples = 200
    config.modalities.text.max_tokens = 12
    config.modalities.audio.seconds = 0.5
    config.modalities.audio.fit_examples = 8
    config.modalities.audio.n_mels = 16
    objective = config.objective
    objective.recovery_width, objective.recovery_depth, objective.recovery_num_heads = 16, 1, 2
    config.train.batch_size = 8
    config.train.steps = 20
    config.train.sample_every = 0
    config.train.log_every = 5
    config.checkpoint.every = 5
    config.eval.count = 4
    return config


def family_options(family: str, group: ConfigDict | None = None, **changes: Any) -> Any:
    """Options of a family, as a group of a config has them or as they are declared, changed."""
    group = (
        configs.default().generator[family] if group is None else group
    ).copy_and_resolve_references()
    group.update(changes)
    return configs.read_options(GENERATORS[family].options, group)


def sampling_options(family: str, **changes: Any) -> Any:
    """Options of a family's sampling as they are declared, with changes."""
    group = configs.default().generator[family].sample
    group.update(changes)
    return configs.read_options(GENERATORS[family].sampling, group)


def input_options(name: str, group: ConfigDict | None = None, **changes: Any) -> Any:
    """Options of an input of a kind, as a group of a config has them or as `tiny_config`'s."""
    group = (
        tiny_config().modalities[name] if group is None else group
    ).copy_and_resolve_references()
    group.update(changes)
    return configs.read_options(MODALITIES[group.kind].options, group, name=name)


@functools.lru_cache
def tiny_model(names: tuple[str, ...] = ALL) -> Model:
    """The model of `tiny_config`; of its own session of fitting, so the same for every test."""
    config = tiny_config(names)
    return models.build(config, models.fit(config, open_source(config)))


def open_source(config: ConfigDict, split: str = "train"):
    return DataOptions.of(config).open(split)


def tiny_batch(names: tuple[str, ...] = ALL, rows: int = 8) -> Batch:
    """The first records of the training split, as arrays on the device."""
    model, config = tiny_model(names), tiny_config(names)
    example = fixed_batch(open_source(config), model.prepare, range(rows))
    arrays = jax.tree.map(jax.numpy.asarray, example)
    return Batch(arrays["index"], arrays["image"], arrays["values"], arrays["has"])


def random_parameters(init: Callable[..., Any], seed: int = 0, equalized: bool = False) -> Any:
    """Noise in the shapes that `init(key)` returns, kernels scaled by their fan-in.

    Nothing is zero and nothing is compiled: what starts at zero by design would hide what a test
    looks for. If `equalized`, a generator and a discriminator are scaled as StyleGAN2 stores them.
    """
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        name, noise = layout.path_name(path), rng.normal(size=leaf.shape)
        if equalized and {"generator", "discriminator"} & {*name.split("/")}:
            return jnp.asarray(_equalized(name, noise), leaf.dtype)
        fan_in = leaf.shape[-2] if leaf.ndim > 1 else 4
        return jnp.asarray(0.5 * noise / np.sqrt(fan_in), leaf.dtype)

    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def _equalized(name: str, noise: np.ndarray) -> np.ndarray:
    slow = 100 if "discriminator/mapping/dense" in name else 1
    if name.endswith("style/bias"):
        return 1 + 0.1 * noise
    if name.endswith("kernel"):
        return slow * noise
    return 0.1 * slow * noise if name.endswith("bias") else 0.3 * noise
