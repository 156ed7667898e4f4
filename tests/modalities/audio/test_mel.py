"""The log-mel spectrogram against librosa, and against a closed form."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.modalities.audio.mel import FLOOR, log_mel, mel_filterbank
from tests.modalities.audio import make_mel_golden as golden


def ours(samples, *case):
    return jax.jit(log_mel, static_argnums=(1, 2, 3, 4))(samples, 16_000, *case)


@pytest.mark.parametrize("number", range(len(golden.CASES)))
def test_equals_what_librosa_said(number):
    """Its figures are those of `make_mel_golden.py`, rounded to five places."""
    saved = json.loads(Path(__file__).with_name("mel_golden.json").read_text(encoding="utf-8"))
    found = ours(golden.short(), *golden.CASES[number])
    np.testing.assert_allclose(found, saved[number], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("case", golden.CASES)
def test_equals_librosa(case):
    pytest.importorskip("librosa", exc_type=ImportError)
    samples = golden.noisy_tones()
    expected, found = golden.theirs(samples, *case), ours(samples, *case)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_filterbank_equals_librosa():
    librosa = pytest.importorskip("librosa", exc_type=ImportError)
    expected = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=64, dtype=np.float64).T
    np.testing.assert_allclose(mel_filterbank(16_000, 400, 64), expected, atol=1e-15)


@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_pure_tone_equals_closed_form(phase):
    """A tone at Fourier frequency k under a periodic Hann window reaches k and k +- 1 only."""
    amplitude, window, k = 0.5, 400, 30
    with jax.enable_x64(True):
        angle = 2 * np.pi * k / window * np.arange(2000) + phase
        found = log_mel(jnp.asarray(amplitude * np.cos(angle))[None])
        assert found.dtype == jnp.float64
    power = np.zeros(window // 2 + 1)
    power[k - 1 : k + 2] = np.square(amplitude * window * np.array([1, 2, 1]) / 8)
    expected = np.log(FLOOR + power @ mel_filterbank(16_000, window, 64))
    assert found.shape == (1, 11, 64)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-9, rtol=0)


def test_silence_is_the_floor_with_a_finite_gradient():
    silence = jnp.zeros((1, 800))
    np.testing.assert_allclose(log_mel(silence), np.log(FLOOR), rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: log_mel(x).sum())(silence)).all()


def test_refuses_a_sound_shorter_than_a_window():
    with pytest.raises(InputError, match="399 samples is shorter than the mel window of 400"):
        log_mel(jnp.zeros((1, 399)))


def test_refuses_empty_bands():
    with pytest.raises(InputError, match="256 mel bins are too many"):
        log_mel(jnp.zeros((1, 800)), n_mels=256)
