"""Shows what a model will really be fed: pictures, captions, sounds, after all preparation.

python launch/inspect_data.py --config=configs/flow.py:data=shapes --out=sheet.png

Under the first batch of a training run stand how much there is of each modality, how long captions
and sounds are as they are fed, how many of them are cut and where to change that, and how often
each class occurs.
"""

from functools import partial
from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.errors import InputError

CONFIG = cli.define_config()
OUT = flags.DEFINE_string("out", None, "Picture file (PNG) to write.", required=True)
COUNT = flags.DEFINE_integer("count", 32, "Examples to show.", lower_bound=1)
RECORDS = flags.DEFINE_integer(
    "records", 2_000, "Records to count, chosen by a hash of their number.", lower_bound=1
)
flags.mark_flag_as_required("config")


def main() -> None:
    out = Path(OUT.value)
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"--out={out} must be a .png file in a folder that is there")
    recipe = CONFIG.value
    config.validate(recipe)

    from mmgen_jax import gallery, inspection  # imports jax: after the config is known to be good
    from mmgen_jax import model as models
    from mmgen_jax.data import SOURCES
    from mmgen_jax.data.pipeline import prepare_example, training_batches
    from mmgen_jax.images import quantise
    from mmgen_jax.sampling import describe

    source = SOURCES[recipe.data.name].open(recipe.data, recipe.data.split)
    model = models.build(recipe, models.fit(recipe, source))
    prepare = partial(
        prepare_example, modalities=model.modalities, image_shape=model.shared.image_shape
    )
    # The first batch of a training run with this config and this batch size.
    skip = recipe.data.on_bad_record
    seed = recipe.data.seed
    batches = training_batches(source, prepare, COUNT.value, seed, threads=0, on_bad_record=skip)
    batch = next(batches)
    captions, thumbnails = describe(model, batch["values"], batch["has"])
    sheet = gallery.grid(quantise(batch["image"]), captions, thumbnails=thumbnails)
    counted = inspection.inspect(source, model.modalities, prepare, RECORDS.value)
    title = f"{recipe.data.name}, {recipe.data.split}: {len(source)} records"
    gallery.save_png(out, gallery.stack([(title, sheet), *inspection.charts(counted)]))
    print("\n".join(inspection.describe(counted)))
    left_out = f", {len(batches.skipped)} bad ones left out" if batches.skipped else ""
    print(f"{out}: {COUNT.value} of {len(source)} records{left_out}")


if __name__ == "__main__":
    cli.run(main)
