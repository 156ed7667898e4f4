"""Speech from text, by the program espeak-ng."""

import io
import math
import subprocess

import numpy as np
import soundfile
from scipy.signal import resample_poly

from mmgen_jax.errors import InputError

SAMPLE_RATE = 16_000
# (voice, words a minute, pitch 0-99): speakers that differ in accent, sex and pace. espeak-ng drops
# the variant (+f4) of plain en-gb without a word, hence the more special accents.
VOICES = (
    ("en-us", 160, 50),
    ("en-us+f2", 150, 60),
    ("en-us+m3", 175, 35),
    ("en-gb", 165, 45),
    ("en-gb-x-rp+f4", 160, 65),
    ("en-gb-x-gbclan+m7", 145, 40),
    ("en-gb-scotland+f3", 170, 55),
    ("en-029+m1", 155, 50),
)


def speak(text: str, speaker: int) -> np.ndarray:
    """Says an English text; the same text and speaker give the same samples.

    Args:
      text: what to say.
      speaker: any number; speakers repeat after `len(VOICES)`.

    Returns:
      int16 [samples], mono, 16 kHz.

    Raises:
      InputError: if espeak-ng is not installed, or fails.
    """
    voice, speed, pitch = VOICES[speaker % len(VOICES)]
    command = ["espeak-ng", "--stdin", "--stdout", f"-v{voice}", f"-s{speed}", f"-p{pitch}"]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError("--speech needs espeak-ng; install Debian package espeak-ng") from error
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip() or "no sound"
        raise InputError(f"espeak-ng -v{voice} cannot say {text!r}: {reason.splitlines()[0]}")
    samples, rate = soundfile.read(io.BytesIO(done.stdout))
    common = math.gcd(rate, SAMPLE_RATE)  # 22.05 kHz: up 320, down 441
    resampled = resample_poly(samples, SAMPLE_RATE // common, rate // common)
    return np.round(np.clip(resampled, -1, 1) * 32767).astype(np.int16)
