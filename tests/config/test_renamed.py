"""Configs of runs that were trained when keys had other names."""

import re

import pytest

from mmgen_jax import config as configs
from mmgen_jax.config.renamed import RENAMED, current
from tests.launching import ROOT, assert_bad_input, launch

OLD = {
    "generator.flow.heads": 8,
    "generator.flow.patch": 2,
    "generator.vqvae.moments_decay": 0.9,
    "generator.flow.timestep_mean": 0.5,
    "generator.flow.timestep_deviation": 2.0,
    "generator.gan.noise": 32,
    "generator.vae.latent": 16,
    "generator.vqvae.codes": 64,
    "modalities.text.heads": 2,
    "modalities.image.patch": 4,
    "modalities.audio.patch_frames": 4,
    "modalities.audio.bins": 32,
    "modalities.label.keep": 0.25,
    "fusion.present_all": 0.5,
    "fusion.present_none": 0.25,
    "objective.reader_heads": 1,
    "objective.reader_patch": 4,
    "objective.reader_width": 32,
    "train.accumulate": 2,
    "optimizer.generator.every": 2,
    "optimizer.discriminator.start": 3,
}


def nested(values):
    tree = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree


def test_an_old_config_is_read():
    config = configs.from_dict(nested(OLD), "an old run")
    found = dict(configs.leaves(config))
    for path, value in OLD.items():
        assert found[current(path)] == value, path


def test_every_old_name_has_a_new_one():
    keys = configs.all_keys()
    for path in OLD:
        assert path not in keys and current(path) in keys, path
    for pattern in RENAMED:
        assert any(re.fullmatch(pattern, path) for path in OLD), pattern


@pytest.mark.parametrize("path", ["generator.flow.heads", "train.accumulate"])
def test_an_old_name_on_the_command_line_is_answered_by_the_new_one(path, tmp_path):
    flags = f"--config.{path}=2", f"--workdir={tmp_path}"
    done = launch("launch/train.py", f"--config={ROOT}/configs/flow.py", *flags)
    assert_bad_input(done, f"config key {path} is called {current(path)} now")


def test_no_page_and_no_recipe_has_an_old_name():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").glob("*.py")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"config\.([a-z_]+(?:\.[a-z0-9_]+)+)", text):
            assert current(path) == path, f"{page}: {path}"
