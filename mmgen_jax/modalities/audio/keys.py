"""Modality `audio`: its options and what the registry holds of it."""

import math
from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import SAMPLE_RATE
from mmgen_jax.modalities import ModalityOptions, ModalitySpec
from mmgen_jax.registry import deferred
from mmgen_jax.schema import COUNT, HEADS, LAYERS, WIDTH, Relation, Rule, between, option

MOST_SECONDS = 36_000  # of sound at once: 2.3 GB of samples


@dataclass(frozen=True)
class AudioOptions(ModalityOptions):
    """Options of an input that is a sound."""

    seconds: float = option(
        0.0,
        "length of a sound; longer ones are cut; 0: chosen when a run starts, to hold at least"
        " 99% of the data set's sounds, 10 at most",
        Rule(lambda v: v == 0 or 0.1 <= v <= 600, "0, or at least 0.1, at most 600"),
    )
    fit_examples: int = option(256, "records that fix the normalisation, at most", COUNT)
    n_mels: int = option(64, "mel bands", between(8, 128))
    frames_per_token: int = option(
        8, "spectrogram frames (10 ms each) in a token", between(1, 60_000)
    )
    width: int = option(64, "channels of the encoder", WIDTH)
    depth: int = option(1, "layers of the encoder", LAYERS)
    num_heads: int = option(2, "attention heads of the encoder", HEADS, Relation.HEADS)


def _check(options: AudioOptions, height: int, group: str) -> None:
    if not options.seconds:
        return  # it is chosen to hold a token at least
    # As `mel.log_mel` has them: frames of 25 ms, one every 10 ms.
    frames = 1 + (round(options.seconds * SAMPLE_RATE) - 400) // 160
    if options.frames_per_token > frames:
        raise InputError(
            f"config.{group}.frames_per_token = {options.frames_per_token} with seconds ="
            f" {options.seconds}; allowed: 1 to {frames}, the frames of such a sound"
        )
    if options.fit_examples * options.seconds > MOST_SECONDS:
        raise InputError(
            f"config.{group}.fit_examples = {options.fit_examples} with seconds ="
            f" {options.seconds}: they are in memory together; allowed: at most"
            f" {math.floor(MOST_SECONDS / options.seconds)}"
        )


AUDIO = ModalitySpec(
    options=AudioOptions,
    fit=deferred("mmgen_jax.modalities.audio.modality:fit"),
    build=deferred("mmgen_jax.modalities.audio.modality:build"),
    check=_check,
    # A normalization that parameters were trained with is better than one that fits the data.
    serves=lambda options, assets, source: True,
    left_open=("seconds",),
    refit=deferred("mmgen_jax.modalities.audio.modality:refit"),
)
