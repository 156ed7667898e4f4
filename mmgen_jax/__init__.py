"""mmgen_jax: train conditional image generators on any combination of modalities."""

import time

__version__ = "0.1.0"

STARTED = time.monotonic()  # what start-up is measured from: launchers import this first
