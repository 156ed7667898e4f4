"""The evaluating launcher."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.launching import assert_bad_input, launch


def test_a_report_of_every_subset(trained, tmp_path):
    out = tmp_path / "report.json"
    done = launch(
        "launch/evaluate.py", f"--workdir={trained}", "--count=4", f"--out={out}", "--seed=1"
    )
    assert (done.code, done.err) == (0, ""), done
    report = json.loads(out.read_text())
    assert report["step"] == 2 and report["seed"] == 1
    rows = report["satisfaction"]
    assert len(rows) == 2 * 15  # subsets of four modalities, of unseen and of held-out scenes
    assert {"rate", "count", "chance", "interval"} <= rows["text+label+audio+image"].keys()
    assert np.asarray(Image.open(tmp_path / "report.png")).shape[2] == 3
    assert "heldout:text" in done.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--metrics=beauty",), ("'beauty'", "satisfaction, fitting")),
        (("--metrics=reconstruction",), ("'reconstruction'", "'flow'")),
        (("--out=report.txt",), ("--out=report.txt", ".json")),
        (("--workdir=nowhere",), ("nowhere", "no run")),
    ],
)
def test_bad_input(trained, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    done = launch("launch/evaluate.py", f"--workdir={trained}", "--out=report.json", *flags)
    assert_bad_input(done, *words)
