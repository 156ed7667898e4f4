"""The log-mel spectrogram of a batch of sounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgen_jax.errors import InputError

# Added to the mel power before the logarithm. Full-scale speech is around 1, the quantisation
# noise of 16-bit sound around 1e-10: silence of any kind reads log(FLOOR), with bounded gradients.
FLOOR = 1e-6


def log_mel(
    samples: Float[Array, "batch samples"],
    sample_rate: int = 16_000,
    window: int = 400,
    hop: int = 160,
    n_mels: int = 64,
) -> Float[Array, "batch frames bins"]:
    """Log of the power in each mel band over time: log(FLOOR + |STFT|^2 @ filterbank).

    Equals `librosa.feature.melspectrogram(n_fft=window, center=False, power=2)` with its default
    periodic Hann window and Slaney's scale and norm. Frames are not centred: frame t covers the
    samples [t * hop, t * hop + window), so that none is padded or reflected, and
    frames = 1 + (samples - window) // hop.

    The spectrum is an FFT rather than a product with the DFT matrix: on a CPU it takes half of
    the time, and it keeps its precision on devices whose products are bfloat16.

    Args:
      samples: mono sound in [-1, 1].
      sample_rate: samples per second.
      window: samples per frame, and the length of its Fourier transform.
      hop: samples from one frame's start to the next one's.
      n_mels: mel bands, from 0 Hz to sample_rate / 2.

    Returns:
      Natural logarithms, in the dtype of `samples`.

    Raises:
      InputError: if the sound is shorter than a window, or a band would be empty.
    """
    length = samples.shape[1]
    if length < window:
        raise InputError(f"a sound of {length} samples is shorter than the mel window of {window}")
    starts = hop * np.arange(1 + (length - window) // hop)
    frames = samples[:, starts[:, None] + np.arange(window)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = jnp.fft.rfft(frames * hann.astype(samples.dtype)[None, None])
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    filters = mel_filterbank(sample_rate, window, n_mels).astype(samples.dtype)
    return jnp.log(FLOOR + jnp.matmul(power, filters, precision=jax.lax.Precision.HIGHEST))


@functools.lru_cache
def mel_filterbank(
    sample_rate: int, window: int, n_mels: int
) -> Float[np.ndarray, "frequencies bins"]:
    """Triangular bands of unit area, evenly spaced on Slaney's mel scale (Auditory Toolbox, 1998).

    Returns:
      Weights of the window // 2 + 1 Fourier frequencies in each band, float64, read-only.

    Raises:
      InputError: if a band falls between two Fourier frequencies.
    """
    frequencies = np.fft.rfftfreq(window, 1 / sample_rate)[:, None]
    edges = _mel_to_hertz(np.linspace(0, _hertz_to_mel(sample_rate / 2), n_mels + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    weights = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    if not weights.any(axis=0).all():
        raise InputError(
            f"{n_mels} mel bins are too many for a window of {window} samples at {sample_rate} Hz: "
            "some would be empty; lower bins or raise window"
        )
    weights.flags.writeable = False
    return weights


# Slaney's scale: 200/3 Hz a mel up to 1 kHz (mel 15), then 27 mels for each factor of 6.4.
_LINEAR_HERTZ = 200 / 3
_KNEE_MEL = 15
_KNEE_HERTZ = 1000
_LOG_STEP = np.log(6.4) / 27


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _LINEAR_HERTZ
    return _KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP


def _mel_to_hertz(mel: Float[np.ndarray, " edges"]) -> Float[np.ndarray, " edges"]:
    above = _KNEE_HERTZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, _LINEAR_HERTZ * mel, above)
