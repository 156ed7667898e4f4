"""The launcher that measures; how fast it is, is nothing to assert."""

import json
import os
import subprocess
import sys

import pytest

from tests.launching import ROOT, assert_bad_input, launch, python

BENCHMARK = "launch/benchmark.py"
RECIPE = "--config=configs/flow.py:data=shapes,modalities=text+label"
SMALL = (
    *("--config.data.image_size=16", "--config.train.batch_size=8"),
    *(
        f"--config.generator.flow.{k}"
        for k in ("width=32", "depth=1", "num_heads=2", "sample.steps=2")
    ),
    "--config.modalities.text.fit_examples=50",
)


@pytest.mark.slow
def test_everything_is_measured(tmp_path):
    out = tmp_path / "bench.json"
    done = python(BENCHMARK, RECIPE, *SMALL, "--steps=3", "--batch_sizes=4,8", f"--out={out}")
    assert done.code == 0, done.err
    small, large = json.loads(out.read_text(encoding="utf-8"))["batch_sizes"]
    assert (small["batch_size"], large["batch_size"]) == (4, 8)
    for row in (small, large):
        seconds = row["step_seconds"]
        assert 0 < seconds["median"] <= seconds["p90"]
        rate = row["images_per_second_per_device"]
        assert rate == pytest.approx(row["parts"]["model"] / row["devices"])
        flops = rate * row["model_flops_per_image"] / 1e12
        assert row["tflops_per_second_per_device"] == pytest.approx(flops)
        assert set(row["compile_seconds"]) == {"lower", "cold", "cached"}
        assert list(row["parts"]) == [
            *("pipeline", "model", "train.py, one batch again", "both", "train.py, pipeline")
        ]
        assert all(speed > 0 for speed in row["parts"].values())
        assert row["sampling_images_per_second"] > 0
        assert row["device"] == "cpu" and "jax" in row["versions"]
        # A peak is not guessed.
        assert row["mfu"] is None and row["peak_tflops_per_device"] is None
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "unknown device" in text and "1 x cpu, float32; jax " in text
    assert out.with_suffix(".png").exists()


@pytest.mark.slow
def test_processes_measure_together_and_one_writes(tmp_path):
    """As on the hosts of a pod; the scripts give each its place by the environment."""
    out = tmp_path / "bench.json"
    command = ["bash", str(ROOT / "launch/local.sh"), "2", RECIPE, *SMALL, "--steps=2"]
    done = subprocess.run(
        [*command, f"--out={out}"],
        env=os.environ | {"PYTHON": sys.executable, "LAUNCHER": "benchmark.py", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["devices"] == 2 and found["mesh"]["data"] == 2
    assert found["images_per_second_per_device"] == pytest.approx(found["parts"]["model"] / 2)
    assert [line[:3] for line in done.stdout.splitlines() if "bench.json" in line] == ["[0]"]


def test_costs_are_counted_without_running(tmp_path):
    out = tmp_path / "bench.json"
    done = launch(BENCHMARK, RECIPE, *SMALL, "--analytic", f"--out={out}")
    assert (done.code, done.err) == (0, ""), done
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found) == [
        *("parameters", "forward_multiply_adds_by_part", "forward_multiply_adds_per_image"),
        *("model_flops_per_image", "versions", "made_by"),
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("--config",)),
        ((RECIPE, "--batch_sizes=8,many"), ("--batch_sizes", "'many'")),
        ((RECIPE, "--steps=1"), ("steps",)),
        ((RECIPE, "--steps=1000000000"), ("steps", "100000")),
        ((RECIPE, "--batch_sizes=²"), ("--batch_sizes", "'²'", "1 to")),
        ((RECIPE, "--batch_sizes=8,100000000000"), ("--batch_sizes", "1 to")),
        ((RECIPE, "--batch_sizes="), ("batch_sizes", "at least one")),
        ((RECIPE, "--analytic", "--profile=trace"), ("--profile", "--analytic")),
        (
            (RECIPE, "--config.train.batch_size=7", "--config.train.grad_accum_steps=2"),
            ("grad_accum_steps = 2",),
        ),
    ],
)
def test_bad_input(tmp_path, flags, words):
    assert_bad_input(launch(BENCHMARK, *flags, f"--out={tmp_path / 'bench.json'}"), *words)
