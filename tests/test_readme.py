"""What the README and the documents tell people to type must exist."""

import re
import shlex
from pathlib import Path

import pytest

from mmgen_jax import config as configs
from tests.launching import ROOT, launch

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = re.findall(r"^    python (launch/(?:[^\\\n]|\\\n)+)", README + DOCS, re.MULTILINE)


def test_there_are_commands():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_command(command, tokenizers):
    script, *arguments = shlex.split(command.replace("\\\n", " "))
    # Not --help: the type checks of tests hide from absl whose own the flags of `cli` are.
    described = launch(script, "--helpfull")
    assert described.code == 0
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        group, _, key = name.partition(".")
        assert re.search(rf"--(\[no\])?{group}\b", described.out), name
        if key:
            assert key in configs.KEYS, name
        elif name == "config":
            check_recipe(value)


def check_recipe(value):
    file, _, argument = value.partition(":")
    scope = {"__name__": "recipe"}
    exec(compile((ROOT / file).read_text(encoding="utf-8"), file, "exec"), scope)
    config = scope["get_config"](argument)
    if config.data.name == "shapes":  # other data may not have been built here
        configs.validate(config)


@pytest.mark.parametrize("target", re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))
def test_make_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", re.findall(r"[^!]\[.*?\]\((docs/.*?)\)", README))
def test_page(page):
    assert (ROOT / page).is_file()


@pytest.mark.parametrize("picture", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_picture(picture):
    assert (Path(ROOT) / picture).is_file()
