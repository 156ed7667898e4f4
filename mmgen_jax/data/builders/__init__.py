"""Builders make a data set from raw inputs, once; a data source then reads what they made.

A builder is a function `build(out, *, overwrite, **options) -> summary`. Its keyword arguments are
its options, which `launch/build_dataset.py` offers as flags; their defaults stand in its signature.
Nothing here imports jax or TensorFlow.
"""

from mmgen_jax.registry import Registry

BUILDERS = Registry(
    "data set builder",
    {
        "emoji": "mmgen_jax.data.builders.emoji:build",
        "digits": "mmgen_jax.data.builders.digits:build",
        "folder": "mmgen_jax.data.builders.folder:build",
        "example": "mmgen_jax.data.builders.example:build",
    },
)
