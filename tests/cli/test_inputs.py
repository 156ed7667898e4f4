"""Flags of what an image is made from."""

import json

from mmgen_jax import config as configs
from tests.launching import assert_bad_input, launch

OUT = "--out=samples.png"


def written(folder, inputs):
    """A folder with the config of a run, and nothing else of it."""
    named = configs.parse_inputs(inputs)
    config = configs.default({name: kind for name, kind in named.items() if name != kind})
    config.modalities.names = tuple(named)
    configs.save(config, folder / "config.json")
    return f"--workdir={folder}"


def test_each_input_of_a_run_has_a_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = written(tmp_path, "text+sketch:image")
    assert_bad_input(
        launch("launch/sample.py", workdir, "--sketch=a.png", OUT), "checkpoints of the run"
    )
    assert_bad_input(launch("launch/sample.py", workdir, "--sketch=", OUT), "--sketch is empty")
    twice = launch("launch/sample.py", workdir, "--sketch=a", "--condition=sketch=b", OUT)
    assert_bad_input(twice, "--sketch is given 2 times")
    assert_bad_input(launch("launch/sample.py", workdir, "--style=a.png", OUT), "'style'")


def test_a_run_that_cannot_be_read_defines_no_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in ("{", "[]", '{"modalities": 3}', json.dumps({"modalities": {"names": ["A b"]}})):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        done = launch("launch/sample.py", f"--workdir={tmp_path}", "--sketch=a.png", OUT)
        assert_bad_input(done, "Unknown command line flag 'sketch'")


def test_no_flag_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launch("launch/sample.py", written(tmp_path, "sketch:image"), "--sketch=a.png", OUT)
    done = launch("launch/sample.py", f"--workdir={tmp_path / 'none'}", "--sketch=a.png", OUT)
    assert_bad_input(done, "Unknown command line flag 'sketch'")
