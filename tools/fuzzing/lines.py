"""Command lines: recipes, their arguments, overrides of config keys, and flags, up to validation.

They run in processes that have not imported jax. That a launcher has validated what it was given
shows in that it then imports jax, which ends the case (`guard`).
"""

import random
from pathlib import Path
from typing import Any

from mmgen_jax.config import all_keys
from tools.fuzzing import values
from tools.fuzzing.cases import ROOT, Case, Kind, launcher_case

# Launchers that take long before they come to jax, or never do, come seldom, and with little work.
SELDOM = {"build_dataset.py": 0.2, "train_word2vec.py": 0.05, "benchmark_scores.py": 0.1}
LITTLE = {
    "benchmark_scores.py": ("--count=4", "--features=4"),
    "train_word2vec.py": ("--epochs=1", "--dimensions=4"),
}
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "data": ("shapes", "emoji", "digits", "folder", "tfds", "cifar10", "", "x", "shapes "),
    "modalities": ("text", "label", "text+label", "text+label+audio+image", "", "+", "video", "é"),
    "size": ("tiny", "small", "base", "large", "xl", "3b", "dit_xl_2", "", "huge", "TINY"),
    "languages": ("", "en", "en+de", "all", "xx", "+"),
    "latents": ("", "run", "folder", "/dev/zero", "a\nb"),
    "tokenizer": ("", "run", "missing"),
    "quantizer": ("fsq", "ema", "kl", "", "x"),
    "objective": ("r3gan", "gan_cls", ""),
    "architecture": ("mmdit", "dit", "", "unet"),
    "": ("", "=", "x"),
}
# Values as a person would choose them, so that some command lines come further.
SENSIBLE = {
    "data": ("shapes",) * 8,
    "modalities": ("text", "label", "text+label", "audio"),
    "size": ("tiny",),
}


def recipe(draw: random.Random) -> str:
    """A recipe with an argument, mostly one that works."""
    name = draw.choice(("flow", "flow", "gan", "stylegan", "autoencoder", "vae", "vqvae", "dalle"))
    chosen: dict[str, str] = {}
    for key in draw.sample(sorted(SENSIBLE), draw.randint(0, 3)):
        chosen[key] = draw.choice(SENSIBLE[key])
    if draw.random() < 0.4:
        key = draw.choice(sorted(ARGUMENTS))
        chosen[key] = draw.choice(ARGUMENTS[key])
    file = ROOT / f"configs/{name}.py"
    if draw.random() < 0.03:
        file = Path(draw.choice(("missing.py", "folder", "empty.py", "broken.py", "/dev/null", "")))
    parts = [f"{key}={value}" if key or value else "" for key, value in chosen.items()]
    return f"{file}" + (":" + ",".join(parts) if parts or draw.random() < 0.1 else "")


def overrides(draw: random.Random, most: int = 3) -> list[str]:
    """Flags that override config keys."""
    found = []
    for _ in range(draw.randint(0, most)):
        key = draw.choice(sorted(all_keys()))
        if draw.random() < 0.05:
            key = draw.choice((key + "s", key.rpartition(".")[0], key.upper(), "", "a.b.c", "é"))
        default = all_keys()[key].default if key in all_keys() else 1
        value = values.for_default(draw, default)
        found.append(f"--config.{key}={value}" if draw.random() < 0.97 else f"--config.{key}")
    return found


def arguments(draw: random.Random, script: str) -> list[str]:
    """A command line for a launcher: its flags, most of them given, some of them hostile."""
    found = list(LITTLE.get(script, ()))
    for flag in values.flags_of(script):
        if flag.name == "config":
            found += [f"--config={recipe(draw)}", *overrides(draw)]
        elif flag.name in ("workdir", "out", "topology", "workdirs", "references"):
            usual = SUFFIXED.get(script, "out.json") if flag.name == "out" else "run"
            good = "v5e:4x4" if flag.name == "topology" else usual
            value = values.for_flag(draw, flag) if draw.random() < 0.15 else good
            found.append(f"--{flag.name}={value}")
        elif draw.random() < 0.15:
            found.append(f"--{flag.name}={values.for_flag(draw, flag)}")
    if any(f.name == "config" for f in values.flags_of(script)) and draw.random() < 0.02:
        found = [flag for flag in found if not flag.startswith("--config=")]
    if draw.random() < 0.03:
        found.append(
            draw.choice(("--help", "--helpfull", "extra", "--x=1", "-", "--", "--no", "="))
        )
    if draw.random() < 0.05:
        draw.shuffle(found)
    if draw.random() < 0.03 and found:
        found.append(draw.choice(found))
    if script == "build_dataset.py":  # building what is there would take half a minute
        found += ["--font=missing.ttf"] if "--dataset=emoji" in found else []
    return [flag.replace("\0", "") for flag in found]  # no shell can hand over a NUL


SUFFIXED = {
    "sample.py": "out.png",
    "latents.py": "out.png",
    "inspect_data.py": "out.png",
    "train_judge.py": "out.safetensors",
    "train_word2vec.py": "out.txt",
    "encode_dataset.py": "latents",
    "build_dataset.py": "built",
    "benchmark_all.py": "out.md",
    "quality.py": "out.md",
    "scaling.py": "out.md",
}


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A command line, in a folder with a few files that it may name."""
    Path("folder").mkdir()
    Path("empty.py").touch()
    Path("broken.py").write_text("def get_config(:\n", encoding="utf-8")
    names = values.launchers()
    weights = [SELDOM[name] if name in SELDOM else 4 if name == "train.py" else 1 for name in names]
    script: Any = draw.choices(names, weights)[0]
    return launcher_case(script, arguments(draw, script), Path.cwd())


LINES = Kind(
    name="lines",
    modules=("mmgen_jax.cli", "mmgen_jax.data.shapes", "mmgen_jax.data.tfds.source"),
    prepare=lambda shared: None,
    make=make,
    seconds=20,
    cut=True,
)
