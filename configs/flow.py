"""Flow matching with a multimodal diffusion transformer.

    python launch/train.py --config=configs/flow.py:data=shapes,size=tiny --workdir=runs/flow

Argument: data=shapes|emoji, modalities=text+label+audio+image (any of them),
size=tiny|small|base|large|xl.
"""

from ml_collections import ConfigDict

from mmgen_jax import config as configs

# size: image size, patch, width, depth, heads, text width, text depth, fusion width
SIZES = {
    "tiny": (32, 8, 128, 4, 4, 128, 2, 128),
    "small": (64, 4, 384, 12, 6, 256, 4, 256),
    "base": (128, 8, 768, 12, 12, 384, 6, 384),
    "large": (256, 16, 1024, 24, 16, 512, 8, 512),
    "xl": (256, 16, 1152, 28, 18, 768, 12, 768),
}


def get_config(argument: str | None = None) -> ConfigDict:
    chosen = configs.parse_argument(
        argument, {"data": "shapes", "modalities": "text+label", "size": "tiny"}
    )
    config = configs.default()
    config.data.name = chosen["data"]
    config.modalities.names = tuple(chosen["modalities"].split("+"))
    sizes = configs.choose("size", chosen["size"], SIZES)
    image_size, patch, width, depth, heads, text_width, text_depth, fusion_width = sizes
    config.data.image_size = image_size
    flow = config.generator.flow
    flow.patch, flow.width, flow.depth, flow.heads = patch, width, depth, heads
    config.modalities.text.width, config.modalities.text.depth = text_width, text_depth
    config.fusion.width = fusion_width
    if chosen["size"] == "tiny":
        _tiny(config)
    return config


def _tiny(config: ConfigDict) -> None:
    """Minutes on two CPU cores."""
    optimizer = config.optimizer.generator
    optimizer.name = "muon"
    optimizer.learning_rate = 0.01
    optimizer.adamw_learning_rate = 0.003
    config.train.steps = 2_500
