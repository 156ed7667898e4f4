"""Sounds on the host: read, mixed to one channel, and resampled to 16 kHz."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mmgen_jax.errors import InputError, reading
from mmgen_jax.media import audio_files

SAMPLE_RATE = 16_000
# What a file's head may claim; else a few bytes could ask for more memory than there is.
RATES = (1_000, 384_000)
MOST_VALUES = 2**28  # samples times channels: an hour of stereo at 37 kHz
MOST_PEAK = 2.0  # mixes and lossy codecs go beyond 1 a little; integers stored as floats far
# libsndfile's. Not MP3: without an index, libsndfile guesses its length and drops the rest.
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "AIFF")
_UNKNOWN = 2**63 - 1  # what libsndfile says of a length that is not there


def read_sound(path: str) -> np.ndarray:
    """Reads a sound file as float32 [samples], see `decode_sound`.

    Raises:
      InputError: if the file is missing, no sound, or holds no sample.
    """
    with reading(path, "sound"), Path(path).open("rb") as file:
        return decode_sound(file)


def decode_sound(file: io.BufferedIOBase) -> np.ndarray:
    """Decodes wav, flac, ogg or aiff as float32 [samples], mono, 16 kHz, in [-1, 1].

    Channels are averaged; other rates are resampled (see `resample`); peaks up to MOST_PEAK are
    clipped.

    Raises:
      InputError: if it is none of these, holds no sample, is cut short or too large, or if its
        samples are not in [-1, 1] but, say, in the range of 16-bit integers.
    """
    data = audio_files.read_whole(file)
    try:
        with soundfile.SoundFile(_Bytes(data)) as sound:
            rate = sound.samplerate
            _check_head(sound)
            promised, samples = sound.frames, sound.read(dtype="float32", always_2d=True)
    except InputError:  # which is a ValueError
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).rpartition(": ")[2]  # before it, libsndfile shows the file object
        raise InputError(f"it is no sound: {reason} {audio_files.ALLOWED}") from error
    if len(samples) < promised:
        raise InputError(f"the sound is cut short: {len(samples)} of {promised} samples are there")
    if not len(samples):
        raise InputError("the sound is empty; it needs at least one sample")
    check_range(samples)
    return np.clip(resample(samples.mean(axis=1), rate), -1, 1)


class _Bytes(io.BytesIO):
    """Bytes with no place before the first: soundfile shows a traceback if a head asks for it."""

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(place, 0) if whence == io.SEEK_SET else place, whence)


def check_range(samples: np.ndarray) -> None:
    """Raises InputError unless samples are finite and in [-1, 1], or little above."""
    if not np.isfinite(samples).all():
        raise InputError("the sound has samples that are no finite numbers")
    peak = np.abs(samples).max(initial=0)
    if peak > MOST_PEAK:
        raise InputError(
            f"the sound's samples reach {peak:.6g}; allowed: -1 to 1, and peaks up to"
            f" {MOST_PEAK:g}, which are clipped (divide by 32768 what was 16-bit integers)"
        )


def _check_head(sound: soundfile.SoundFile) -> None:
    # An ID3 tag may stand before any format that libsndfile knows.
    if sound.format not in FORMATS or sound.subtype.startswith("MPEG"):
        raise InputError(f"it is {sound.format} {sound.subtype}. {audio_files.ALLOWED}")
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        raise InputError(
            f"the sound has {sound.samplerate} samples a second; allowed: {RATES[0]} to {RATES[1]}"
        )
    if sound.frames == _UNKNOWN:
        raise InputError(
            "the sound's head does not say its length, as a flac written into a pipe does not;"
            " allowed: one that was written into a file"
        )
    values = sound.frames * sound.channels
    if values > MOST_VALUES:
        raise InputError(f"the sound has {values} samples; allowed: at most {MOST_VALUES}")


def quantise(samples: np.ndarray) -> np.ndarray:
    """Float [samples] to int16, as data sets keep sounds; what is beyond [-1, 1] is clipped."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Resamples float32 [samples] at `rate` Hz to 16 kHz, by the SoX resampler's HQ filter.

    What is above 8 kHz is down by 120 dB or more. Up to 7.3 kHz the level stays as it is, to 0.01
    dB; nearer to 8 kHz it falls, by 3 dB at 7.6 kHz.
    """
    if rate == SAMPLE_RATE:
        return samples
    found = soxr.resample(samples.astype(np.float32, copy=False), rate, SAMPLE_RATE, quality="HQ")
    return found if len(found) else samples[:1]  # of a click shorter than one of our samples
