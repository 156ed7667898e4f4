"""The training step, compiled for TPUs that are not there."""

import json
import os
import subprocess
import sys

import pytest

from mmgen_jax.performance.aot import _used
from tests.config.test_recipes import RECIPES
from tests.launching import ROOT, assert_bad_input, launch, python

COMPILE = "launch/compile.py"
# Where `make test-slow` puts it: beside jax it would be looked for by every program.
LIBTPU = next(ROOT.glob(".venv*/tpu-compile"), None)


def for_tpus(out, *flags):
    """Runs the launcher with libtpu; what it wrote."""
    if LIBTPU is None:
        pytest.skip("`make test-slow` installs libtpu")
    command = [sys.executable, ROOT / COMPILE, *flags, f"--out={out}"]
    environment = os.environ | {"PYTHONPATH": str(LIBTPU)}
    environment.pop("XLA_FLAGS")  # those of tests leave the compiler's passes out
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(out.read_text(encoding="utf-8")), done.stdout


def test_without_the_compiler_a_line_says_where_it_is_from(tmp_path):
    out = f"--out={tmp_path / 'pod.json'}"
    done = python(COMPILE, "--config=configs/flow.py:size=tiny", "--topology=v5e:2x4", out)
    assert_bad_input(done, "libtpu", "is not installed", "pip install")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--topology=v5e:2x4",), ("--config",)),
        (("--config=configs/flow.py",), ("--topology",)),
        (
            (
                "--config=configs/flow.py",
                "--topology=v5e:2x4",
                "--config.generator.flow.num_heads=3",
            ),
            ("config.generator.flow.num_heads = 3",),
        ),
    ],
)
def test_bad_input(tmp_path, flags, words):
    assert_bad_input(launch(COMPILE, *flags, f"--out={tmp_path / 'pod.json'}"), *words)


def test_the_compilers_complaint_tells_how_much_it_wants():
    complaint = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space"
        " hbm. Used 20.15G of 15.75G hbm. Exceeded hbm capacity by 4.40G."
    )
    assert _used(complaint, state=7) == round(20.15 * 2**30)
    temporaries = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory"
        " required for HLO temporaries (838.27G) exceeds available HBM (15.75G)."
    )
    assert _used(temporaries, state=7) == round(838.27 * 2**30) + 7
    assert _used("INTERNAL: something else", state=7) is None


@pytest.mark.slow
def test_what_is_reported(tmp_path):
    """Of one slice and of two, which share out the batch: the state lies whole on every chip."""
    flags = ("--config=configs/flow.py:size=tiny", "--batch_per_chip=8")
    for slices in (1, 2):
        found, told = for_tpus(
            tmp_path / "pod.json", *flags, "--topology=v5e:2x2", f"--slices={slices}"
        )
        chips = 4 * slices
        assert (found["chips"], found["batch_size"]) == (chips, 8 * chips)
        assert found["mesh"] == {"data": chips, "fsdp": 1, "tensor": 1}
        assert found["fits"] and found["hbm_bytes"] == 16 * 2**30
        memory = dict(found["memory"])
        assert memory.pop("total") == sum(memory.values()) == found["memory_per_chip_bytes"]
        parameters = found["parameters"]["total"]
        assert memory["parameters"] == memory["average"] == 4 * parameters
        # All gradients are averaged over all chips, and not much else is; of two slices the
        # compiler makes a scatter and a gather of it, which send as much.
        expected = 2 * 4 * parameters * (chips - 1) / chips
        assert found["collective_bytes"] == pytest.approx(expected, rel=0.05)
        assert "fits" in told and "TPU v5e" in told
        (line,) = (tmp_path / "pod.md").read_text(encoding="utf-8").splitlines()[3:]
        assert line.startswith(f"| `flow.py:size=tiny` | {chips} x TPU v5e (") and "| yes |" in line


@pytest.mark.slow
def test_what_does_not_fit_is_said(tmp_path):
    flags = ("--config=configs/flow.py:size=base", "--topology=v5e:2x2", "--batch_per_chip=2048")
    found, told = for_tpus(tmp_path / "pod.json", *flags)
    assert not found["fits"] and found["memory_per_chip_bytes"] > found["hbm_bytes"]
    assert "does not fit" in told
    assert found["collectives"] is None and "| no |" in (tmp_path / "pod.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_an_unknown_topology_is_refused(tmp_path):
    if LIBTPU is None:
        pytest.skip("`make test-slow` installs libtpu")
    flags = (
        "--config=configs/flow.py:size=tiny",
        "--topology=v9:2x2",
        f"--out={tmp_path / 'o.json'}",
    )
    done = subprocess.run(
        [sys.executable, ROOT / COMPILE, *flags],
        env=os.environ | {"PYTHONPATH": str(LIBTPU)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--topology=v9:2x2" in done.stderr and "allowed: such as" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_family_compiles_for_a_slice(tmp_path, name):
    found, _ = for_tpus(
        tmp_path / "pod.json", f"--config=configs/{name}.py:size=tiny", "--topology=v5e:4x4"
    )
    assert found["fits"] and found["chips"] == 16
    assert found["collectives"]["all-reduce"]["bytes"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "topology"), [("xl", "v5e:16x16"), ("xl", "v6e:16x16"), ("3b", "v5p:4x4x4")]
)
def test_the_sizes_for_pods_fit(tmp_path, size, topology):
    flags = (f"--config=configs/flow.py:size={size}", f"--topology={topology}")
    found, _ = for_tpus(tmp_path / "pod.json", *flags, "--batch_per_chip=8")
    assert found["fits"]
    assert found["mesh"]["fsdp"] == 16
