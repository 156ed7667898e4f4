"""Writes librosa's log-mel spectrograms, for `test_mel.py` to compare with in milliseconds.

    python -m tests.modalities.audio.make_mel_golden --out=tests/modalities/audio/mel_golden.json

librosa takes half a minute to compile itself; that today's still agrees is a slow test.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from mmgen_jax.modalities.audio.mel import FLOOR

CASES = ((400, 160, 64), (512, 128, 80), (400, 400, 1))


def noisy_tones(batch: int = 4, length: int = 8000) -> np.ndarray:
    """Sounds of a tone each, in noise."""
    rng = np.random.default_rng(0)
    time = np.arange(length) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 7000, (batch, 1)) * time)
    return (tones + 0.05 * rng.normal(size=(batch, length))).astype(np.float32)


def short() -> np.ndarray:
    """One of them, of a few frames."""
    return noisy_tones(1, 1000)


def theirs(samples: np.ndarray, window: int, hop: int, n_mels: int) -> np.ndarray:
    """What librosa makes of sounds: [batch, frames, bins]."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=window, hop_length=hop, n_mels=n_mels, center=False, power=2
    )
    return np.log(FLOOR + mel.transpose(0, 2, 1))


def main() -> None:
    """Writes all cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    found = [np.round(theirs(short(), *case), 5).tolist() for case in CASES]
    parser.parse_args().out.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
