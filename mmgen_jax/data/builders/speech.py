"""Speech from text, by the program espeak-ng."""

import io
import subprocess
from typing import NamedTuple

import numpy as np

from mmgen_jax.data.builders.catalogue import stable_hash
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import decode_sound, quantise


class Voice(NamedTuple):
    """A speaker.

    Attributes:
      spelling: as espeak-ng's option -v takes it.
      speed: in words a minute.
      pitch: 0 to 99.
    """

    spelling: str
    speed: int
    pitch: int


# Speakers that differ in accent, sex and pace. espeak-ng drops the variant (+f4) of plain en-gb
# without a word, hence the more special accents. The names are keys of a TFDS feature, which takes
# neither "/" nor "+".
VOICES = {
    "us": Voice("en-us", 160, 50),
    "us_f2": Voice("en-us+f2", 150, 60),
    "us_m3": Voice("en-us+m3", 175, 35),
    "gb": Voice("en-gb", 165, 45),
    "gb_rp_f4": Voice("en-gb-x-rp+f4", 160, 65),
    "lancaster_m7": Voice("en-gb-x-gbclan+m7", 145, 40),
    "scotland_f3": Voice("en-gb-scotland+f3", 170, 55),
    "caribbean_m1": Voice("en-029+m1", 155, 50),
}


def choose_voices(key: str, count: int) -> list[str]:
    """Names `count` different voices, at most `len(VOICES)`; which ones follows from `key` alone.

    The first of them are the same for any `count`.
    """
    return sorted(VOICES, key=lambda voice: stable_hash("voice", f"{voice} {key}"))[:count]


def speak(text: str, voice: str) -> np.ndarray:
    """Says an English text; the same text and voice sound the same, if not always to the bit.

    Args:
      text: what to say.
      voice: one of VOICES.

    Returns:
      int16 [samples], mono, 16 kHz.

    Raises:
      InputError: if espeak-ng is not installed, or fails.
    """
    spelling, speed, pitch = VOICES[voice]
    command = ["espeak-ng", "--stdin", "--stdout", f"-v{spelling}", f"-s{speed}", f"-p{pitch}"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError("--speech needs espeak-ng; install Debian package espeak-ng") from error
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip() or "no sound"
        raise InputError(f"espeak-ng -v{spelling} cannot say {text!r}: {reason.splitlines()[0]}")
    return quantise(decode_sound(io.BytesIO(done.stdout)))
