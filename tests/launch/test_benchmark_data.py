"""The launcher that measures the input pipeline; how fast it is, is nothing to assert."""

import re

import pytest

from tests import folders
from tests.launching import assert_bad_input, launch, python

RECIPE = "--config=configs/flow.py:data=shapes,modalities=text+audio"


@pytest.mark.slow
def test_it_reports_each_number_of_workers():
    done = python(
        "launch/benchmark_data.py",
        RECIPE,
        "--batches=2",
        "--rounds=2",
        "--workers=1,2",
        "--config.train.batch_size=4",
        "--config.modalities.text.fit_examples=50",
    )
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.startswith("shapes: 1000000 records, 32x32, text+audio, batches of 4; ")
    assert len(lines) == 2
    for workers, line in enumerate(lines, 1):
        found = re.fullmatch(
            rf"ours, {workers} workers: (\d+) records/s, (\d+) per core \(\d+ to \d+ in 2 rounds\)",
            line,
        )
        assert found and int(found[1]) > 0
        assert abs(int(found[1]) / workers - int(found[2])) <= 1


@pytest.mark.parametrize("workers", ["0", "two", "-1", "1,"])
def test_bad_input(workers):
    done = launch("launch/benchmark_data.py", RECIPE, f"--workers={workers}")
    assert_bad_input(done, "--workers", "allowed: ")


def test_fewer_records_than_a_batch_are_refused(tmp_path):
    for k in range(3):
        folders.paint(tmp_path / f"{k}.png")
    folders.write(tmp_path, *({"file_name": f"{k}.png", "text": str(k)} for k in range(3)))
    recipe = "--config=configs/flow.py:data=folder,modalities=text"
    flags = (recipe, f"--config.data.path={tmp_path}", "--config.data.split=all", "--torch")
    done = launch("launch/benchmark_data.py", *flags)
    assert_bad_input(done, "config.train.batch_size = 64", "at most the 3 records")
