"""Whole commands, each with one or two malformed flags: numbers, paths, devices, pipes."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from mmgen_jax.config import all_keys
from tools.fuzzing import trained, values
from tools.fuzzing.cases import ROOT, Case, Kind, judge_exit, launcher_case

# Commands that work, quickly, in the folder that `furnish` makes.
RECIPE = f"--config={trained.RECIPE}"
FOLDER = (f"--config={trained.RECIPE}:text+label", "--config.data.name=folder")
IN_FOLDER = (*FOLDER, "--config.data.path=pictures")
COMMANDS: dict[str, tuple[str, ...]] = {
    "sample.py": ("--workdir=run", "--count=2", "--text=a red circle", "--out=out.png"),
    "latents.py": ("--workdir=run", "--rows=1", "--columns=2", "--out=out.png"),
    "evaluate.py": ("--workdir=run", "--count=2", "--metrics=satisfaction", "--out=out.json"),
    "compare.py": ("--workdirs=run", "--count=2", "--metrics=satisfaction", "--out=out.json"),
    "inspect_data.py": (*IN_FOLDER, "--count=4", "--records=8", "--out=out.png"),
    "train.py": (*IN_FOLDER, "--config.train.steps=2", "--workdir=new"),
    "benchmark.py": (RECIPE, "--analytic", "--out=out.json"),
    "train_judge.py": (*IN_FOLDER, "--steps=2", "--out=judge.safetensors"),
    "train_word2vec.py": (*IN_FOLDER, "--epochs=1", "--dimensions=4", "--out=words.txt"),
    "build_dataset.py": ("--dataset=folder", "--raw=pictures", "--out=built", "--image_size=16"),
    "encode_dataset.py": (RECIPE, "--out=latents"),
}
WEIGHTS = {"sample.py": 6, "evaluate.py": 3, "inspect_data.py": 3, "train.py": 4, "latents.py": 2}
SCRIPTS: dict[str, tuple[str, ...]] = {
    "tpu_pod.sh": ("--name=pod", "--zone=us-west4-a", "--workers=2", "--dry-run"),
    "slurm.sbatch": ("--dry-run",),
    "local.sh": ("2",),
}
PATHS = (
    *("missing", "missing/out.png", "folder", "folder/", "empty", "pipe", "/dev/zero", "/dev/full"),
    *(
        "/dev/null",
        "/dev/stdin",
        "/dev/tty",
        "loop",
        "dangling",
        "locked",
        "",
        ".",
        "/",
        "~nobody/x",
    ),
    *(
        "par[2026]",
        "par[2026]/a.png",
        "a'b.png",
        'a"b.png',
        "a\nb.png",
        "a b.png",
        "*.png",
        "-x.png",
    ),
    *(
        "run",
        "run/config.json",
        "run/checkpoints",
        "run/assets/text.json",
        "pictures/0.png",
        "é.png",
    ),
    *(
        "pictures/tone.wav",
        "pictures/metadata.jsonl",
        "noise",
        "x" * 300 + ".png",
        "run/metrics.jsonl",
    ),
    *("a" + "/a" * 3_000, "/proc/self/mem", "/dev/fd/0", "http://127.0.0.1/x.png", "gs://bucket/x"),
)
COUNTS = (
    "0",
    "-1",
    "1e20",
    "1000000000",
    "99999999999",
    "9" * 40,
    "nan",
    "",
    "²",
    "٣",
    "1.5",
    "1,2",
)


def furnish(shared: Path) -> None:
    """Fills the working folder with what flags may name, good and bad."""
    shutil.copytree(shared / trained.RUN, "run")
    shutil.copytree(shared / trained.PICTURES, "pictures")
    Path("folder").mkdir()
    Path("empty").touch()
    Path("noise").write_bytes(random.Random(0).randbytes(5_000))
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    Path("locked").mkdir(mode=0o000)
    Path("par[2026]").mkdir()
    for name in ("par[2026]/a.png", "a'b.png", 'a"b.png', "a\nb.png", "a b.png", "-x.png", "é.png"):
        shutil.copy("pictures/0.png", name)


def hostile(draw: random.Random, flag: values.Flag) -> str:
    """A malformed value."""
    if flag.name.startswith(("out", "work", "image", "mask", "inpaint", "audio", "weights", "raw")):
        return draw.choice(PATHS)
    if flag.kind == "integer":
        return draw.choice(COUNTS)
    if flag.name in (
        "font",
        "reference",
        "references",
        "profile",
        "cldr",
        "emoji_test",
        "workdirs",
    ):
        return draw.choice(PATHS)
    if flag.name in ("guidance", "condition"):
        many = ("text=nan", "text=inf", "text=1e38", "text=-1", "3", "text", "=", "text=1,text=2")
        return draw.choice((*many, "audio=pipe", "audio=/dev/zero", "label=", "text=", "é=1", ",,"))
    return values.for_flag(draw, flag)


def changed(draw: random.Random, script: str) -> list[str]:
    """A command that works, but for a flag or two."""
    arguments = list(COMMANDS[script])
    flags = [flag for flag in values.flags_of(script) if flag.name != "config"]
    with_paths = ["data.path", "modalities.text.encoder_path", "train.init_from", "tokenizer.run"]
    for _ in range(draw.choice((1, 1, 2))):
        if any(a.startswith("--config=") for a in arguments) and draw.random() < 0.4:
            key = (
                draw.choice(with_paths) if draw.random() < 0.6 else draw.choice(sorted(all_keys()))
            )
            value = values.for_default(draw, all_keys()[key].default)
            value = draw.choice(PATHS) if key in with_paths else value
            name, new = f"--config.{key}", f"--config.{key}={value}"
        else:
            flag = draw.choice(flags)
            name, new = f"--{flag.name}", f"--{flag.name}={hostile(draw, flag)}"
        doubled = draw.random() < 0.05
        kept = [a for a in arguments if doubled or a.partition("=")[0] != name]
        arguments = [*kept, new]
    return [argument.replace("\0", "") for argument in arguments]


def script_case(draw: random.Random) -> Case:
    """A shell script's dry run with a malformed option."""
    script = draw.choice(sorted(SCRIPTS))
    options = list(SCRIPTS[script])
    names = (
        "--workers",
        "--restarts",
        "--name",
        "--zone",
        "--type",
        "--launcher",
        "--local",
        "--x",
    )
    value = draw.choice((*COUNTS, *values.TEXT[:30]))
    if script == "local.sh":
        options = [value]
    elif script == "tpu_pod.sh":
        options.insert(draw.randint(0, len(options)), f"{draw.choice(names)}={value}")
        options.append("--")
    else:
        # After --dry-run: what is no option ends them, and would start the real thing.
        options.append(f"--local={value}" if draw.random() < 0.5 else value)
    options += [RECIPE, "--workdir=new"]

    def run() -> None:
        command = ["bash", str(ROOT / "launch" / script), *options]
        environment = os.environ | {"DRY_RUN": "1"}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        judge_exit(done.returncode, done.stderr.decode(errors="replace"))

    return Case(f"DRY_RUN=1 launch/{script} " + " ".join(map(repr, options)), run)


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A command, in a folder of its own with all that it may name."""
    furnish(shared)
    if draw.random() < 0.1:
        return script_case(draw)
    scripts = sorted(COMMANDS)
    weights = [WEIGHTS[name] if name in WEIGHTS else 1 for name in scripts]
    script = draw.choices(scripts, weights)[0]
    return launcher_case(script, changed(draw, script), Path.cwd())


FLAGS = Kind(
    name="flags",
    modules=(
        *("mmgen_jax.training.loop", "mmgen_jax.sampling.sampler", "mmgen_jax.evaluation.report"),
        *("mmgen_jax.data.folder.source", "mmgen_jax.data.shapes", "mmgen_jax.media.gallery"),
    ),
    prepare=trained.prepare,
    make=make,
    seconds=60,
)
