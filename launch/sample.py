"""Samples from a trained run; any subset of its modalities may be given, none included.

python launch/sample.py --workdir=runs/flow --text="a red circle" --label="top left" --out=grid.png

A part of a picture is redrawn, of families that can (flow, dalle), where a mask is white:

python launch/sample.py --workdir=runs/flow --inpaint=photo.png --mask=mask.png --out=grid.png
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.errors import InputError
from mmgen_jax.validation import check_guidance

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
OUT = flags.DEFINE_string("out", None, "Picture file (PNG) to write.", required=True)
given = cli.define_inputs()
variety = cli.define_variety()
GUIDANCE = flags.DEFINE_string(
    "guidance", "", "Weights, such as text=3,label=1.5; unnamed ones as in the run's config."
)
COUNT = flags.DEFINE_integer("count", 16, "Pictures to draw.", lower_bound=1)
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
STEPS = flags.DEFINE_integer("steps", None, "Solver steps; default: the run's.", lower_bound=2)
INPAINT = flags.DEFINE_string("inpaint", None, "Picture file of which a part is to be redrawn.")
MASK = flags.DEFINE_string(
    "mask", None, "Picture file of the same size, white where it is redrawn."
)
SEED = flags.DEFINE_integer("seed", 0, "Of the noise.", lower_bound=0)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Pictures drawn at once.", lower_bound=1)


def main() -> None:
    out = cli.writable("out", OUT.value, ".png")

    from mmgen_jax import gallery  # imports jax: after the flags are known to be good
    from mmgen_jax.sampling import Sampler, conditions, cuts, describe, given_part, parse
    from mmgen_jax.training import run

    trained = run.load(Path(WORKDIR.value), STEP.value)
    model, config = trained.model, trained.config
    raws = parse(model, given())
    values, has = conditions(model, raws, COUNT.value)
    for line in cuts(model, raws):
        print(line, flush=True)
    weights = {name: config.modalities[name].guidance for name in model.modalities}
    weights |= parse_guidance(GUIDANCE.value, tuple(model.modalities))
    for name, weight in weights.items():
        check_guidance(f"--guidance: {name}", weight, config)
    options = run.sample_options(config, steps=STEPS.value, **variety())
    known = given_part(model, INPAINT.value, MASK.value, COUNT.value)
    sampler = Sampler(model, options, min(COUNT.value, BATCH_SIZE.value), trained.mesh)
    images = sampler(trained.params, trained.state, values, has, weights, SEED.value, known)
    captions, thumbnails = describe(model, values, has)
    gallery.save_png(out, gallery.grid(images, captions, thumbnails=thumbnails))
    print(f"{out}: {COUNT.value} samples of step {trained.step}")


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
