"""Speech from espeak-ng."""

import shutil

import numpy as np
import pytest

from mmgen_jax.data.builders import speech
from mmgen_jax.data.builders.speech import SAMPLE_RATE, VOICES, speak
from mmgen_jax.errors import InputError

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs Debian package espeak-ng"
)


@needs_espeak
def test_each_voice_says_something_of_its_own_and_always_the_same():
    clips = [speak("grinning face", speaker) for speaker in range(len(VOICES))]
    for clip in clips:
        assert clip.dtype == np.int16
        assert 0.5 < len(clip) / SAMPLE_RATE < 3
        assert np.abs(clip).max() > 3000
    assert len({clip.tobytes() for clip in clips}) == len(VOICES)
    np.testing.assert_array_equal(clips[1], speak("grinning face", 1 + len(VOICES)))


@needs_espeak
def test_voices_differ_in_more_than_pace_and_pitch(monkeypatch):
    same = tuple((voice, 160, 50) for voice, _, _ in VOICES)
    monkeypatch.setattr(speech, "VOICES", same)
    clips = {speak("grinning face", speaker).tobytes() for speaker in range(len(VOICES))}
    assert len(clips) == len(VOICES)


@needs_espeak
def test_longer_texts_take_longer():
    assert len(speak("flag: Papua New Guinea", 0)) > 1.3 * len(speak("cat", 0))


def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--speech needs espeak-ng; install Debian package"):
        speak("cat", 0)
