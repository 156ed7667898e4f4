"""What a user's own folder is trained, moved and evaluated as."""

import json
import shutil

import pytest

from mmgen_jax.training import checkpoints
from tests import folders
from tests.launching import assert_bad_input, launch

RECIPE = """
from tests.toy_recipe import get_config as toy


def get_config():
    config = toy()
    config.data.name, config.data.image_size = "folder", 8
    config.modalities.names = ("label",)
    config.train.batch_size, config.train.steps, config.checkpoint.every = 8, 2, 2
    return config
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(40):
        folders.paint(folder / f"{number}.png")
    folders.write(folder, *({"file_name": f"{n}.png", "label": "ab"[n % 2]} for n in range(40)))
    return folder


@pytest.fixture(scope="module")
def own(recipe, data, tmp_path_factory):
    """The directory of a run on the folder; not to be changed, but copied."""
    workdir = tmp_path_factory.mktemp("own") / "run"
    done = launch("launch/train.py", recipe, f"--config.data.path={data}", f"--workdir={workdir}")
    assert done.code == 0, done.err
    return workdir


def evaluate(workdir, out, *flags):
    return launch("launch/evaluate.py", f"--workdir={workdir}", f"--out={out}", *flags)


def test_without_metrics_named_what_fits_is_evaluated(own, tmp_path):
    out = tmp_path / "report.json"
    done = evaluate(own, out, "--count=4")
    assert (done.code, done.err) == (0, ""), done
    assert "metrics: fitting, diversity, which fit; --metrics names others" in done.out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert {"fitting", "diversity", "made_by"} <= set(report) and "satisfaction" not in report
    assert evaluate(own, out, "--count=4").code == 0  # its own report is replaced
    done = launch("launch/compare.py", f"--workdirs={own}", f"--out={out}", "--count=4")
    assert_bad_input(done, str(out), "--overwrite")


def test_what_does_not_fit_says_why_before_anything_is_drawn(own, tmp_path):
    out = tmp_path / "report.json"
    done = evaluate(own, out, "--metrics=diversity,satisfaction")
    assert_bad_input(done, "nobody judges pictures of data set 'folder'", "shapes")
    done = evaluate(own, out, "--metrics=diversity,fid")
    assert_bad_input(done, "--weights=FILE.safetensors", "docs/scores.md", "'folder'")
    done = launch("launch/evaluate.py", f"--images={tmp_path}", f"--out={out}")
    assert_bad_input(done, "--weights=FILE.safetensors", "docs/scores.md")


def test_data_that_was_moved_is_found_by_a_flag(recipe, own, data, tmp_path):
    out = tmp_path / "report.json"
    moved = data.rename(tmp_path / "moved")
    try:
        assert_bad_input(evaluate(own, out, "--metrics=fitting"), str(data), "--data_path")
        done = evaluate(own, out, "--metrics=fitting", "--count=4", f"--data_path={moved}")
    finally:
        moved.rename(data)
    assert (done.code, done.err) == (0, "")
    assert_bad_input(evaluate(own, out, "--data_path="), "--data_path is empty")


def test_a_run_goes_on_with_data_that_was_moved(recipe, own, data, tmp_path):
    moved, run = shutil.copytree(data, tmp_path / "moved"), shutil.copytree(own, tmp_path / "run")
    flags = (recipe, f"--workdir={run}", "--config.train.steps=4", "--accept_config_change")
    done = launch("launch/train.py", *flags, f"--config.data.path={tmp_path / 'gone'}")
    assert_bad_input(done, "gone", "--data_path")
    done = launch("launch/train.py", *flags[:2], f"--config.data.path={moved}")
    assert_bad_input(done, "data.path", "differs", "--data_path for data that was moved")
    done = launch("launch/train.py", *flags, f"--data_path={moved}")
    assert done.code == 0, done.err
    saved = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert saved["data"]["path"] == str(moved) and checkpoints.latest(run) == 4


def test_a_fresh_run_takes_no_other_place_of_its_data(recipe, data, tmp_path):
    flags = (recipe, f"--workdir={tmp_path / 'run'}", f"--data_path={data}")
    assert_bad_input(launch("launch/train.py", *flags), "--data_path", "--config.data.path")


def test_what_is_in_a_runs_way_is_found_at_the_start(recipe, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").write_text("mine", encoding="utf-8")
    flags = (recipe, f"--config.data.path={data}", f"--workdir={tmp_path / 'run'}")
    assert_bad_input(launch("launch/train.py", *flags), "samples", "must be a folder")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["samples"]
