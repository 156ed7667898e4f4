"""The run that flags and damage are tried on, trained once; and files that are good."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from tools.fuzzing.cases import ROOT

RECIPE = ROOT / "tools/fuzzing/recipe.py"
RUN, PICTURES = "run", "pictures"


def prepare(shared: Path) -> None:
    """Trains the run and writes the files, if nobody has; keeps what each checkpoint draws."""
    if (shared / "drawn.json").exists():
        return
    from mmgen_jax.training import loop
    from tools.fuzzing import recipe

    if not (shared / PICTURES).exists():
        folder(shared / PICTURES)
    loop.train(recipe.get_config(), shared / RUN)
    steps = sorted(int(path.name) for path in (shared / RUN / "checkpoints").iterdir())
    drawn = {step: digest(shared / RUN, step)[1] for step in steps}
    (shared / "drawn.json").write_text(json.dumps(drawn), encoding="utf-8")


def digest(workdir: Path, step: int | None = None) -> tuple[int, str]:
    """(the step that was loaded, a digest of what it draws)."""
    from mmgen_jax.sampling.inputs import conditions, describe, parse
    from mmgen_jax.sampling.sampler import Sampler
    from mmgen_jax.training import run

    trained = run.load(workdir, step)
    model = trained.model
    given = {"text": "a red circle", "label": "top left"}
    values, has = conditions(model, parse(model, given), 2)
    weights = {name: trained.config.modalities[name].guidance for name in model.modalities}
    sampler = Sampler(model, run.sample_options(trained.config), 2, trained.mesh)
    images = sampler(trained.params, trained.state, values, has, weights, 0, None)
    said = describe(model, values, has)[0]
    return trained.step, hashlib.sha256(
        np.asarray(images).tobytes() + str(said).encode()
    ).hexdigest()


def folder(place: Path) -> None:
    """A folder of pictures and sounds, as people have them, and other files that flags may name."""
    place.mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    for number in range(24):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
        line: dict[str, Any] = {"file_name": f"{number}.png", "text": f"picture {number}"}
        lines.append(line | {"label": ("cat", "dog")[number % 2]})
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)
    soundfile.write(place / "tone.wav", tone, 16_000)
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(place / "mask.png")
    text = "\n".join(map(json.dumps, lines)) + "\n"
    (place / "metadata.jsonl").write_text(text, encoding="utf-8")
