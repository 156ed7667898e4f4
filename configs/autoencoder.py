"""A convolutional autoencoder, the founding example.

    python launch/train.py --config=configs/autoencoder.py:data=shapes,size=tiny \
        --workdir=runs/autoencoder

Argument:
  data: shapes (procedural, no download), emoji or digits (`launch/build_dataset.py`), folder, tfds,
    cifar10, oxford_flowers102, caltech_birds2011 or coco_captions (README.md, own data).
  modalities: any of text, label, audio, image, joined by +, that the data set has.
  languages: of captions, joined by +, or all; if not given, en of emoji, else all.
  size: tiny | small | base, at 32, 64 and 256 pixels; small has the founding widths, base is the
    founding model, 1.24 G parameters (`nn/autoencoder.py` lists its layers).

Trained with Adam, on batches of 32. What it is good at is to reconstruct:

    python launch/evaluate.py --workdir=runs/autoencoder --metrics=reconstruction --out=report.json

Drawn samples are coarse: codes come from independent Gaussians, as real ones do not.

Expected on two CPU cores: size=tiny some seven minutes (an estimate); unseen pictures of shapes
come back at 28.8 dB (PSNR) after 400 of the 2,000 steps. size=small on emoji, an autoencoder of 111
million parameters with encoders and readers of size tiny beside it:

    python launch/train.py --config=configs/autoencoder.py:data=emoji,size=small \
        --workdir=runs/founding --config.train.dtype=float32 --config.train.steps=4000 \
        --config.optimizer.generator.learning_rate=3e-4 \
        --config.optimizer.generator.warmup_steps=100 \
        --config.objective.recovery_width=128 --config.objective.recovery_depth=1 \
        --config.modalities.text.width=128 --config.modalities.text.num_heads=4 \
        --config.modalities.text.depth=1

29 images/s, so 73 minutes. Training pictures come back at 22.6 dB (22.2 - 23.0), most of them as
themselves; unseen ones at 17.4 dB (17.0 - 17.7): people, hands and buttons can be told, what is
rare cannot. Its dense layers learn pictures by heart; `vqvae` shares its weights between places.
small wants a GPU, base one with room for 25 GB of parameters, gradients, moments and average beside
the activations, or several with config.sharding.fsdp.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mmgen_jax import config as configs
from mmgen_jax.config import recipes


class Size(NamedTuple):
    """What a size fixes."""

    image_size: int
    encoder_widths: tuple[int, ...]
    dense_widths: tuple[int, ...]
    base_width: int
    decoder_widths: tuple[int, ...]
    text_width: int
    text_depth: int


FOUNDING = ((64, 128, 256, 512, 1024), (4096, 4096), 512, (512, 256, 128, 64))
SIZES = {
    "tiny": Size(32, (32, 64, 128, 128), (512, 512), 128, (128, 64, 32), 64, 1),
    "small": Size(64, *FOUNDING, 256, 4),
    "base": Size(256, *FOUNDING, 384, 6),
}


def get_config(argument: str | None = None) -> ConfigDict:
    config, chosen = recipes.begin(argument, "autoencoder", {})
    size = configs.choose("size", chosen["size"], SIZES)
    config.data.image_size = size.image_size
    family, optimizer = config.generator.autoencoder, config.optimizer.generator
    family.encoder_widths, family.dense_widths = size.encoder_widths, size.dense_widths
    family.base_width, family.decoder_widths = size.base_width, size.decoder_widths
    # Without weight decay and clipping AdamW is Adam.
    optimizer.name, optimizer.weight_decay, optimizer.clip_norm = "adamw", 0.0, 0.0
    optimizer.beta2 = 0.999
    if chosen["size"] == "tiny":
        recipes.tiny_inputs(config)
        optimizer.learning_rate = 1e-3
        config.train.steps = 2_000
    else:
        recipes.large_inputs(config, size.text_width, size.text_depth)
        optimizer.learning_rate, optimizer.warmup_steps = 2e-4, 1_000
    config.train.batch_size = 32
    return config
