"""What the README and the documents tell people to type works, in order, from a fresh clone."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmgen_jax import config as configs
from mmgen_jax.data.builders.emoji import CLDR, EMOJI_TEST, FONT
from tests import readme
from tests.launching import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = readme.commands()
LAUNCHED = [command for command in COMMANDS if command.script]
# So that each of them takes seconds; what comes later on a command line holds.
SHORTENED = {
    "launch/quickstart.py": ("--config.train.steps=4", "--count=8"),
    "launch/train.py": (
        *("--config.train.steps=4", "--config.checkpoint.every=2", "--config.train.sample_every=4"),
        *("--config.train.batch_size=16", "--config.eval.count=4"),
        "--config.modalities.text.fit_examples=500",
    ),
    "launch/train_judge.py": ("--steps=20",),
    "launch/train_word2vec.py": ("--epochs=1",),
    "launch/evaluate.py": ("--count=16",),
    "launch/compare.py": ("--count=8",),
    "launch/benchmark.py": ("--steps=2",),
    "launch/sample.py": ("--count=2",),
}
# What a model of four steps is rightly told.
UNLEARNED = "no caption in 'en' gives its own picture: nothing to compare with"


def test_blocks_hold_commands_and_what_is_known_to_be_none():
    unknown = [
        f"{page}:{line}: {text}"
        for page in readme.PAGES
        for line, text, _ in readme.blocks(page)
        if not text.startswith((*readme.STARTS, *readme.NO_COMMANDS))
    ]
    assert unknown == []
    assert len(LAUNCHED) >= 40


def test_what_a_command_reads_an_earlier_one_made():
    made, missing = set(), []
    for command in COMMANDS:
        for path in command.reads():
            before = {path, *map(str, Path(path).parents)}
            own = command.needs and path in command.needs
            if not (before & made or own or path.startswith("/shared/")):
                missing.append(f"{command.page}:{command.line}: {path}")
        made |= command.makes()
    assert missing == []


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """How each launcher's command line ended, validated in one process, in a folder of its own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    made = {path for command in COMMANDS for path in command.makes()}
    for name, argument in (("vqvae", ""), ("kl", "quantizer=kl"), ("kl_emoji", "quantizer=kl")):
        assert f"runs/{name}" in made
        (folder / "runs" / name).mkdir(parents=True)
        spec = importlib.util.spec_from_file_location("vqvae", ROOT / "configs/vqvae.py")
        recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipe)
        configs.save(recipe.get_config(argument), folder / "runs" / name / "config.json")
    # The folder that others read is really made; other data sets would take long.
    example = next(c for c in LAUNCHED if "--dataset=example" in c.words)
    lines = [[c.script, *c.words[2:]] for c in LAUNCHED if c.script != "launch/build_dataset.py"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.readme"],
        input=json.dumps([[example.script, *example.words[2:]], *lines]),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts[0][0] == "worked", verdicts[0]
    return list(zip(lines, verdicts[1:], strict=True))


def test_every_command_line_is_valid(ends):
    """Only data that must be built first, at length or elsewhere, may be found missing."""
    remedy = re.compile(r"make it: (python launch/build_dataset\.py|tfds build)")
    wrong = [(line, end) for line, end in ends if end[0] != "worked" and not remedy.search(end[1])]
    assert wrong == []
    assert sum(end[0] == "worked" for _, end in ends) >= 25


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c.words[0] == "sbatch" or c.words[0].startswith("launch/")],
    ids=lambda command: command.words[0],
)
def test_what_is_for_pods_and_clusters_shows_its_commands(command):
    words = list(command.words)
    if words[0] == "sbatch":
        words = [word for word in words[1:] if not word.startswith("--nodes")]
    words.insert(1, "--dry-run")
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "launch/train.py" in done.stdout


@pytest.mark.parametrize("target", re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))
def test_make_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", re.findall(r"[^!]\[.*?\]\((docs/.*?)\)", README))
def test_page(page):
    assert (ROOT / page).is_file()


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_picture(picture):
    assert (Path(ROOT) / picture).is_file()


@pytest.mark.slow
@pytest.mark.skipif(
    not all(Path(path).exists() for path in (FONT, CLDR, EMOJI_TEST)),
    reason="needs Debian packages fonts-noto-color-emoji, unicode-cldr-core, unicode-data",
)
def test_every_command_runs_in_order_in_a_fresh_clone(tmp_path):
    """About half an hour on two cores: everything as written, but for few steps and pictures."""
    wrong = []
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    write_digits(clone / "raw_digits")
    for command in COMMANDS:
        if command.words[:2] == ("make", "quickstart"):
            words = ["python", "launch/quickstart.py", "--workdir=runs/quickstart"]
        elif command.script and (not command.needs or "raw_digits" in command.needs):
            words = list(command.words)
        else:
            continue
        words[0] = sys.executable
        if words[1] == "launch/evaluate.py" and re.search(r"fid|kid", " ".join(words)):
            words.append("--count=160")  # more than the classifier's features
        elif words[1] in SHORTENED:
            words += SHORTENED[words[1]]
        done = subprocess.run(
            words,
            cwd=clone,
            env=os.environ | {"PYTHONPATH": str(clone), "XLA_FLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 2 and UNLEARNED in done.stderr:
            continue
        if done.returncode:
            wrong.append(f"{command.page}:{command.line}: {words}\n{done.stderr[-3_000:]}")
        for path in command.makes():
            if not (clone / path).exists():
                wrong.append(f"{command.page}:{command.line}: {path} is not there")
    assert not wrong, "\n".join(wrong)
    shutil.rmtree(clone)


def write_digits(folder):
    """Stand-ins for MNIST and its recordings: bars whose number is the digit, and tones."""
    (folder / "recordings").mkdir(parents=True)
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 400), ("test", 200)):
        digits = np.arange(count) % 10
        pictures = rng.integers(0, 30, (count, 28, 28), np.uint8)
        for picture, digit in zip(pictures, digits, strict=True):
            picture[4:24, 2 : 3 + 2 * int(digit) : 2] = 220
        arrays |= {f"x_{split}": pictures, f"y_{split}": digits.astype(np.uint8)}
    np.savez(folder / "mnist.npz", **arrays)
    clock = np.arange(4_000) / 8_000
    for digit in range(10):
        for take in (0, 7):
            tone = 0.5 * np.sin(2 * np.pi * (200 + 100 * digit + take) * clock)
            soundfile.write(folder / "recordings" / f"{digit}_ada_{take}.wav", tone, 8_000)
    words = {language: [f"{language} {d}" for d in range(10)] for language in ("de", "en", "ja")}
    (folder / "number_words.json").write_text(json.dumps(words), encoding="utf-8")
