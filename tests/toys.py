"""A modality, a family and a data set from outside the package, for tests of its protocols."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.data import SOURCES, Record, SourceInfo, SourceSpec
from mmgen_jax.errors import InputError
from mmgen_jax.generators import GENERATORS, FamilySpec, Generator, Losses, SamplingOptions
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.media.images import quantise
from mmgen_jax.modalities import (
    MODALITIES,
    Encoding,
    Modality,
    ModalityOptions,
    ModalitySpec,
    Recovery,
)
from mmgen_jax.nn import global_batch


@dataclass(frozen=True)
class DuelOptions:
    """Options of family `duel`."""

    depth: int = configs.option(1, "layers", configs.at_least(1))


@dataclass(frozen=True)
class DuelSampling(SamplingOptions):
    """Options of its sampling."""

    gain: float = configs.option(1.0, "of the picture", configs.above(0))


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Within, there are a modality `number`, a family `duel` and a data set `greys`."""
    number = ModalitySpec(ModalityOptions, lambda options, source: {}, build_number)
    duel = FamilySpec(DuelOptions, DuelSampling, build_duel, players=("generator", "critic"))
    with contextlib.ExitStack() as stack:
        for registry, name, spec in (
            (SOURCES, "greys", SourceSpec(lambda options: GREYS, lambda options, split: Greys())),
            (MODALITIES, "number", number),
            (GENERATORS, "duel", duel),
        ):
            registry.register(name, spec)
            stack.callback(registry.unregister, name)
        yield


def toy_config() -> ConfigDict:
    """`number` through `duel` on `greys`; while `registered`."""
    config = configs.default()
    config.data.name, config.data.image_size = "greys", 8
    config.modalities.names = ("number",)
    config.generator.name = "duel"
    config.fusion.width, config.fusion.pooled = 8, 4
    config.fusion.keep_all_rate, config.fusion.drop_all_rate = 1.0, 0.0
    config.train.batch_size = 16
    return config


GREYS = SourceInfo(modalities=("number",), splits=("train", "test"))


class Greys:
    """Flat grey pictures; the number is their brightness, and every fifth record lacks it."""

    info = GREYS
    bad = ()

    def __len__(self) -> int:
        return 64

    def where(self, index: int) -> str:
        return f"greys.zip, record {index}"

    def __getitem__(self, index: int) -> Record:
        number = 2 * (index * 37 % 64) / 63 - 1
        image = quantise(np.full((8, 8, 3), number))
        return Record(image, {} if index % 5 == 4 else {"number": number})


def build_number(options: Any, shared: Any, assets: dict[str, Any]) -> Modality:
    """A float in [-1, 1]; recovered, as a Gaussian of deviation 1, from mean brightness."""

    def prepare(raw: float) -> dict[str, Any]:
        if not -1 <= raw <= 1:
            raise InputError(f"number {raw!r} is out of range; allowed: -1 to 1")
        return {"number": np.float32(raw)}

    def init(key: jax.Array) -> dict[str, Any]:
        width = shared.width + 2 * shared.pooled
        encoder = {"kernel": jax.random.normal(key, (2, width))}
        return {"encoders": encoder, "recovery": {"gain": jnp.zeros(()), "bias": jnp.zeros(())}}

    def encode(params: Any, value: Any) -> Encoding:
        number = value["number"]
        out = jnp.stack([number, jnp.ones_like(number)], axis=-1) @ params["kernel"]
        cuts = [shared.width, shared.width + shared.pooled]
        token, mean, log_precision = jnp.split(out, cuts, axis=-1)
        present = jnp.ones(number.shape, bool)
        return Encoding(token[:, None], present[:, None], mean, log_precision, present)

    def recover(params: Any, images: Any, value: Any, encoding: Encoding) -> Recovery:
        read = params["gain"] * images.mean(axis=(1, 2, 3)) + params["bias"]
        error = jnp.square(read - value["number"])
        return Recovery(-0.5 * error, (error < 0.1**2).astype(jnp.float32))

    return Modality(
        prepare=prepare,
        absent={"number": np.float32(0)},
        init=init,
        encode=encode,
        recover=recover,
        parse=float,
        show=lambda value: f"{value['number']:.2f}",
    )


def build_duel(options: Any, codec: Codec, dtype: str) -> Generator:
    """A linear decoder of the pooled vector against a linear critic; state: the mean picture."""
    shape = codec.shape

    def init(key: jax.Array, images: Any, condition: Any) -> tuple[Any, Any]:
        kernel = 0.01 * jax.random.normal(key, (condition.vector.shape[-1], int(np.prod(shape))))
        params = {
            "generator": {"kernel": kernel},
            "critic": {"kernel": jnp.zeros(int(np.prod(shape)))},
        }
        return params, {"mean": jnp.zeros(shape), "batches": jnp.zeros((), jnp.int32)}

    def decode(params: Any, state: Any, condition: Any) -> jax.Array:
        flat = condition.vector @ params["generator"]["kernel"]
        return state["mean"][None] + flat.reshape(-1, *shape)

    def score(params: Any, images: jax.Array) -> jax.Array:
        return global_batch.mean(images.reshape(images.shape[0], -1) @ params["critic"]["kernel"])

    def losses(params: Any, state: Any, images: Any, condition: Any, keys: Any, step: Any) -> Any:
        fake = decode(params, state, condition)
        error = global_batch.mean(jnp.square(fake - images).mean(axis=(1, 2, 3)))
        stop = jax.lax.stop_gradient
        real_score, fake_score = score(params, images), score(params, stop(fake))
        size = jnp.square(params["critic"]["kernel"]).sum()
        mean = 0.9 * state["mean"] + 0.1 * global_batch.mean(images)
        return Losses(
            players={
                "generator": error - 0.01 * score(stop(params), fake),
                "critic": fake_score - real_score + size,
            },
            state={"mean": stop(mean), "batches": state["batches"] + 1},
            metrics={"error": error},
            images=fake,
        )

    def sample(params: Any, state: Any, guidance: Any, keys: Any, options: Any) -> jax.Array:
        drawn = guidance.combine(decode(params, state, guidance.condition))
        return options.gain * drawn

    players = {"generator": ("encoders", "recovery", "generator"), "critic": ("critic",)}
    return Generator(players=players, init=init, losses=losses, sample=sample)
