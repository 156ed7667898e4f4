"""The sampling launcher: any subset of the modalities, and what it refuses."""

import os

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen_jax.media import gallery
from mmgen_jax.sampling.inputs import conditions, describe
from mmgen_jax.training import run
from tests.launching import assert_bad_input, launch, python

COUNT = 3

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Modality -> what its flag may be given."""
    folder = tmp_path_factory.mktemp("inputs")
    tone = 0.5 * np.sin(np.arange(8_000) * 0.3)
    soundfile.write(folder / "tone.wav", tone, 22_050)
    Image.new("RGBA", (40, 30), "red").save(folder / "red.png")
    return {
        "text": "a red circle",
        "label": "top left",
        "audio": str(folder / "tone.wav"),
        "image": str(folder / "red.png"),
    }


def sample(workdir, out, given, *more):
    flags = [f"--{name}={value}" for name, value in given.items()]
    return launch(
        "launch/sample.py",
        f"--workdir={workdir}",
        f"--out={out}",
        f"--count={COUNT}",
        *flags,
        *more,
    )


def sheet_size(workdir, given):
    """Size of a gallery of COUNT pictures with the captions that these inputs need."""
    model = run.load(workdir).model
    raws = {name: model.modalities[name].parse(value) for name, value in given.items()}
    captions, thumbnails = describe(model, *conditions(model, raws, COUNT))
    blank = np.zeros((COUNT, *model.shared.image_shape, 3), np.uint8)
    return gallery.grid(blank, captions, thumbnails=thumbnails).shape


@pytest.mark.parametrize(
    "names", ["", "text", "label", "audio", "image", "text label", "text label audio image"]
)
def test_any_subset_is_a_picture(trained, inputs, tmp_path, names):
    given = {name: inputs[name] for name in names.split()}
    done = sample(trained, tmp_path / "out.png", given)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{tmp_path / 'out.png'}: {COUNT} samples of step 2\n"
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture)
    assert picture.mode == "RGB" and picture.format == "PNG"
    assert pixels.shape == sheet_size(trained, given)
    assert len(np.unique(pixels)) > 10


def test_the_same_seed_draws_the_same_picture(trained, inputs, tmp_path):
    """In another process too, whatever the batches."""
    given = {"text": inputs["text"]}
    pictures = [tmp_path / f"{name}.png" for name in ("here", "again", "other", "there", "batched")]
    for picture, seed in zip(pictures, (7, 7, 8), strict=False):
        assert sample(trained, picture, given, f"--seed={seed}").code == 0
    flags = (f"--workdir={trained}", f"--count={COUNT}", f"--text={given['text']}", "--seed=7")
    done = python("launch/sample.py", *flags, f"--out={pictures[3]}")
    assert (done.code, done.err) == (0, "")
    assert sample(trained, pictures[4], given, "--seed=7", "--batch_size=2").code == 0
    here, again, other, there = (picture.read_bytes() for picture in pictures[:4])
    assert here == again == there
    assert here != other
    ours, theirs = (np.asarray(Image.open(pictures[k]), int) for k in (0, 4))
    assert np.abs(ours - theirs).max() <= 1  # other batches are other programs


def test_guidance_and_steps_change_the_picture(trained, inputs, tmp_path):
    given = {"text": inputs["text"], "label": inputs["label"]}
    drawn = set()
    for more in ((), ("--guidance=text=3,label=1.5",), ("--steps=5",)):
        assert sample(trained, tmp_path / "out.png", given, *more).code == 0
        drawn.add((tmp_path / "out.png").read_bytes())
    assert len(drawn) == 3


def test_a_part_of_a_picture_is_redrawn(trained, inputs, tmp_path):
    pictures = {name: tmp_path / f"{name}.png" for name in ("all", "half", "drawn")}
    Image.new("L", (40, 30), 255).save(tmp_path / "white.png")
    half = Image.new("L", (40, 30))
    half.paste(255, (20, 0, 40, 30))
    half.save(tmp_path / "right.png")
    for name, mask in (("all", "white"), ("half", "right")):
        more = (f"--inpaint={inputs['image']}", f"--mask={tmp_path / mask}.png")
        assert sample(trained, pictures[name], {}, *more).code == 0
    assert sample(trained, pictures["drawn"], {}).code == 0
    whole, half, drawn = (np.asarray(Image.open(picture), int) for picture in pictures.values())
    np.testing.assert_array_equal(whole, drawn)
    red = (half == (255, 0, 0)).all(-1)
    drawn_red = (drawn == (255, 0, 0)).all(-1)
    assert red.sum() > 3 * 16 * 8 > 3 * drawn_red.sum()


def test_a_modality_without_a_flag_of_its_own(trained, tmp_path):
    assert sample(trained, tmp_path / "flag.png", {"label": "top"}).code == 0
    assert sample(trained, tmp_path / "condition.png", {}, "--condition=label=top").code == 0
    flag, condition = ((tmp_path / f"{n}.png").read_bytes() for n in ("flag", "condition"))
    assert flag == condition


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--label=nowhere",), ("label", "'nowhere'", "top left", "centre")),
        (("--text= ",), ("--text is empty", "leave it out")),
        (("--text=",), ("--text is empty", "leave it out")),
        (("--audio=",), ("--audio is empty", "leave it out")),
        (("--text=a", "--text=b"), ("--text is given 2 times", "once")),
        (("--text=a", "--condition=text=b"), ("--text is given 2 times", "once")),
        (("--condition=text=a", "--condition=text=b"), ("--text is given 2 times", "once")),
        (("--guidance=text=3,text=5",), ("--guidance", "'text' twice")),
        (("--count=1000000000",), ("count", "100000")),
        (("--count=100000",), ("--count", "at most")),
        (("--steps=1000000000",), ("steps", "10000")),
        (("--candidates=1000000000",), ("candidates", "1000")),
        (("--seed=5000000000",), ("seed", "4294967295")),
        (("--temperature=nan",), ("temperature", "finite")),
        (("--audio=pipe",), ("pipe", "not a file")),
        (("--image=/dev/zero",), ("/dev/zero", "a device, not a file")),
        (("--inpaint=pipe", "--mask=wide.png"), ("pipe", "not a file")),
        (("--audio=text.txt",), ("sound", "text.txt", "wav")),
        (("--audio=missing.wav",), ("sound", "missing.wav")),
        (("--image=text.txt",), ("text.txt", "no picture", "PNG")),
        (("--image=missing.png",), ("picture", "missing.png")),
        (("--condition=smell=sweet",), ("'smell'", "text, label, audio, image")),
        (("--condition=sweet",), ("--condition=sweet", "INPUT=VALUE")),
        (("--inpaint=text.txt", "--mask=wide.png"), ("text.txt", "no picture")),
        (("--inpaint=wide.png",), ("--inpaint and --mask", "both")),
        (("--mask=wide.png",), ("--inpaint and --mask", "both")),
        (("--inpaint=wide.png", "--mask=high.png"), ("--mask=high.png", "4 x 9", "9 x 4")),
        (("--guidance=text=much",), ("--guidance", "'much'", "number")),
        (("--guidance=text",), ("--guidance", "number")),
        (("--guidance=3",), ("'3' says no modality", "--guidance=text=3,label=3,audio=3,image=3")),
        (("--guidance=text=2,text=3",), ("--guidance", "'text' twice")),
        (("--guidance=text=1e38",), ("--guidance: text = 1e+38", "at most 100")),
        (("--seed=5000000000",), ("--seed", "5000000000", "4294967295")),
        (("--guidance=text=-1",), ("--guidance", "-1")),
        (("--guidance=text=inf",), ("--guidance", "inf")),
        (("--guidance=smell=1",), ("--guidance", "'smell'", "text, label, audio, image")),
        (("--count=0",), ("count", "0")),
        (("--steps=1",), ("steps", "1")),
        (("--count=few",), ("count", "few")),
        (("--out=picture.jpg",), ("--out=picture.jpg", ".png")),
        (("--out=nowhere/picture.png",), ("--out=nowhere/picture.png", "folder nowhere")),
        (("--workdir=nowhere",), ("nowhere", "no run", "--workdir")),
        (("more",), ("'more'",)),
    ],
)
def test_bad_input(trained, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no sound, no picture", encoding="utf-8")
    Image.new("RGB", (9, 4)).save("wide.png")
    os.mkfifo("pipe")
    Image.new("RGB", (4, 9)).save("high.png")
    done = launch("launch/sample.py", f"--workdir={trained}", "--out=picture.png", *flags)
    assert_bad_input(done, *words)
    assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize("flag", ("workdir", "out"))
def test_missing_flags(trained, tmp_path, flag):
    flags = {"workdir": f"--workdir={trained}", "out": f"--out={tmp_path / 'out.png'}"}
    del flags[flag]
    assert_bad_input(launch("launch/sample.py", *flags.values()), f"--{flag}")


def test_what_is_cut_of_an_input_is_said(trained, tmp_path):
    """A caption of more tokens, and a sound of more seconds, than the run is fed."""
    sound = tmp_path / "long.wav"
    soundfile.write(sound, 0.5 * np.sin(np.arange(32_000) * 0.3), 16_000)
    given = {"text": "a red circle and " * 9 + "a blue square", "audio": str(sound)}
    done = sample(trained, tmp_path / "out.png", given)
    text, audio, last = done.out.splitlines()
    assert text.startswith('text: cut after "...a red circle') and "12 of " in text
    assert text.endswith("tokens are fed (config.modalities.text.max_tokens)")
    assert audio == (
        "audio: cut after 0.5 s: 0.5 of 2 seconds are fed (config.modalities.audio.seconds)"
    )
    assert last.startswith(str(tmp_path / "out.png"))
    short = sample(trained, tmp_path / "out.png", {"text": "a red circle"})
    assert len(short.out.splitlines()) == 1
