"""The bar of the emoji recipe (slow): its pictures are those of their names."""

import json

import pytest

from tests.launching import python


@pytest.mark.slow
def test_names_draw_their_pictures(tmp_path):
    """About 45 minutes on two cores."""
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "fitting.json"
    done = python("launch/build_dataset.py", "--dataset=emoji", f"--out={data}")
    assert done.code == 0, done.err
    recipe = "--config=configs/flow.py:data=emoji,modalities=text+label,size=tiny"
    flags = (recipe, f"--config.data.path={data}", f"--workdir={run}")
    done = python("launch/train.py", *flags, XLA_FLAGS="")
    assert done.code == 0, done.err
    flags = (f"--workdir={run}", "--metrics=fitting", "--count=64", f"--out={out}")
    done = python("launch/evaluate.py", *flags, XLA_FLAGS="")
    assert done.code == 0, done.err
    rows = json.loads(out.read_text(encoding="utf-8"))["fitting"]
    assert rows["train"]["count"] == 64 and rows["train"]["rate"] >= 0.5
    assert rows["test"]["interval"][0] > rows["test"]["chance"]
