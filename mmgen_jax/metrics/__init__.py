"""How good the images are, and whether they say what they were asked for."""

from mmgen_jax.registry import Registry

JUDGES = Registry("judge", {"shapes": "mmgen_jax.metrics.satisfaction:SHAPES_JUDGE"})
"""By data set: who decides whether an image satisfies its inputs."""
