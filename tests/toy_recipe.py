"""A recipe of the toys, for launchers: compiles in a second, checkpoints weigh megabytes."""

import contextlib

from ml_collections import ConfigDict

from mmgen_jax.data import SOURCES
from tests import toys

STEPS = 12
_FOREVER = contextlib.ExitStack()  # as long as the process, where it is a launcher's own


def get_config() -> ConfigDict:
    if "greys" not in SOURCES:
        _FOREVER.enter_context(toys.registered())
    config = toys.toy_config()
    config.data.image_size = 64
    config.train.steps, config.train.log_every, config.train.sample_every = STEPS, 1, 0
    config.checkpoint.every, config.checkpoint.keep_last = 4, 9
    return config
