"""Modality `audio`: a sound, as patches of its log-mel spectrogram through a transformer."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmgen_jax.data import Source, values_of
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import SAMPLE_RATE, read_sound
from mmgen_jax.modalities import (
    CHOSEN,
    Encoding,
    Extent,
    Modality,
    Shared,
    filled,
    learned,
    malformed,
)
from mmgen_jax.modalities.audio.keys import AudioOptions
from mmgen_jax.modalities.audio.mel import log_mel
from mmgen_jax.modalities.encoder import SequenceEncoder
from mmgen_jax.modalities.reader import ContrastiveReader, identity
from mmgen_jax.nn.patches import sequence_positions
from mmgen_jax.schema import keys_of

SECONDS = keys_of(AudioOptions)["seconds"]
LOUDEST = 1.5
LARGEST = 1e6  # of a log-mel value's statistics; NaN is no number below it either
SILENT = 1e-3  # the loudest sample of a sound, -60 dB, from which on it can be told from silence
LEAST_SECONDS, MOST_SECONDS = 0.5, 10.0  # that are chosen for a data set
MEASURED = 2_000  # records whose sounds are measured for that, at most
# Of the sounds that are measured, this share is held whole: of all sounds at least 99% then.
HELD = 0.995


class AudioEncoder(nn.Module):
    """Log-mel frames, normalised over the data set, `frames_per_token` of them to a token.

    A token that holds no sound at all (the padding of a short clip) is masked.
    """

    n_mels: int
    frames_per_token: int
    width: int
    depth: int
    num_heads: int
    mean: float
    deviation: float
    shared: Shared

    @nn.compact
    def __call__(
        self, samples: Float[Array, "batch samples"], length: Int[Array, "batch"]
    ) -> Encoding:
        frames = (log_mel(samples, n_mels=self.n_mels) - self.mean) / self.deviation
        tokens = frames.shape[1] // self.frames_per_token
        patches = frames[:, : tokens * self.frames_per_token].reshape(frames.shape[0], tokens, -1)
        x = nn.Dense(self.width, dtype=jnp.dtype(self.shared.dtype), name="embed")(patches)
        starts = jnp.arange(tokens) * (samples.shape[1] / tokens)
        mask = (starts[None, :] < length[:, None]).at[:, 0].set(True)
        positions = sequence_positions(tokens)
        return SequenceEncoder(self.depth, self.num_heads, self.shared)(x, mask, positions)


def fit(options: AudioOptions, source: Source) -> dict[str, Any]:
    """Mean and deviation of the log-mel values of up to `options.fit_examples` records."""
    assets = refit(options, {"mean": 0.0, "deviation": 1.0}, source)
    seconds = filled(options, assets, "seconds", MOST_SECONDS).seconds
    total = round(seconds * SAMPLE_RATE)  # the model sees no more of a sound
    sounds = [sound[:total] for sound in values_of(source, options.name, options.fit_examples)]
    if not sounds:
        return assets
    # One after another: one array to compile for, and no padding among the statistics.
    frames = np.asarray(log_mel(jnp.concatenate(sounds)[None], n_mels=options.n_mels), np.float64)
    return {**assets, "mean": float(frames.mean()), "deviation": float(max(frames.std(), 1e-3))}


def refit(options: AudioOptions, assets: dict[str, Any], source: Source) -> dict[str, Any]:
    """The assets with `seconds` that hold usual sounds of the data, if they are left open.

    That is at least 99% of the sounds, and no more than `MOST_SECONDS`.
    """
    assets = learned(assets)
    if options.seconds:
        return assets
    lengths = sorted(
        len(sound) / SAMPLE_RATE for sound in values_of(source, options.name, MEASURED)
    )
    held = lengths[math.ceil(HELD * len(lengths)) - 1] if lengths else 0.0
    one_token = (400 + 160 * (options.frames_per_token - 1)) / SAMPLE_RATE  # see `mel.log_mel`
    seconds = math.ceil(10 * max(held, one_token, LEAST_SECONDS) - 1e-6) / 10
    return {**assets, CHOSEN: {"seconds": min(seconds, MOST_SECONDS)}}


def _statistics(name: str, assets: dict[str, Any]) -> tuple[float, float]:
    mean, deviation = found = assets.get("mean"), assets.get("deviation")
    if not all(type(value) in (int, float) and abs(value) < LARGEST for value in found):
        raise malformed(name, "'mean' and 'deviation' must be numbers")
    if deviation <= 0:
        raise malformed(name, f"'deviation' is {deviation}; it must be more than 0")
    return float(mean), float(deviation)


def build(options: AudioOptions, shared: Shared, assets: dict[str, Any]) -> Modality:
    """A sound of at most `options.seconds`; a longer one is cut at the end, a shorter one padded.

    Where that is 0, it is what `fit` has chosen for the data.

    Recovery is InfoNCE against the batch's other sounds: a lower bound on
    log p(x | y) - log p(x), that is on log p(x | y) up to the sounds' own entropy. What the
    picture does not show of a sound (its noise, its phase) bounds it from above.
    """
    options = filled(options, assets, "seconds", MOST_SECONDS)
    total = round(options.seconds * SAMPLE_RATE)
    sizes = (
        options.n_mels,
        options.frames_per_token,
        options.width,
        options.depth,
        options.num_heads,
    )
    encoder = AudioEncoder(*sizes, *_statistics(options.name, assets), shared)
    reader = ContrastiveReader(shared)

    def prepare(raw: np.ndarray) -> dict[str, Any]:
        raw = np.asarray(raw)
        # Written so that NaN fails too. A little overshoot is what resampling leaves.
        if raw.ndim != 1 or not raw.size or not np.abs(raw).max() <= LOUDEST:
            raise InputError(
                f"sound of type {raw.dtype} and shape {raw.shape} is unusable; it must be one row"
                " of samples in [-1, 1]"
            )
        cut = raw[:total].astype(np.float32)
        return {"samples": np.pad(cut, (0, total - len(cut))), "length": np.int32(len(cut))}

    def extent(raw: np.ndarray) -> Extent:
        whole, room = len(raw) / SAMPLE_RATE, total / SAMPLE_RATE
        blank = bool(np.abs(prepare(raw)["samples"]).max() < SILENT)
        end = f"after {min(whole, room):.4g} s"
        key = f"modalities.{options.name}.seconds"
        return Extent(whole, room, "seconds", end, key, SECONDS, blank)

    def init(key: jax.Array) -> dict[str, Any]:
        encoder_key, reader_key = jax.random.split(key)
        images = jnp.zeros((1, *shared.drawn))
        samples, length = jnp.zeros((1, total)), jnp.full(1, total, jnp.int32)
        encoding, params = encoder.init_with_output(encoder_key, samples, length)
        return {
            "encoders": params["params"],
            "recovery": reader.init(reader_key, images, encoding, identity(samples))["params"],
        }

    return Modality(
        prepare=prepare,
        absent={"samples": np.zeros(total, np.float32), "length": np.int32(total)},
        init=init,
        encode=lambda params, value: encoder.apply(
            {"params": params}, value["samples"], value["length"]
        ),
        recover=lambda params, images, value, encoding: reader.apply(
            {"params": params}, images, encoding, identity(value)
        ),
        parse=read_sound,
        show=lambda value: value["samples"][: value["length"]],
        extent=extent,
    )
