"""How different sounds are to a listener."""

import numpy as np

WINDOW = 400


def sound_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The mean distance of log spectrograms of int16 sounds, as far as both go.

    Two calls of espeak-ng 1.51 with the same words give the same sound, but not always the same
    bits: one pair in thousands differed.
    """
    frames = min(len(one), len(other)) // WINDOW
    pair = np.stack([sound[: frames * WINDOW] for sound in (one, other)]) / 32768
    spectra = np.fft.rfft(pair.reshape(2, frames, WINDOW) * np.hanning(WINDOW))
    first, second = np.log(1e-3 + np.abs(spectra))
    return float(np.abs(first - second).mean())
