"""Shows what a model will really be fed: pictures, captions, sounds, after all preparation.

python launch/inspect_data.py --config=configs/flow.py:data=shapes --out=sheet.png

Under the first batch of a training run stand how much there is of each modality, how long captions
and sounds are as they are fed, how many of them are cut and where to change that, and how often
each class occurs.
"""

from absl import flags

from mmgen_jax import cli, config

CONFIG = cli.define_config()
output = cli.define_out("inspect_data", ".png", help="Picture file (PNG) to write.")
COUNT = flags.DEFINE_integer(
    "count", 32, "Examples to show.", lower_bound=1, upper_bound=cli.MOST_PICTURES
)
RECORDS = flags.DEFINE_integer(
    "records",
    2_000,
    "Records to count, chosen by a hash of their number.",
    lower_bound=1,
    upper_bound=10**9,
)
flags.mark_flag_as_required("config")


def main() -> None:
    out = output()
    recipe = CONFIG.value
    config.validate(recipe)

    from mmgen_jax import model as models
    from mmgen_jax.data import DataOptions, image_shape
    from mmgen_jax.data.pipeline import training_batches
    from mmgen_jax.media import gallery
    from mmgen_jax.media.images import quantise
    from mmgen_jax.modalities import statistics  # imports jax: after the config is known to be good
    from mmgen_jax.sampling.inputs import describe

    source = DataOptions.of(recipe).open(recipe.data.split)
    gallery.check_count("--count", COUNT.value, image_shape(recipe.data))
    model = models.build(recipe, models.fit(recipe, source))
    # The first batch of a training run with this config and this batch size.
    skip = recipe.data.on_bad_record
    seed = recipe.data.seed
    shown = statistics.Shown(source, model.prepare)
    batches = training_batches(
        shown, shown.prepare, COUNT.value, seed, threads=0, on_bad_record=skip
    )
    batch = next(batches)
    captions, thumbnails = describe(model, batch["values"], batch["has"])
    sheet = gallery.grid(quantise(batch["image"]), captions, thumbnails=thumbnails)
    counted = statistics.inspect(source, model.modalities, model.prepare, RECORDS.value)
    title = f"{recipe.data.name}, {recipe.data.split}: {len(source)} records"
    sheet = gallery.stack([(title, sheet), *statistics.charts(counted)])
    gallery.save_png(out.path, sheet, out.software)
    print("\n".join(statistics.describe(counted)))
    print(f"{out}: {_extent(shown.records(COUNT.value), len(source), len(source.bad))}")


def _extent(shown: int, total: int, bad: int) -> str:
    """How many records the sheet shows; the bad ones among `total` are counted by `inspection`."""
    said = f"{shown} of {total} records"
    if shown < COUNT.value:
        said += f", which come again in {COUNT.value} pictures"
    # What a folder finds as it is opened may belong to any of its splits.
    return said + (f"; besides, {bad} bad ones of this split or another were left out" * bool(bad))


if __name__ == "__main__":
    cli.run(main)
