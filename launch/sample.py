"""Samples from a trained run; any subset of its modalities may be given, none included.

python launch/sample.py --workdir=runs/flow --text="a red circle" --label="top left" --out=grid.png

A part of a picture is redrawn, of families that can (flow, dalle), where a mask is white:

python launch/sample.py --workdir=runs/flow --inpaint=photo.png --mask=mask.png --out=grid.png
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.cli.bounds import define_seed
from mmgen_jax.config.validation import check_guidance
from mmgen_jax.errors import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
output = cli.define_out("sample", ".png", help="Picture file (PNG) to write.")
given = cli.define_inputs()
variety = cli.define_variety()
GUIDANCE = flags.DEFINE_string(
    "guidance", "", "Weights, such as text=3,label=1.5; unnamed ones as in the run's config."
)
COUNT = flags.DEFINE_integer(
    "count", 16, "Pictures to draw.", lower_bound=1, upper_bound=cli.MOST_PICTURES
)
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
STEPS = flags.DEFINE_integer(
    "steps", None, "Solver steps; default: the run's.", lower_bound=2, upper_bound=10_000
)
INPAINT = flags.DEFINE_string("inpaint", None, "Picture file of which a part is to be redrawn.")
MASK = flags.DEFINE_string(
    "mask", None, "Picture file of the same size, white where it is redrawn."
)
SEED = define_seed("Of the noise.")
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Pictures drawn at once.", lower_bound=1, upper_bound=4_096
)


def main() -> None:
    out, inputs = output(), given()

    from mmgen_jax.media import gallery  # imports jax: after the flags are known to be good
    from mmgen_jax.sampling.inputs import conditions, cuts, describe, given_part, parse
    from mmgen_jax.sampling.sampler import Sampler
    from mmgen_jax.training import run

    trained = run.load(Path(WORKDIR.value), STEP.value)
    model, config = trained.model, trained.config
    raws = parse(model, inputs)
    gallery.check_count("--count", COUNT.value, model.shared.image_shape)
    values, has = conditions(model, raws, COUNT.value)
    for line in cuts(model, raws):
        print(line, flush=True)
    weights = model.guidance_weights | parse_guidance(GUIDANCE.value, tuple(model.modalities))
    for name, weight in weights.items():
        check_guidance(f"--guidance: {name}", weight, config)
    options = run.sample_options(config, steps=STEPS.value, **variety())
    known = given_part(model, INPAINT.value, MASK.value, COUNT.value)
    sampler = Sampler(model, options, min(COUNT.value, BATCH_SIZE.value), trained.mesh)
    images = sampler(trained.params, trained.state, values, has, weights, SEED.value, known)
    captions, thumbnails = describe(model, values, has)
    sheet = gallery.grid(images, captions, thumbnails=thumbnails)
    gallery.save_png(out.path, sheet, out.software)
    print(f"{out}: {COUNT.value} samples of step {trained.step}")


def parse_guidance(argument: str, names: tuple[str, ...]) -> dict[str, float]:
    """Reads `text=3,label=1.5`.

    Raises:
      InputError: for what is no weight of one of `names`.
    """
    weights = {}
    for part in filter(None, argument.split(",")):
        name, equals, number = part.partition("=")
        if not equals and name in names:
            raise InputError(f"--guidance={argument}: {name!r} has no number; allowed: {name}=3")
        if not equals:
            everything = ",".join(f"{one}={part}" for one in names)
            raise InputError(
                f"--guidance={argument}: {part!r} says no modality; allowed: MODALITY=WEIGHT,"
                f" such as --guidance={everything}"
            )
        if name in weights:
            raise InputError(f"--guidance={argument} names {name!r} twice; allowed: once")
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
