"""The conditional autoencoder: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.registry import deferred
from mmgen_jax.schema import CHANNELS, FRACTION, TEMPERATURE, WIDTHS, one_of, option


@dataclass(frozen=True)
class AutoencoderOptions:
    """Options of a model of this family, the group `generator.autoencoder` of a config."""

    encoder_widths: tuple[int, ...] = option(
        (64, 128, 256, 512, 1024), "channels of what halves the size; the last keeps it", WIDTHS
    )
    dense_widths: tuple[int, ...] = option(
        (4096, 4096), "of the dense layers before the reshaped one", WIDTHS
    )
    base_width: int = option(512, "channels of what the last dense layer is reshaped to", CHANNELS)
    decoder_widths: tuple[int, ...] = option(
        (512, 256, 128, 64), "channels of what doubles the size; RGB doubles it again", WIDTHS
    )
    statistics_decay: float = option(0.99, "of the running moments of norms and code", FRACTION)


@dataclass(frozen=True)
class AutoencoderSampling(SamplingOptions):
    """Options of its sampling, the group `generator.autoencoder.sample`."""

    temperature: float = option(1.0, "scale of a drawn code's deviation", TEMPERATURE)


def _check(options: AutoencoderOptions, height: int, group: str) -> None:
    factor = 2 ** (len(options.decoder_widths) + 1)
    if height % factor:
        raise InputError(
            f"config.data.image_size = {height} with config.{group}."
            f"decoder_widths = {options.decoder_widths}; allowed: multiples of {factor}"
        )


AUTOENCODER = FamilySpec(
    options=AutoencoderOptions,
    sampling=AutoencoderSampling,
    build=deferred("mmgen_jax.generators.autoencoder.family:build"),
    check=_check,
    guidance=one_of(0, 1),
    square=True,
)
