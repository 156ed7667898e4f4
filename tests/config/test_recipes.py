"""The recipes in configs/: every size is a model that can be built, as the docstring says."""

import math
import re
from dataclasses import replace

import jax
import pytest

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data import DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.training import transfer
from tests.launching import ROOT, recipe

RECIPES = {path.stem: recipe(path.stem) for path in sorted((ROOT / "configs").glob("[!_]*.py"))}
SIZES = [(name, size) for name, of in RECIPES.items() for size in of.SIZES]


def parameters(config):
    """The number of parameters of a config's generator; computes nothing."""
    # It is as large whatever it is conditioned on: one modality is soon looked at.
    config.modalities.names = ("label",)
    # Captions come with their picture: a small one is drawn sooner.
    source = replace(DataOptions.of(config), image_size=32).open(config.data.split)
    model = models.build(config, models.fit(config, source))
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params["generator"]))


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_size_works(name, size):
    config = RECIPES[name].get_config(f"size={size}")
    configs.validate(config)
    configs.validate(config, devices=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_size_is_larger_than_the_one_before(name):
    counts = [parameters(RECIPES[name].get_config(f"size={size}")) for size in RECIPES[name].SIZES]
    assert counts == sorted(set(counts)), counts
    assert counts[0] < 10e6, "tiny is for two CPU cores"


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_size_takes_every_modality(name, size):
    config = RECIPES[name].get_config(f"size={size},modalities=image+audio+label+text")
    assert config.modalities.names == ("image", "audio", "label", "text")
    configs.validate(config)


@pytest.mark.parametrize("name", RECIPES)
def test_the_docstring_holds_the_command(name, tokenizers):
    path = rf"launch/train\.py --config=configs/{name}\.py"
    command = re.search(rf"{path}(?::(\S+))?\s+--workdir=runs/{name}", RECIPES[name].__doc__)
    configs.validate(RECIPES[name].get_config(command[1]))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_argument_is_tiny(name):
    tiny = RECIPES[name].get_config("size=tiny")
    assert configs.differences(RECIPES[name].get_config(), tiny) == []


@pytest.mark.parametrize("name", RECIPES)
def test_the_docstring_names_every_size_and_argument(name):
    with pytest.raises(InputError) as refusal:
        RECIPES[name].get_config("bogus=1")
    allowed = re.findall(r"(\w+)=\.\.\.", str(refusal.value))
    assert {"data", "modalities", "size"} <= set(allowed)
    for argument in allowed:
        assert re.search(rf"\b{argument}\b[:=]", RECIPES[name].__doc__)
    for size in RECIPES[name].SIZES:
        assert re.search(rf"\b{size}\b", RECIPES[name].__doc__)


@pytest.mark.parametrize("name", RECIPES)
def test_an_unknown_modality_is_named(name):
    with pytest.raises(InputError, match="unknown modality 'smell'; allowed: text, label"):
        configs.validate(RECIPES[name].get_config("modalities=text+smell"))


def test_a_run_without_latents_is_no_tokenizer(tmp_path):
    configs.save(RECIPES["flow"].get_config(), tmp_path / "config.json")
    for name, key in (("flow", "latents"), ("dalle", "tokenizer")):
        with pytest.raises(InputError, match=r"of generator 'flow', .*; allowed: a run of vqvae"):
            RECIPES[name].get_config(f"{key}={tmp_path}")


def test_sizes_for_pods_plan_a_tokenizer():
    """That of configs/vqvae.py; the run itself is asked for when training begins."""
    there = RECIPES["vqvae"].get_config("quantizer=kl,size=base")
    for size in ("xl", "3b"):
        config = RECIPES["flow"].get_config(f"size={size}")
        assert config.tokenizer.family == "vqvae" and not config.tokenizer.run
        for key in ("quantizer", "patch_size", "latent_dim", "width", "depth", "num_heads"):
            assert config.generator.vqvae[key] == there.generator.vqvae[key]
        assert config.data.image_size == there.data.image_size
        with pytest.raises(InputError, match=r"config\.tokenizer\.run = ''.*latents="):
            transfer.tokenizer(config)


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_lengths_of_inputs_are_those_of_the_data_set_or_left_to_the_data(name, size):
    """Spoken names are as long for a large model as for a small one."""
    for data, seconds in (("shapes", 0.5), ("emoji", 3.2), ("digits", 0.8)):
        modalities = RECIPES[name].get_config(f"data={data},size={size}").modalities
        assert modalities.audio.seconds == seconds and modalities.text.max_tokens > 0
    for data in ("folder", "tfds", "coco_captions"):
        modalities = RECIPES[name].get_config(f"data={data},size={size}").modalities
        assert modalities.audio.seconds == modalities.text.max_tokens == 0
