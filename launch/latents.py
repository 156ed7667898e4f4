"""Shows what a trained run draws between latents, or of mixed ones (families that have such).

python launch/latents.py --workdir=runs/stylegan --grid=mixing --layers=0-3 --label=7 --out=grid.png

interpolation: each row goes from one picture to another, in equal steps of what they are drawn
from. mixing: each picture has the first one of its row, but of the layers that --layers names what
the first one of its column has; coarse layers come first (stylegan has several, and a vae one for
each group of its latents).
"""

import re
from pathlib import Path

from absl import flags

from mmgen_jax import cli
from mmgen_jax.cli.bounds import define_seed
from mmgen_jax.errors import InputError

MOST = 1_000  # rows, and columns
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
output = cli.define_out("latents", ".png", help="Picture file (PNG) to write.")
GRID = flags.DEFINE_enum("grid", "interpolation", ["interpolation", "mixing"], "What is shown.")
ROWS = flags.DEFINE_integer("rows", 4, "Rows of pictures.", lower_bound=1, upper_bound=MOST)
COLUMNS = flags.DEFINE_integer("columns", 8, "Pictures in a row.", lower_bound=2, upper_bound=MOST)
LAYERS = flags.DEFINE_string("layers", "0-3", "Of mixing: the first and the last, from 0.")
STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint to use; default: the newest whole one.", lower_bound=0
)
SEED = define_seed("Of the latents and the noise.")
given = cli.define_inputs()
variety = cli.define_variety()


def main() -> None:
    out, inputs = output(), given()
    layers = parse_layers(LAYERS.value)

    from mmgen_jax.media import gallery  # imports jax: after the flags are known to be good
    from mmgen_jax.sampling.inputs import cuts, parse
    from mmgen_jax.sampling.interpolation import Mixer
    from mmgen_jax.training import run

    trained = run.load(Path(WORKDIR.value), STEP.value)
    options = run.sample_options(trained.config, **variety())
    shape, more = trained.model.shared.image_shape, int(GRID.value == "mixing")
    count = (ROWS.value + more) * (COLUMNS.value + more)
    gallery.check_count("--rows times --columns", count, shape)
    raws = parse(trained.model, inputs)
    mixer = Mixer(trained, raws, options)
    for line in cuts(trained.model, raws):
        print(line, flush=True)
    if GRID.value == "interpolation":
        images = mixer.interpolation(ROWS.value, COLUMNS.value, SEED.value)
    else:
        images = mixer.mixture(ROWS.value, COLUMNS.value, layers, SEED.value)
    flat = images.reshape(-1, *images.shape[2:])
    sheet = gallery.grid(flat, [None] * len(flat), columns=images.shape[1])
    gallery.save_png(out.path, sheet, out.software)
    print(f"{out}: {GRID.value} of step {trained.step}")


def parse_layers(argument: str) -> range:
    """Reads `0-3`, or one number."""
    found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", argument)
    if not found:
        raise InputError(f"--layers={argument} is no number, nor two joined by -")
    return range(int(found[1]), int(found[2] or found[1]) + 1)


if __name__ == "__main__":
    cli.run(main)
