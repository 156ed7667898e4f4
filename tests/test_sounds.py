"""Sounds from files: mono, at 16 kHz."""

import numpy as np
import pytest
import soundfile

from mmgen_jax.errors import InputError
from mmgen_jax.sounds import read_sound

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 1600).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_stereo_at_44100_hz_becomes_mono_at_16000(tmp_path, suffix):
    path = str(tmp_path / f"x.{suffix}")
    seconds = np.arange(44_100) / 44_100
    left, right = 0.4 * np.sin(2 * np.pi * 440 * seconds), np.zeros(44_100)
    soundfile.write(path, np.stack([left, right], axis=1), 44_100)
    sound = read_sound(path)
    assert sound.shape == (16_000,) and sound.dtype == np.float32
    expected = 0.2 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(sound - expected)[200:-200].max() < 0.02


def test_resampling_leaves_no_alias_of_what_16_khz_cannot_hold(tmp_path):
    path = str(tmp_path / "high.wav")
    soundfile.write(path, 0.8 * np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000), 48_000)
    assert np.abs(read_sound(path)[200:-200]).max() < 0.02


def test_mono_at_16_khz_is_left_as_it_is(tmp_path):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, NOISE, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_sound(path), NOISE)


def test_a_damaged_head_is_named(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, NOISE, 16_000)
    refused = []
    for place in range(44):
        head = bytearray(path.read_bytes())
        head[place] ^= 64
        (tmp_path / "torn.wav").write_bytes(head)
        try:
            read_sound(str(tmp_path / "torn.wav"))
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 9
    assert all(str(tmp_path / "torn.wav") in line and "\n" not in line for line in refused)
