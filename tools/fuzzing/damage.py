"""A run with a damaged file: loaded, sampled or resumed.

It must be refused in one line, or behave as the whole run does: an older checkpoint may take the
place of a broken one, but another picture from the same step is a fault, and so is a training that
starts again at its beginning, or loses what was logged.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tools.fuzzing import trained
from tools.fuzzing.cases import Case, Fault, Kind, launched
from tools.fuzzing.recipe import STEPS

DEEP = "[" * 100_000 + "]" * 100_000
ODD = (None, True, 0, -1, 1.5, 1e308, 2**70, "", "x", "é", [], {}, [1], {"a": 1}, [[]], "../..")


def flip(draw: random.Random, path: Path) -> str:
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    if not content:
        return truncate(draw, path)
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} flipped"


def truncate(draw: random.Random, path: Path) -> str:
    """The end of a file."""
    size = path.stat().st_size
    left = draw.choice((0, size // 2, max(0, size - 1)))
    with path.open("rb+") as file:
        file.truncate(left)
    return f"cut to {left} of {size} bytes"


def delete(draw: random.Random, path: Path) -> str:
    """A file, or the folder that it is in."""
    if draw.random() < 0.3:
        shutil.rmtree(path.parent)
        return "deleted, with its folder"
    path.unlink()
    return "deleted"


def rename(draw: random.Random, path: Path) -> str:
    """Gives a file another name, or a checkpoint another step."""
    if "checkpoints" in path.parts and draw.random() < 0.5:
        step = next(p for p in (path, *path.parents) if p.parent.name == "checkpoints")
        name = draw.choice(("500", "0", "5", "2x", "٣", "-2", "9" * 30))
        step.rename(step.with_name(name))
        return f"checkpoint {step.name} renamed {name}"
    path.rename(path.with_name(path.name + ".bak"))
    return "renamed .bak"


def swap(draw: random.Random, path: Path) -> str:
    """Two files of the run."""
    run = Path("run")
    others = [p for p in sorted(run.rglob("*")) if p.is_file() and p != path]
    alike = [p for p in others if p.suffix == path.suffix] or others
    other = draw.choice(alike)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)
    return f"swapped with {other}"


def edit(draw: random.Random, path: Path) -> str:
    """A value somewhere in a JSON file; other files are overwritten."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return foreign(draw, path)
    said, node = [], content
    while isinstance(node, (dict, list)) and node:
        parent = node
        key = draw.choice(sorted(node)) if isinstance(node, dict) else draw.randrange(len(node))
        said.append(str(key))
        node = node[key]
        if draw.random() < 0.15:
            break
    if not said:
        return foreign(draw, path)
    if draw.random() < 0.2:
        del parent[key]
        what = "deleted"
    elif draw.random() < 0.1 and isinstance(parent, dict):
        parent["unknown"] = 1
        what = "given a neighbor"
    else:
        parent[key] = draw.choice(ODD)
        what = f"set to {parent[key]!r}"
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{'.'.join(said)} {what}"


def foreign(draw: random.Random, path: Path) -> str:
    """Something else in place of a file."""
    kind = draw.choice(("deep", "folder", "null", "noise", "link", "long", "latin", "nan", "twice"))
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/zero" if draw.random() < 0.5 else path)
    else:
        made: dict[str, Callable[[], bytes]] = {
            "deep": DEEP.encode,
            "null": lambda: b"null",
            "noise": lambda: draw.randbytes(300),
            "long": lambda: b"[" + b"0," * 200_000 + b"0]",
            "latin": lambda: content + b"\xe9\xff",
            "nan": lambda: b'{"a": NaN}',
            "twice": lambda: content + content,
        }
        path.write_bytes(made[kind]())
    return f"replaced: {kind}"


KINDS = (flip, flip, flip, truncate, delete, rename, swap, edit, edit, edit, foreign)


def damaged(draw: random.Random) -> tuple[Path, str]:
    """Damages a file of the run in this folder; says which, and how."""
    run = Path("run")
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    files = [path for path in files if "tensorboard" not in path.parts]
    readable = [
        path for path in files if path.suffix == ".json" and "checkpoints" not in path.parts
    ]
    newest = [path for path in files if f"checkpoints/{STEPS}/" in path.as_posix()]
    path = draw.choice(draw.choice((readable, newest, files)))
    return path, f"{path}: {draw.choice(KINDS)(draw, path)}"


def check_drawn(drawn: dict[str, str], said: str) -> None:
    """Loads the run and draws. Raises Fault if that differs from what the whole run drew."""
    step, digest = trained.digest(Path("run"))
    if str(step) not in drawn:
        raise Fault("a checkpoint of a step that never was is believed", f"{said}: step {step}")
    if drawn[str(step)] != digest:
        raise Fault("silently draws something else", said)


def resume(path: Path, said: str) -> None:
    """Trains on for two steps. Raises Fault if what there was before is lost."""
    log = Path("run/metrics.jsonl")
    before = log.read_bytes() if log.is_file() else b""
    more = [f"--config.train.steps={STEPS + 2}", "--accept_config_change", "--workdir=run"]
    launched("train.py", [f"--config={trained.RECIPE}", *more])
    if path != log and not log.read_bytes().startswith(before[: len(before) // 2]):
        raise Fault("training lost what was logged", said)


def make(draw: random.Random, shared: Path, number: int) -> Case:
    """A copy of the run, damaged."""
    shutil.copytree(shared / trained.RUN, "run")
    drawn = json.loads((shared / "drawn.json").read_text(encoding="utf-8"))
    path, said = damaged(draw)
    if draw.random() < 0.3:
        return Case(f"resume; {said}", lambda: resume(path, said), ("run",), keeps=False)
    return Case(f"load and draw; {said}", lambda: check_drawn(drawn, said))


DAMAGE = Kind(
    name="damage",
    modules=("mmgen_jax.training.loop", "mmgen_jax.sampling.sampler", "mmgen_jax.data.shapes"),
    prepare=trained.prepare,
    make=make,
    seconds=60,
)
