"""Speech from espeak-ng."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest

from mmgen_jax.data.builders import speech
from mmgen_jax.data.builders.speech import VOICES, choose_voices, speak
from mmgen_jax.errors import InputError
from mmgen_jax.media.audio import SAMPLE_RATE
from tests.hearing import sound_distance

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs Debian package espeak-ng"
)


@needs_espeak
def test_each_voice_says_something_of_its_own_and_always_the_same():
    clips = {voice: speak("grinning face", voice) for voice in VOICES}
    for clip in clips.values():
        assert clip.dtype == np.int16
        assert 0.5 < len(clip) / SAMPLE_RATE < 3
        assert np.abs(clip).max() > 3000
    assert len({clip.tobytes() for clip in clips.values()}) == len(VOICES)
    again = speak("grinning face", "us_f2")
    assert len(again) == len(clips["us_f2"])
    distances = {voice: sound_distance(again, clip) for voice, clip in clips.items()}
    same = distances.pop("us_f2")
    assert same < min(distances.values()) / 4


@needs_espeak
def test_voices_differ_in_more_than_pace_and_pitch(monkeypatch):
    same = {name: voice._replace(speed=160, pitch=50) for name, voice in VOICES.items()}
    monkeypatch.setattr(speech, "VOICES", same)
    clips = {speak("grinning face", voice).tobytes() for voice in VOICES}
    assert len(clips) == len(VOICES)


@needs_espeak
def test_longer_texts_take_longer():
    assert len(speak("flag: Papua New Guinea", "us")) > 1.3 * len(speak("cat", "us"))


def test_voices_are_named_so_that_a_feature_can_be():
    assert all(re.fullmatch(r"[a-z0-9_]+", voice) for voice in VOICES)


def test_the_voices_chosen_differ_and_more_of_them_begin_with_the_same():
    for key in ("🍎", "👍🏽"):
        chosen = choose_voices(key, len(VOICES))
        assert sorted(chosen) == sorted(VOICES)
        assert choose_voices(key, 3) == chosen[:3]
    assert choose_voices("🍎", 8) != choose_voices("👍🏽", 8)


def test_all_voices_are_chosen_about_as_often():
    chosen = Counter(voice for i in range(1000) for voice in choose_voices(str(i), 2))
    assert chosen.keys() == VOICES.keys()
    assert 200 < min(chosen.values()) <= max(chosen.values()) < 300  # 250 expected, sigma 14


def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--speech needs espeak-ng; install Debian package"):
        speak("cat", "us")
