"""The launcher that shows what a model is fed."""

import numpy as np
import pytest
from PIL import Image

from tests import folders
from tests.launching import assert_bad_input, launch

RECIPE = """
from tests.tiny import tiny_config


def get_config():
    return tiny_config()
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE, encoding="utf-8")
    return f"--config={path}"


def test_it_draws_a_sheet_and_sums_up(recipe, tmp_path):
    out = tmp_path / "sheet.png"
    done = launch("launch/inspect_data.py", recipe, f"--out={out}", "--count=4", "--records=50")
    assert (done.code, done.err) == (0, "")
    *modalities, last = done.out.splitlines()
    assert [line.partition(":")[0] for line in modalities] == ["text", "label", "audio", "image"]
    assert all("50 of 50 records, 0.0% missing" in line for line in modalities)
    assert last == f"{out}: 4 of 1000000 records"
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet)
    assert sheet.format == "PNG" and pixels.shape[2] == 3
    # Four pictures with a sound and a sketch each: in colour, and with more than one tile.
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() > 100
    again = tmp_path / "again.png"
    launch("launch/inspect_data.py", recipe, f"--out={again}", "--count=4", "--records=50")
    assert out.read_bytes() == again.read_bytes()
    launch("launch/inspect_data.py", recipe, f"--out={again}", "--count=2", "--records=50")
    with Image.open(again) as smaller:
        assert smaller.width * smaller.height < sheet.width * sheet.height


FOLDER_RECIPE = """
from tests.tiny import tiny_config


def get_config():
    config = tiny_config(("label",))
    config.data.name, config.data.path, config.data.on_bad_record = "folder", {path!r}, "skip"
    return config
"""


def test_it_says_how_many_records_the_sheet_shows_and_which_are_left_out(tmp_path):
    lines = [{"file_name": f"{k}.png", "label": "ab"[k % 2]} for k in range(12)]
    folder, recipe, out = tmp_path / "own", tmp_path / "recipe.py", tmp_path / "sheet.png"
    folders.write(folder, *lines, {"file_name": "none.png"}, {"file_name": "gone.png"})
    for line in lines:
        folders.paint(folder / line["file_name"])
    recipe.write_text(FOLDER_RECIPE.format(path=str(folder)), encoding="utf-8")
    flags = f"--config={recipe}", f"--out={out}", "--config.data.split=train"
    total = len(folders.open_rest(folder, "train"))
    bad = "; besides, 2 bad ones of this split or another were left out"
    done = launch("launch/inspect_data.py", *flags, "--count=32")
    again = f"{out}: {total} of {total} records, which come again in 32 pictures"
    assert done.out.splitlines()[-1] == again + bad
    done = launch("launch/inspect_data.py", *flags, "--count=3")
    assert done.out.splitlines()[-1] == f"{out}: 3 of {total} records{bad}"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--out=sheet.jpg",), ("--out=sheet.jpg", ".png")),
        (("--out=nowhere/sheet.png",), ("--out=nowhere/sheet.png", "folder")),
        (("--count=0",), ("count", "0")),
        (("--config.train.stepz=1",), ("train.stepz",)),
        (("--config.generator.flow.patch_size=5",), ("config.generator.flow.patch_size = 5",)),
        (("more",), ("'more'",)),
    ],
)
def test_bad_input(recipe, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    done = launch("launch/inspect_data.py", recipe, "--out=sheet.png", *flags)
    assert_bad_input(done, *words)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("flag", ("config", "out"))
def test_missing_flags(recipe, flag):
    flags = {"config": recipe, "out": "--out=sheet.png"}
    del flags[flag]
    assert_bad_input(launch("launch/inspect_data.py", *flags.values()), f"--{flag}")
