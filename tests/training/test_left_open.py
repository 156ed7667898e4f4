"""Lengths of inputs that a config leaves open: chosen from the data as a run begins, and kept."""

import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.storage import read_json
from mmgen_jax.training import checkpoints, loop, run
from tests import folders, toys

CAPTION = "a red circle above a large blue square"


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


@pytest.fixture
def config(tmp_path):
    """Of a run on six captions, whose length is left open."""
    for number in range(6):
        folders.paint(tmp_path / f"{number}.png", colour=10 + number)
    lines = [{"file_name": f"{n}.png", "text": f"{CAPTION} {n}"} for n in range(6)]
    folders.write(tmp_path, *lines)
    config = toys.toy_config()
    config.data.name, config.data.path = "folder", str(tmp_path)
    config.data.split, config.eval.split = "all", "all"
    config.modalities.names = ("text",)
    config.modalities.text.depth, config.modalities.text.max_tokens = 1, 0
    config.train.steps = config.checkpoint.every = 2
    config.train.batch_size, config.train.sample_every = 4, 0
    return config


def said(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("text: ")]


def test_a_run_chooses_once_says_so_and_goes_on(config, tmp_path, capsys):
    workdir = tmp_path / "run"
    loop.train(config, workdir)
    length = read_json(workdir / "assets" / "text.json")["chosen"]["max_tokens"]
    line = f"text: {length} tokens, chosen for this data, hold all of 6 values"
    assert said(capsys) == [line]
    assert run.load(workdir).model.modalities["text"].absent["tokens"].shape == (length,)
    config.train.steps = 4
    loop.train(config, workdir, loop.Allowed(config_change=True))
    assert run.load(workdir).step == 4 and said(capsys) == [line]


@pytest.mark.slow
def test_a_run_that_began_with_a_fixed_length_goes_on_with_it(config, tmp_path, capsys):
    """As those of older recipes did, whose checkpoints hold a number."""
    workdir, older = tmp_path / "run", config.copy_and_resolve_references()
    older.modalities.text.max_tokens = 6
    older.train.steps = 2
    loop.train(older, workdir)
    (line,) = said(capsys)
    assert line.startswith(
        "text: 6 of 6 (100.0%) are cut to 6 tokens; --config.modalities.text.max"
    )
    loop.train(config, workdir)  # the same command by the recipe of today
    config.train.steps = 4
    loop.train(config, workdir, loop.Allowed(config_change=True))
    saved = checkpoints.read_json(workdir, 4, "config")
    assert saved["modalities"]["text"]["max_tokens"] == 6
    assert run.load(workdir).model.modalities["text"].absent["tokens"].shape == (6,)
    config.modalities.text.max_tokens = 8
    with pytest.raises(InputError, match="max_tokens: 6 -> 8"):
        loop.train(config, workdir)


@pytest.mark.slow
def test_a_run_that_starts_from_another_keeps_its_vocabulary_and_chooses_a_length(
    config, tmp_path, capsys
):
    loop.train(config, tmp_path / "before")
    lines = [{"file_name": f"{n}.png", "text": 20 * f"{CAPTION} {n} "} for n in range(6)]
    folders.write(tmp_path, *lines)
    config.train.init_from = str(tmp_path / "before")
    loop.train(config, tmp_path / "after")
    before, after = (
        read_json(tmp_path / name / "assets" / "text.json") for name in ("before", "after")
    )
    assert after["tokenizer"] == before["tokenizer"]
    assert after["chosen"]["max_tokens"] > before["chosen"]["max_tokens"]
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("from step 2"))
    assert "encoders/text" not in line
