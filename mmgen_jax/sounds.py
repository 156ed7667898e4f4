"""Sounds on the host: read, mixed to one channel, and resampled to 16 kHz."""

import io
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

from mmgen_jax.errors import InputError, reading

SAMPLE_RATE = 16_000
# What a file's head may claim; else a few bytes could ask for more memory than there is.
RATES = (1_000, 384_000)
MOST_VALUES = 2**28  # samples times channels: an hour of stereo at 37 kHz


def read_sound(path: str) -> np.ndarray:
    """Reads a sound file as float32 [samples], see `decode_sound`.

    Raises:
      InputError: if the file is missing, no sound, or holds no sample.
    """
    with reading(path, "sound"), Path(path).open("rb") as file:
        return decode_sound(file)


def decode_sound(file: io.BufferedIOBase) -> np.ndarray:
    """Decodes wav, flac or ogg as float32 [samples], mono, 16 kHz, in [-1, 1].

    Channels are averaged; other rates are resampled by a polyphase filter.

    Raises:
      InputError: if it is no sound, holds no sample, or is too large.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            rate = sound.samplerate
            _check_size(sound)
            samples = sound.read(dtype="float32", always_2d=True)
    except InputError:  # which is a ValueError
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).rpartition(": ")[2]  # before it, libsndfile shows the file object
        raise InputError(f"it is no sound: {reason} Allowed: wav, flac, ogg") from error
    if not len(samples):
        raise InputError("the sound is empty; it needs at least one sample")
    if not np.isfinite(samples).all():
        raise InputError("the sound has samples that are no finite numbers")
    return np.clip(resample(samples.mean(axis=1), rate), -1, 1)


def _check_size(sound: soundfile.SoundFile) -> None:
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise InputError(
            f"the sound has {sound.samplerate} samples a second; allowed: {RATES[0]} to {RATES[1]}"
        )
    values = sound.frames * sound.channels
    if values > MOST_VALUES:
        raise InputError(f"the sound has {values} samples; allowed: at most {MOST_VALUES}")


def quantise(samples: np.ndarray) -> np.ndarray:
    """Float [samples] to int16, as data sets keep sounds; what is beyond [-1, 1] is clipped."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """float32 [samples] at `rate` Hz to 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    divisor = np.gcd(rate, SAMPLE_RATE)
    resampled = scipy.signal.resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor)
    return resampled.astype(np.float32)
