"""A folder of 2,000 pictures, twenty of them bad in ten ways: named, or skipped and reported."""

import json
import shutil

import numpy as np
import pytest

from tests import folders
from tests.launching import launch
from tests.runs import everything, logged

TOTAL = 2_000
COLOURS = ("red", "green", "blue")

RECIPE = """
from tests.toy_recipe import get_config as toy


def get_config():
    config = toy()
    config.data.name, config.data.image_size = "folder", 8
    config.data.split = config.eval.split = "all"
    config.modalities.names = ("label", "audio")
    config.modalities.audio.seconds, config.modalities.audio.n_mels = 0.1, 8
    config.modalities.audio.width = 8
    config.train.batch_size, config.train.steps = 64, 4
    config.checkpoint.every = 2
    return config
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """(the folder, line number -> a word of the reason)."""
    folder = tmp_path_factory.mktemp("broken")
    for k in range(32):
        folders.hum(folder / f"{k}.wav", seconds=0.1 + k / 1000)
    rng = np.random.default_rng(0)
    lines = []
    for k in range(TOTAL):
        name = f"{k}.{'jpg' if k % 2 else 'png'}"
        folders.paint(folder / name, colour=rng.integers(1, 255, 3).tolist())
        line = {"file_name": name, "label": COLOURS[k % 3], "text": f"number {k}"}
        if k % 4:
            line["audio_file_name"] = f"{k % 32}.wav"
        lines.append(line)
    (folder / "labels.txt").write_text("\n".join(COLOURS), encoding="utf-8")
    return folder, spoil(folder, lines, rng.choice(TOTAL - 2, 20, replace=False) + 1)


def spoil(folder, lines, chosen):
    """Makes two records bad in each of ten ways, and writes the metadata."""
    reasons = {}
    for k, line_index in enumerate(map(int, chosen)):
        line, name = lines[line_index], f"bad{k}"
        kind, word = list(KINDS.items())[k // 2]
        lines[line_index] = kind(folder, line, name)
        reasons[line_index + 1] = word
    folders.write(folder, *lines)
    return reasons


def truncated_jpeg(folder, line, name):
    folders.paint(folder / f"{name}.jpg", size=(64, 64))
    path = folder / f"{name}.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return line | {"file_name": path.name}


def text_as_png(folder, line, name):
    (folder / f"{name}.png").write_text("a picture is worth a thousand words", encoding="utf-8")
    return line | {"file_name": f"{name}.png"}


def empty_sound(folder, line, name):
    (folder / f"{name}.wav").touch()
    return line | {"audio_file_name": f"{name}.wav"}


def empty_caption(folder, line, name):
    return line | {"text": " "}


def missing_file(folder, line, name):
    return line | {"file_name": f"{name}.png"}


def label_out_of_range(folder, line, name):
    return line | {"label": 3}


def not_utf8(folder, line, name):
    return json.dumps(line | {"text": "B#r"}).encode().replace(b"#", b"\xe4")


def outside(folder, line, name):
    return line | {"file_name": "../secret.png" if name[-1] in "02468" else "/etc/passwd"}


def bomb(folder, line, name):
    (folder / f"{name}.png").write_bytes(folders.bomb(50_000, 50_000))
    return line | {"file_name": f"{name}.png"}


def duplicate(folder, line, name):
    return line | {"file_name": "0.png"}


KINDS = {
    truncated_jpeg: "damaged",
    text_as_png: "no picture",
    empty_sound: "empty",
    empty_caption: "text is empty",
    missing_file: "No such file",
    label_out_of_range: "label 3 is out of range; allowed: 0 to 2",
    not_utf8: "not UTF-8",
    outside: "leads out of the folder",
    bomb: "more pixels than allowed",
    duplicate: "duplicate",
}
FEATURES = ("--config.modalities.names=('label','audio','text')",)


def test_raise_names_each_of_them_and_trains_nothing(recipe, broken, tmp_path):
    folder, reasons = broken
    done = launch(
        "launch/train.py",
        recipe,
        *FEATURES,
        f"--config.data.path={folder}",
        f"--workdir={tmp_path}",
    )
    assert done.code == 2
    *named, last = done.err.splitlines()
    assert len(named) == 20
    for line, (number, word) in zip(named, sorted(reasons.items()), strict=True):
        assert line.startswith(f"error: {folder}/metadata.jsonl, line {number}")
        assert word in line
    assert last.startswith(f"error: 20 of {TOTAL} records of {folder} are bad;")
    assert "--config.data.on_bad_record=skip" in last
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_skip_trains_on_the_rest_and_reports_exactly_those(recipe, broken, tmp_path):
    folder, reasons = broken
    flags = (recipe, *FEATURES, f"--config.data.path={folder}", "--config.data.on_bad_record=skip")
    done = launch("launch/train.py", *flags, f"--workdir={tmp_path / 'whole'}")
    assert done.code == 0, done.err
    assert "skipped 20 bad records, see skipped_records.json: " in done.err
    assert [line["skipped_records"] for line in logged(tmp_path / "whole")] == [20.0] * 4

    report = json.loads((tmp_path / "whole" / "skipped_records.json").read_text(encoding="utf-8"))
    found = {
        int(where.split("line ")[1].split()[0]): why for where, why in report["records"].items()
    }
    assert found.keys() == reasons.keys()
    assert all(reasons[number] in why for number, why in found.items())
    assert report["count"] == 20 and sum(report["by_reason"].values()) == 20

    # A run that goes on ends as this one, its report included.
    run = shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "4")
    (run / "skipped_records.json").unlink()
    done = launch("launch/train.py", *flags, f"--workdir={run}")
    assert done.code == 0, done.err
    assert everything(run, 4) == everything(tmp_path / "whole", 4)
    assert logged(run) == logged(tmp_path / "whole")
    assert json.loads((run / "skipped_records.json").read_text(encoding="utf-8")) == report
