"""Modality `audio`: sounds from files, their frames, and their recovery."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from mmgen_jax.data import Record
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import ReaderSizes, Shared
from mmgen_jax.modalities.audio.keys import AUDIO
from mmgen_jax.modalities.reader import identity
from tests.tiny import input_options, open_source, random_parameters, tiny_config

SHARED = Shared(16, 8, False, (16, 16), (16, 16, 3), "float32", ReaderSizes(8, 16, 1, 2))
SECONDS, TOTAL = 0.25, 4000


@pytest.fixture(scope="module")
def audio():
    options = input_options("audio", seconds=SECONDS, frames_per_token=6)
    return AUDIO.build(options, SHARED, {"mean": -8.0, "deviation": 3.0})


@pytest.fixture(scope="module")
def compiled(audio):
    """(encode, recover, parameters)."""
    return jax.jit(audio.encode), jax.jit(audio.recover), random_parameters(audio.init)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def types(value):
    return jax.tree.map(lambda x: (x.shape, x.dtype), value)


def test_prepare_cuts_and_pads(audio):
    short, long = audio.prepare(noise(1000)), audio.prepare(noise(9000))
    for value, length in ((short, 1000), (long, TOTAL)):
        assert value["samples"].shape == (TOTAL,) and value["samples"].dtype == np.float32
        assert value["length"] == length and value["length"].dtype == np.int32
        np.testing.assert_array_equal(value["samples"][:length], noise(9000)[:length])
        assert (value["samples"][length:] == 0).all()
        np.testing.assert_array_equal(audio.show(value), noise(9000)[:length])
        assert types(value) == types(audio.absent)


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros(0),
        np.zeros((100, 2)),
        np.array([0.0, np.nan]),
        np.array([np.inf]),
        np.array(0.1),
        np.array([300], np.int16),
    ],
    ids=["empty", "stereo", "nan", "inf", "scalar", "int16"],
)
def test_an_unusable_sound_is_refused_in_one_line(audio, raw):
    message = r"^sound of type .* must be one row of samples in \[-1, 1\]$"
    with pytest.raises(InputError, match=message):
        audio.prepare(raw)


def test_unreadable_files_are_refused_in_one_line(audio, tmp_path):
    garbage, empty, silent = (tmp_path / name for name in ("x.wav", "empty.wav", "silent.wav"))
    garbage.write_bytes(b"RIFF but no sound")
    empty.write_bytes(b"")
    soundfile.write(str(silent), np.zeros(0), 16_000)
    for path in (garbage, empty, silent, tmp_path / "missing.wav", tmp_path):
        with pytest.raises(InputError) as error:
            audio.parse(str(path))
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_fit_measures_the_log_mel_values():
    options = input_options("audio")
    assets = AUDIO.fit(options, open_source(tiny_config()))
    assert -14 < assets["mean"] < 5 and 0.1 < assets["deviation"] < 8

    class Deaf:
        info = open_source(tiny_config()).info
        bad = ()

        def where(self, index):
            return f"record {index}"

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return Record(open_source(tiny_config())[index].image, {})

    assert AUDIO.fit(options, Deaf()) == {"mean": 0.0, "deviation": 1.0}


def stack(audio, sounds):
    return jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *map(audio.prepare, sounds))


def test_tokens_of_padding_are_masked(audio, compiled):
    encode, _, params = compiled
    value = stack(audio, [noise(n) for n in (1, 1000, 2001, 9000)])
    encoding = encode(params["encoders"], value)
    # 23 frames of 25 ms every 10 ms make three tokens of six frames.
    np.testing.assert_array_equal(encoding.mask.sum(axis=1), [1, 1, 2, 3])
    assert encoding.tokens.shape == (4, 3, SHARED.width)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(encoding))


def test_loud_and_quiet_and_different_sounds_are_told_apart(audio, compiled):
    encode, _, params = compiled
    value = stack(audio, [noise(TOTAL), 0.1 * noise(TOTAL), noise(TOTAL, seed=1), noise(TOTAL)])
    mean = encode(params["encoders"], value).mean
    assert min(np.abs(mean[0] - mean[k]).max() for k in (1, 2)) > 1e-3
    np.testing.assert_allclose(mean[0], mean[3], atol=1e-5)


@pytest.mark.parametrize("step", [128, 130], ids=["a stride of samples sees one", "any"])
def test_tones_are_told_apart_by_all_of_their_samples(step):
    """Tones of multiples of 128 Hz agree in every 125th sample."""
    seconds = np.arange(8000) / 16_000
    tones = [np.sin(2 * np.pi * step * k * seconds) for k in range(1, 9)]
    sounds = jnp.asarray(np.stack([*tones, tones[0]]), jnp.float32)
    bits = np.asarray(identity(sounds))
    assert len({row.tobytes() for row in bits}) == 8
    assert (bits[0] == bits[8]).all()


def test_recovery_does_not_count_an_equal_sound_against_another(audio, compiled):
    encode, recover, params = compiled
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)), jnp.float32)

    def bound(sounds):
        value = stack(audio, sounds)
        encoding = encode(params["encoders"], value)
        return np.asarray(recover(params["recovery"], images, value, encoding).bound)

    np.testing.assert_allclose(bound([noise(TOTAL)] * 4), np.zeros(4), atol=1e-5)
    assert np.abs(bound([noise(TOTAL, seed) for seed in range(4)])).min() > 1e-5


class Heard:
    """Records with these sounds."""

    info, bad = None, ()

    def __init__(self, *sounds):
        self.sounds = sounds

    def __len__(self):
        return len(self.sounds)

    def __getitem__(self, index):
        return Record(np.zeros((2, 2, 3), np.uint8), {"audio": self.sounds[index]})

    def where(self, index):
        return f"sound {index}"


def fitted(*sounds, **keys):
    options = input_options("audio", **{"seconds": 0.0, **keys})
    assets = AUDIO.fit(options, Heard(*sounds))
    return assets, AUDIO.build(options, SHARED, assets)


def test_a_length_that_is_left_open_holds_the_sounds():
    """A second of silence and then a tone: what is fed has the tone."""
    late = [np.concatenate([np.zeros(16_000, np.float32), noise(n)]) for n in (3_000, 8_123)]
    assets, modality = fitted(*late)
    assert assets["chosen"] == {"seconds": 1.6}
    for sound in late:
        np.testing.assert_array_equal(modality.show(modality.prepare(sound)), sound)
        assert not modality.extent(sound).cut
    assert modality.absent["samples"].shape == (25_600,)


@pytest.mark.parametrize(
    ("samples", "keys", "seconds"),
    [
        ([1_000] * 3, {}, 0.5),
        ([1_000] * 3, {"frames_per_token": 100}, 1.1),  # one token at least
        ([16_000 * 12] * 3, {}, 10.0),
        ([8_000] * 299 + [32_000], {}, 0.5),  # one of 300 is cut
    ],
)
def test_how_long_sounds_are(samples, keys, seconds):
    sounds = [np.full(n, 0.1, np.float32) for n in samples]
    assert fitted(*sounds, **keys)[0]["chosen"]["seconds"] == seconds


def test_what_is_cut_of_a_sound_is_said(audio):
    assert not audio.extent(noise(TOTAL)).cut
    late = np.concatenate([np.zeros(5_000, np.float32), noise(3_000)])
    assert audio.extent(late).describe() == (
        "cut after 0.25 s: 0.25 of 0.5 seconds are fed, and those are blank"
        " (config.modalities.audio.seconds)"
    )
    assert "blank" not in audio.extent(noise(8_000)).describe()
