"""The launcher of latents: what lies between pictures, what they are mixed of, what is refused."""

import numpy as np
import pytest
from PIL import Image

from mmgen_jax.training import loop
from tests.launching import assert_bad_input, launch
from tests.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    """The directory of a run of a family with styles, which takes guidance 0 and 1 alone."""
    workdir = tmp_path_factory.mktemp("styles")
    config = tiny_config(("label",))
    config.generator.name = "stylegan"
    config.train.steps, config.train.ema_decay = 2, 0.0
    # What is not drawn with is left out: it compiles long.
    config.generator.stylegan.update(patch_size=2, path_weight=0.0, augment="none")
    loop.train(config, workdir)
    return workdir


def draw(workdir, out, *flags):
    return launch("launch/latents.py", f"--workdir={workdir}", f"--out={out}", *flags)


@pytest.mark.parametrize("flags", [("--label=top",), ("--grid=mixing", "--layers=0-1")])
def test_a_grid_of_pictures(styles, tmp_path, flags):
    out = tmp_path / "grid.png"
    done = draw(styles, out, "--rows=2", "--columns=3", *flags)
    assert (done.code, done.err) == (0, "")
    kind = "mixing" if "--grid=mixing" in flags else "interpolation"
    assert done.out == f"{out}: {kind} of step 2\n"
    pixels = np.asarray(Image.open(out))
    assert pixels.ndim == 3 and len(np.unique(pixels)) > 10


def test_another_seed_draws_others(styles, tmp_path):
    pictures = []
    for seed in (0, 1):
        out = tmp_path / f"{seed}.png"
        assert draw(styles, out, "--rows=1", "--columns=2", f"--seed={seed}").code == 0
        pictures.append(out.read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--grid=mixing", "--layers=2-9"), ("layers 2-9", "0-3")),
        (("--layers=all",), ("--layers=all", "number")),
        (("--text=word",), ("'text'", "label")),
        (("--truncation=2",), ("truncation", "2")),
        (("--columns=1",), ("columns", "1")),
        (("--rows=1000000000",), ("rows", "1000")),
        (("--rows=1000", "--columns=1000"), ("--rows", "--columns", "at most")),
        (("--layers=0-99999999999999999999",), ("--layers", "number")),
        (("--out=grid.jpg",), ("--out=grid.jpg", ".png")),
    ],
)
def test_bad_input(styles, tmp_path, flags, words):
    assert_bad_input(draw(styles, tmp_path / "grid.png", *flags), *words)


def test_a_family_without_latents(trained, tmp_path):
    assert_bad_input(draw(trained, tmp_path / "grid.png"), "'flow'", "no latents")
    flags = f"--workdir={trained}", f"--out={tmp_path / 'out.png'}", "--truncation=0.5"
    assert_bad_input(launch("launch/sample.py", *flags), "--truncation", "'flow'", "solver")


def test_such_a_family_samples_by_the_same_launcher(styles, tmp_path):
    """Truncated or not; a guidance weight that means nothing there is refused."""
    pictures = []
    for truncation in (0.0, 1.0):
        out = tmp_path / f"{truncation}.png"
        flags = f"--workdir={styles}", f"--out={out}", "--count=4", f"--truncation={truncation}"
        done = launch("launch/sample.py", *flags, "--label=top")
        assert (done.code, done.err) == (0, "")
        pictures.append(out.read_bytes())
    assert pictures[0] != pictures[1]
    flags = f"--workdir={styles}", f"--out={tmp_path / 'out.png'}", "--label=top"
    done = launch("launch/sample.py", *flags, "--guidance=label=2")
    assert_bad_input(done, "--guidance: label = 2", "'stylegan'", "0, 1")
    assert launch("launch/sample.py", *flags, "--guidance=label=0").code == 0
    for flag in ("--steps=4", "--temperature=0.5"):
        done = launch("launch/sample.py", *flags, flag)
        assert_bad_input(done, flag.partition("=")[0], "'stylegan'", "truncation")
