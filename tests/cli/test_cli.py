"""What all launchers share: exit codes, one line for bad input, and no jax before a good config."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.launching import ROOT, Done, assert_bad_input, launch, python

RECIPE = "--config=configs/flow.py"
TRAIN = (RECIPE, "--workdir=/nowhere/run")

# What train.py is given -> what its one line of complaint holds.
REFUSED = {
    "no flags": ((), ("--workdir and --config must be given; an example: python launch/train.py",)),
    "no --workdir": ((RECIPE,), ("--workdir must be given", "--workdir=runs/flow")),
    "no --config": (("--workdir=/nowhere/run",), ("--config must be given", "configs/flow.py")),
    "a comma in a recipe's argument": (
        (RECIPE + ":modalities=text,label", "--workdir=/nowhere/run"),
        ("'label' has no =", "modalities=text+label"),
    ),
    "a comma between names": (
        (*TRAIN, "--config.modalities.names=text,label"),
        ("config.modalities.names", "modalities=text+label"),
    ),
    "a path without a data set that reads one": (
        (*TRAIN, "--config.data.path=/tmp"),
        ("config.data.path = '/tmp'", "'shapes'", "data=folder"),
    ),
    "a path that no disk takes": ((RECIPE, "--workdir=" + 300 * "x"), ("xxx", "too long")),
    "stray argument": ((*TRAIN, "more"), ("'more'", "--name=value")),
    "unknown flag": ((*TRAIN, "--flag=1"), ("flag",)),
    "no such recipe": (
        ("--config=configs/none.py", "--workdir=/nowhere/run"),
        ("recipe", "configs/none.py"),
    ),
    "a recipe without its folder": (
        ("--config=flow.py:size=tiny", "--workdir=/nowhere/run"),
        ("flow.py", "did you mean --config=configs/flow.py?"),
    ),
    "a key without its prefix": (
        (*TRAIN, "--train.steps=60"),
        ("'train.steps'", "did you mean --config.train.steps?"),
    ),
    "no such recipe, overridden": (
        ("--config=configs/none.py", "--config.train.steps=3", "--workdir=/nowhere/run"),
        ("recipe", "configs/none.py"),
    ),
    "a folder as recipe": (("--config=configs", "--workdir=/nowhere/run"), ("recipe", "configs")),
    "unknown key": ((*TRAIN, "--config.foo=1"), ("config key foo", "nearest")),
    "misspelt key": ((*TRAIN, "--config.train.stepz=1"), ("train.stepz", "train.steps")),
    "a key within a key": ((*TRAIN, "--config.train.steps.x=1"), ("train.steps.x",)),
    "no number": ((*TRAIN, "--config.train.steps=many"), ("config.train.steps", "many")),
    "unknown argument": (
        (RECIPE + ":sise=tiny", "--workdir=/nowhere/run"),
        ("'sise=tiny'", "size=...", "data=...", "modalities=..."),
    ),
    "unknown size": (
        (RECIPE + ":size=huge", "--workdir=/nowhere/run"),
        ("size", "'huge'", "tiny", "small"),
    ),
    "unknown data": (
        (RECIPE + ":data=cats", "--workdir=/nowhere/run"),
        ("data", "'cats'", "shapes", "emoji"),
    ),
    "unknown modality": (
        (RECIPE + ":modalities=text+smell", "--workdir=/nowhere/run"),
        ("modality", "'smell'", "text", "label", "audio", "image"),
    ),
    "data that is not there": (
        (RECIPE + ":data=emoji", "--workdir=/nowhere/run", "--config.data.path=/nowhere/emoji"),
        ("/nowhere/emoji", "build_dataset.py"),
    ),
    "patch that does not divide": (
        (*TRAIN, "--config.generator.flow.patch_size=5"),
        ("config.generator.flow.patch_size", "5", "config.data.image_size", "divisors"),
    ),
    "parts that do not divide the batch": (
        (*TRAIN, "--config.train.batch_size=64", "--config.train.grad_accum_steps=3"),
        ("config.train.grad_accum_steps", "3", "config.train.batch_size", "64", "divisors"),
    ),
    "out of range": (
        (*TRAIN, "--config.train.ema_decay=1.5"),
        ("config.train.ema_decay", "1.5", "0 to 1"),
    ),
}

REFUSE_ALL = """
import json, sys
from tests.launching import launch
cases = json.loads(sys.argv[1])
done = {name: launch("launch/train.py", *flags) for name, flags in cases.items()}
print(json.dumps([done, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def refusals():
    """(how each case ended, the modules imported by then)."""
    cases = {name: given for name, (given, _) in REFUSED.items()}
    done = python("-c", REFUSE_ALL, json.dumps(cases))
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(refusals, case):
    assert_bad_input(Done(*refusals[0][case]), *REFUSED[case][1])


def test_a_bad_config_is_refused_before_jax_is_imported(refusals):
    modules = refusals[1]
    assert "mmgen_jax.config" in modules and "mmgen_jax.data.shapes" in modules
    assert not {"jax", "flax", "optax", "grain"} & set(modules)


HELP = {
    "train": ("config", "workdir", "accept_config_change"),
    "sample": ("workdir", "text", "label", "audio", "image", "guidance", "out"),
    "inspect_data": ("config", "count", "out"),
}


@pytest.mark.parametrize("name", HELP)
def test_help_says_what_it_does_and_lists_its_flags(name):
    done = python("-X", "importtime", f"launch/{name}.py", "--help")
    assert done.code == 0
    assert f"python launch/{name}.py" in done.out
    for flag in HELP[name]:
        assert re.search(rf"^ *--(\[no\])?{flag}:", done.out, re.MULTILINE), flag
    assert "| jax" not in done.err  # the modules that were imported


def test_devices_that_are_not_there_are_one_line():
    """Jax looks for them when the config is known to be good."""
    train = (RECIPE, "--workdir=/nowhere/run")
    done = python("launch/train.py", *train, JAX_PLATFORMS="nonsense")
    assert_bad_input(done, "JAX_PLATFORMS=nonsense", "no such device", "allowed: cpu, or unset")


LAUNCHER = """
from absl import flags
from mmgen_jax import cli
from mmgen_jax.errors import InputError

CHOICES = ["nothing", "refuse", "fail", "exit", "pipe"]
WHAT = flags.DEFINE_enum("what", "nothing", CHOICES, "What to do.")


def main():
    print("main")
    match WHAT.value:
        case "refuse":
            raise InputError("folder  with two spaces\\n  line two")
        case "fail":
            raise RuntimeError("broken")
        case "exit":
            raise SystemExit(143)
        case "pipe":
            raise BrokenPipeError


cli.run(main)
"""


@pytest.fixture
def launcher(tmp_path):
    path = tmp_path / "launcher.py"
    path.write_text(LAUNCHER, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("what", "code", "err"),
    [
        ("nothing", 0, ""),
        ("refuse", 2, "error: folder  with two spaces line two\n"),
        ("fail", 1, "Traceback\nRuntimeError: broken\n"),
        ("exit", 143, ""),
        ("pipe", 0, ""),  # whoever reads has enough, as head does
    ],
)
def test_exit_codes(launcher, what, code, err):
    assert launch(launcher, f"--what={what}") == Done(code, "main\n", err)


def test_whom_nobody_listens_to_ends_in_silence(launcher):
    """A broken pipe still kills nobody, as Python has it: the process may be somebody else's."""
    for what in ("nothing", "pipe"):
        assert launch(launcher, f"--what={what}").code == 0
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, launcher, f"--what={what}"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_failure_keeps_its_traceback(launcher):
    done = python(launcher, "--what=fail")
    assert done.code == 1
    assert "Traceback" in done.err and "RuntimeError: broken" in done.err


def test_a_bad_flag_never_reaches_main(launcher):
    assert_bad_input(launch(launcher, "--what=else"), "what", "else", "refuse")


def test_a_recipe_may_explain_itself(tmp_path):
    """What a recipe raises as InputError is said as it is; other errors are named."""
    recipe = tmp_path / "recipe.py"
    for error, line in (
        ("InputError('no such thing')", "error: no such thing\n"),
        (
            "KeyError('gone')",
            f"error: the recipe of --config failed: KeyError: 'gone' ({recipe}, line 5)\n",
        ),
    ):
        recipe.write_text(
            "from mmgen_jax.errors import InputError\n\n\ndef get_config():\n    raise " + error,
            encoding="utf-8",
        )
        done = launch("launch/train.py", f"--config={recipe}", "--workdir=/nowhere/run")
        assert (done.code, done.err) == (2, line)
