"""The launcher that builds data sets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen_jax.data.builders.emoji import CLDR, EMOJI_TEST, FONT

ROOT = Path(__file__).parents[2]


def launch(folder, *flags):
    command = [sys.executable, str(ROOT / "launch/build_dataset.py"), *flags]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    not all(Path(path).exists() for path in (FONT, CLDR, EMOJI_TEST)),
    reason="needs Debian packages fonts-noto-color-emoji, unicode-cldr-core, unicode-data",
)
def test_it_builds_into_the_default_folder_and_sums_up(tmp_path):
    done = launch(tmp_path, "--dataset=emoji", "--limit=10", "--image_size=16", "--languages=en,fr")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("emoji: 10 records (train ")
    assert done.stdout.endswith("in data/emoji\n")
    summary = json.loads((tmp_path / "data/emoji/summary.json").read_text(encoding="utf-8"))
    assert (summary["records"], summary["image_size"]) == (10, 16)
    assert summary["languages"] == ["en", "fr"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--dataset is missing; allowed: emoji"),
        (("--dataset=mnist",), "unknown data set builder 'mnist'; allowed: emoji"),
        (("--dataset=emoji", "--image_size=4"), "--image_size=4: allowed: 8 to 512"),
        (("--dataset=emoji", "--font=x.ttf"), "fonts-noto-color-emoji"),
        (("--dataset=emoji", "more"), "more"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, flags, message):
    done = launch(tmp_path, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
