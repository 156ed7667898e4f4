"""Writes a tokenizer's latents of a data set, once, so that no training step makes them.

    python launch/encode_dataset.py --config=configs/flow.py:data=emoji,latents=runs/kl_emoji \
        --out=data/latents
    python launch/train.py --config=configs/flow.py:data=emoji,latents=runs/kl_emoji \
        --config.tokenizer.latents=data/latents --workdir=runs/flow

It takes the recipe, and the overrides, of the run that is to train on them. They are array_record
files beside the data set, which still gives texts, labels and sounds, and the pictures that samples
are compared with.
"""

from pathlib import Path

from absl import flags

from mmgen_jax import cli, config
from mmgen_jax.data.builders.staging import check

CONFIG = cli.define_config()
OUT = flags.DEFINE_string("out", None, "Folder of the latents.", required=True)
OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace latents that are there.")
flags.mark_flag_as_required("config")


def main() -> None:
    check(Path(OUT.value), OVERWRITE.value)
    config.validate(CONFIG.value)

    from mmgen_jax.training.latent_cache import (
        precompute,  # jax: after the config is known to be good
    )

    made = precompute(CONFIG.value, Path(OUT.value), OVERWRITE.value)
    shape = " x ".join(map(str, made["shape"]))
    print(f"{OUT.value}: {made['records']} latents of {shape}, {made['seconds']:.1f} s")


if __name__ == "__main__":
    cli.run(main)
