"""Latents that were made before: what a training makes of them, and whose they must be."""

import os
import pickle
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.data import BadRecord
from mmgen_jax.data.latents import LatentSource
from mmgen_jax.errors import InputError
from mmgen_jax.model import build_codec
from mmgen_jax.training import loop, transfer
from mmgen_jax.training.latent_cache import compare, opened, precompute
from tests.folders import group, open_folder, paint, write
from tests.launching import assert_bad_input, launch
from tests.runs import logged
from tests.tiny import tiny_config

RECORDS = 10


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(RECORDS):
        paint(folder / f"{number}.png", size=(16, 24))
    write(folder, *({"file_name": f"{n}.png", "label": "ab"[n % 2]} for n in range(RECORDS)))
    return folder


def config(pictures, family="flow", tokenizer="", quantizer="kl", **keys):
    config = tiny_config(("label",))
    config.data = group(pictures, image_size=16, image_width=24, split="all", **keys)
    config.eval.split = "all"
    config.generator.name, config.generator.vqvae.quantizer = family, quantizer
    config.train.batch_size, config.train.steps, config.train.log_every = 4, 3, 1
    if tokenizer:
        config.tokenizer.family, config.tokenizer.run = "vqvae", str(tokenizer)
        config.objective.recovery_patch_size, config.generator.flow.patch_size = 2, 2
        config.generator.flow.prediction = "velocity"
    return config


@pytest.fixture(scope="module")
def tokenizers(pictures, tmp_path_factory):
    """The directories of a run, and of the same a step earlier."""
    one, other = (tmp_path_factory.mktemp("tokenizers") / name for name in ("one", "other"))
    own = config(pictures, "vqvae")
    own.checkpoint.every = own.train.steps - 1
    loop.train(own, one)
    shutil.copytree(one, other)
    shutil.rmtree(other / "checkpoints" / str(own.train.steps))
    return one, other


@pytest.fixture(scope="module")
def made(pictures, tokenizers, tmp_path_factory):
    """(the folder of the first one's latents, what was said of them)."""
    out = tmp_path_factory.mktemp("made") / "latents"
    return out, precompute(config(pictures, "flow", tokenizers[0]), out)


def test_they_are_the_codecs_record_by_record(pictures, tokenizers, made):
    own = config(pictures, "flow", tokenizers[0])
    own.tokenizer.latents = str(made[0])
    frozen, codec = transfer.tokenizer(own), build_codec(own)
    source = open_folder(pictures)
    found = opened(own, source)
    compare(own, found, frozen)
    assert (len(found), made[1]["records"], made[1]["shape"]) == (RECORDS, RECORDS, [4, 6, 4])
    for number in range(RECORDS):
        image = source[number].image.astype(np.float32) / 127.5 - 1
        expected = codec.encode(frozen, jnp.asarray(image[None]))[0]
        np.testing.assert_allclose(found[number].latents, expected, atol=4e-3)
        assert found[number].values["label"] == source[number].values["label"]
        np.testing.assert_array_equal(found[number].image, source[number].image)
    there = pickle.loads(pickle.dumps(found))  # as other processes get it
    np.testing.assert_array_equal(there[3].latents, found[3].latents)


@pytest.mark.slow
def test_a_run_on_them_is_the_run_that_makes_them_itself(pictures, tokenizers, made, tmp_path):
    for name, latents in (("made", str(made[0])), ("itself", "")):
        own = config(pictures, "flow", tokenizers[0])
        own.tokenizer.latents, own.train.sample_every = latents, 3
        loop.train(own, tmp_path / name)
    one, two = (logged(tmp_path / name) for name in ("made", "itself"))
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys() and a != b
        np.testing.assert_allclose([*a.values()], [*b.values()], rtol=5e-3, atol=5e-3)
    assert (tmp_path / "made/samples/00000003.png").is_file()


