"""Samples from a trained run; any subset of its modalities may be given, none included.

python launch/sample.py --workdir=runs/flow --text="a red circle" --label="top left" --out=grid.png
"""

import os
from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.errors import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "Picture file (PNG) to write.", required=True)
GIVEN = {
    "text": flags.DEFINE_string("text", None, "A caption."),
    "label": flags.DEFINE_string("label", None, "The name of a class."),
    "audio": flags.DEFINE_string("audio", None, "A sound file (wav, flac, ogg)."),
    "image": flags.DEFINE_string("image", None, "A picture file to be guided by."),
}
CONDITION = flags.DEFINE_multi_string(
    "condition", [], "MODALITY=VALUE, for a modality without a flag of its own."
)
GUIDANCE = flags.DEFINE_string(
    "guidance", "", "Weights, such as text=3,label=1.5; unnamed ones as in the run's config."
)
COUNT = flags.DEFINE_integer("count", 16, "Pictures to draw.", lower_bound=1)
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
STEPS = flags.DEFINE_integer("steps", None, "Solver steps; default: the run's.", lower_bound=2)
SEED = flags.DEFINE_integer("seed", 0, "Of the noise.", lower_bound=0)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Pictures drawn at once.", lower_bound=1)


def main() -> None:
    out = Path(OUT.value)
    if out.suffix != ".png":
        raise InputError(f"--out={out} is no .png file")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"--out={out}: folder {out.parent} is not there or cannot be written")

    from mmgen_jax import gallery  # imports jax: after the flags are known to be good
    from mmgen_jax.sampling import Sampler, conditions, describe
    from mmgen_jax.training import run

    trained = run.load(Path(WORKDIR.value), STEP.value)
    model, config = trained.model, trained.config
    raws = {}
    for name, text in given().items():
        if name not in model.modalities:
            raise InputError(
                f"the run has no modality {name!r}; it has: {', '.join(model.modalities)}"
            )
        raws[name] = model.modalities[name].parse(text)
    values, has = conditions(model, raws, COUNT.value)
    weights = {name: config.modalities[name].guidance for name in model.modalities}
    weights |= parse_guidance(GUIDANCE.value, tuple(model.modalities))
    sampler = Sampler(
        model, run.sample_options(config, STEPS.value), min(COUNT.value, BATCH_SIZE.value)
    )
    images = sampler(trained.params, trained.state, values, has, weights, SEED.value)
    captions, thumbnails = describe(model, values, has)
    gallery.save_png(out, gallery.grid(images, captions, thumbnails=thumbnails))
    print(f"{out}: {COUNT.value} samples of step {trained.step}")


def given() -> dict[str, str]:
    """The inputs named on the command line: modality -> text of the flag."""
    texts = {name: flag.value for name, flag in GIVEN.items() if flag.value is not None}
    for pair in CONDITION.value:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--condition={pair} is not MODALITY=VALUE")
        texts[name] = value
    return texts


def parse_guidance(argument: str, names: tuple[str, ...]) -> dict[str, float]:
    """Reads `text=3,label=1.5`."""
    weights = {}
    for part in filter(None, argument.split(",")):
        name, _, number = part.partition("=")
        if name not in names:
            raise InputError(f"--guidance names {name!r}; the run has: {', '.join(names)}")
        try:
            weights[name] = float(number)
        except ValueError:
            raise InputError(f"--guidance={argument}: {number!r} is no number") from None
        if not 0 <= weights[name] < float("inf"):
            raise InputError(f"--guidance={argument}: {number} is not 0 or more")
    return weights


if __name__ == "__main__":
    cli.run(main)
