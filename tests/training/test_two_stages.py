"""A generator in a tokenizer's latents: what it takes of that run, and that it needs it no more."""

import jax
import numpy as np
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.generators.vqvae import family as vqvae
from mmgen_jax.training import loop, run
from tests.layouts import copy_first_half
from tests.runs import everything, logged
from tests.tiny import tiny_config

STEPS, HALF = 4, 2


def config(family, tokenizer=""):
    config = tiny_config(("label",))
    config.generator.name = family
    config.train.batch_size, config.train.steps, config.train.log_every = 4, STEPS, 1
    config.checkpoint.every = HALF
    if family != "vqvae":
        config.tokenizer.family, config.tokenizer.run = "vqvae", str(tokenizer)
        config.objective.recovery_patch_size, config.generator.flow.patch_size = 2, 2
    return config


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("tokenizer")
    loop.train(config("vqvae"), workdir)
    return workdir


@pytest.fixture(scope="module", params=["dalle", pytest.param("flow", marks=pytest.mark.slow)])
def second(request, tokenizer, tmp_path_factory):
    """(family, the directory of a run on the tokenizer's latents)."""
    workdir = tmp_path_factory.mktemp(request.param)
    loop.train(config(request.param, tokenizer), workdir)
    return request.param, workdir


def test_the_tokenizer_is_copied_and_stays_as_it_was(tokenizer, second):
    first = run.load(tokenizer)
    expected = vqvae.freeze(first.params, first.state)["tokenizer"]
    for step in (HALF, STEPS):
        found = run.load(second[1], step).params["tokenizer"]
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert logged(second[1])[0]["loss"] != logged(second[1])[-1]["loss"]


def test_a_run_goes_on_bit_by_bit_without_the_tokenizers_run(second, tmp_path):
    family, whole = second
    copy_first_half(whole, half := tmp_path / "half")
    gone = tmp_path / "nowhere"
    loop.train(config(family, gone), half, loop.Allowed(config_change=True))
    assert logged(half) == logged(whole)
    assert everything(half, STEPS)[0] == everything(whole, STEPS)[0]


REFUSALS = {
    "no run": (
        {"tokenizer.run": ""},
        "config.tokenizer.run = '' with family 'vqvae'; allowed: the",
    ),
    "no folder": ({"tokenizer.run": "nowhere"}, "nowhere is no run"),
    "patch_size": ({"generator.vqvae.patch_size": 2}, r"does not match .*vqvae.patch_size: 4 -> 2"),
    "codes": (
        {"generator.vqvae.codebook_size": 16},
        r"does not match .*vqvae.codebook_size: 32 -> 16",
    ),
    "size": ({"data.image_size": 32}, r"does not match .*data.image_size: 16 -> 32"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_tokenizer_that_does_not_match_is_refused(tokenizer, tmp_path, case):
    changes, message = REFUSALS[case]
    asked = config("dalle", tokenizer)
    asked.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=message):
        loop.train(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_family_is_no_tokenizer(second, tmp_path):
    with pytest.raises(InputError, match=f"generator.name: '{second[0]}' -> 'vqvae'"):
        loop.train(config("dalle", second[1]), tmp_path / "run")