def test_latents_of_another_tokenizer_or_of_other_data_are_refused(
    pictures, tokenizers, made, tmp_path
):
    lines = ({"file_name": f"{n}.png", "label": "ab"[n % 2]} for n in reversed(range(RECORDS)))
    for number in range(RECORDS):
        (tmp_path / f"{number}.png").symlink_to(pictures / f"{number}.png")
    write(tmp_path, *lines)
    for data, run in ((pictures, tokenizers[1]), (tmp_path, tokenizers[0])):
        own = config(data, "flow", run)
        own.tokenizer.latents = str(made[0])
        with pytest.raises(InputError, match="holds others than the tokenizer of this run"):
            loop.train(own, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_latents(pictures, tokenizers, made, tmp_path):
    shutil.copytree(made[0], tmp_path / "latents")
    own = config(pictures, "flow", tokenizers[0])
    own.tokenizer.latents, own.train.steps = str(tmp_path / "latents"), 1
    loop.train(own, tmp_path / "run")
    other = config(pictures, "flow", tokenizers[1])
    precompute(other, tmp_path / "latents", overwrite=True)
    own.train.steps = 2
    with pytest.raises(InputError, match="holds others than the tokenizer of this run"):
        loop.train(own, tmp_path / "run", loop.Allowed(config_change=True))
    assert logged(tmp_path / "run")[-1]["step"] == 1
    shutil.rmtree(tmp_path / "latents")
    shutil.copytree(made[0], tmp_path / "latents")
    loop.train(own, tmp_path / "run", loop.Allowed(config_change=True))


def test_latents_of_other_sizes_are_refused(pictures, tokenizers, made):
    own = config(pictures, "flow", tokenizers[0])
    own.tokenizer.latents = str(made[0])
    own.data.image_width = 32
    with pytest.raises(InputError, match=r"10 latents of shape \(4, 6, 4\); allowed: 10 of shape"):
        opened(own, open_folder(pictures))


@pytest.mark.parametrize("skip", [True, False])
def test_of_a_bad_record_there_are_none(pictures, tokenizers, tmp_path, skip):
    """It was good when its folder was looked through."""
    for number in range(3):
        paint(tmp_path / f"{number}.png", size=(16, 24))
    write(tmp_path, *({"file_name": f"{n}.png", "label": "a"} for n in range(3)))
    own = config(tmp_path, "flow", tokenizers[0], on_bad_record="skip" if skip else "raise")
    source = open_folder(tmp_path)
    state = (tmp_path / "1.png").stat()
    (tmp_path / "1.png").write_bytes(b"?" * state.st_size)
    os.utime(tmp_path / "1.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    if not skip:
        with pytest.raises(InputError, match="1.png"):
            precompute(own, tmp_path / "latents")
        return
    precompute(own, tmp_path / "latents")
    found = LatentSource(source, str(tmp_path / "latents"), (4, 6, 4))
    assert found[0].latents.shape == found[2].latents.shape == (4, 6, 4)
    with pytest.raises(BadRecord, match="there are no latents of it"):
        _ = found[1].latents


def test_what_cannot_be_made(pictures, tokenizers, made, tmp_path):
    with pytest.raises(InputError, match="config.tokenizer.family = ''; allowed"):
        precompute(config(pictures), tmp_path / "out")
    with pytest.raises(InputError, match="holds a data set already; --overwrite replaces it"):
        precompute(config(pictures, "flow", tokenizers[0]), made[0])
    assert not (tmp_path / "out").exists()


def test_the_launcher_says_what_it_has_made(pictures, tokenizers, tmp_path):
    recipe = f"--config=configs/flow.py:data=folder,modalities=label,latents={tokenizers[0]}"
    flags = (recipe, f"--config.data.path={pictures}", "--config.data.split=all")
    more = ("--config.eval.split=all", f"--out={tmp_path / 'latents'}")
    done = launch("launch/encode_dataset.py", *flags, *more)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{tmp_path / 'latents'}: {RECORDS} latents of 4 x 6 x 4, ")
    assert_bad_input(launch("launch/encode_dataset.py", *flags, *more), "holds a data set already")
