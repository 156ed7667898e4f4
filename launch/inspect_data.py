"""Shows what a model will really be fed: pictures, captions, sounds, after all preparation.

python launch/inspect_data.py --config=configs/flow.py:data=shapes --out=sheet.png
"""

from functools import partial
from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.errors import InputError

CONFIG = cli.define_config()
OUT = flags.DEFINE_string("out", None, "Picture file (PNG) to write.", required=True)
COUNT = flags.DEFINE_integer("count", 32, "Examples to show.", lower_bound=1)
flags.mark_flag_as_required("config")


def main() -> None:
    out = Path(OUT.value)
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"--out={out} must be a .png file in a folder that is there")
    recipe = CONFIG.value
    config.validate(recipe)

    from mmgen_jax import gallery  # imports jax: after the config is known to be good
    from mmgen_jax import model as models
    from mmgen_jax.data import SOURCES
    from mmgen_jax.data.pipeline import prepare_example, training_batches
    from mmgen_jax.images import quantise
    from mmgen_jax.sampling import describe

    source = SOURCES[recipe.data.name].open(recipe.data, recipe.data.split)
    model = models.build(recipe, models.fit(recipe, source))
    prepare = partial(
        prepare_example, modalities=model.modalities, image_size=recipe.data.image_size
    )
    # The first batch of a training run with this config and this batch size.
    batch = next(training_batches(source, prepare, COUNT.value, recipe.data.seed, threads=0))
    captions, thumbnails = describe(model, batch["values"], batch["has"])
    sheet = gallery.grid(
        quantise(batch["image"]),
        captions,
        title=f"{recipe.data.name}, {recipe.data.split}: {len(source)} records",
        thumbnails=thumbnails,
    )
    gallery.save_png(out, sheet)
    present = ", ".join(f"{name} {has.mean():.0%}" for name, has in batch["has"].items())
    print(f"{out}: {COUNT.value} of {len(source)} records; present: {present}")


if __name__ == "__main__":
    cli.run(main)
