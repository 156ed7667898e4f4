"""What every launcher shares: flags, one clear line for bad input, exit codes."""

import sys
from pathlib import Path

from mmgen_jax.training import interrupts

# A launcher is guarded before the imports that take seconds.
if Path(sys.argv[0]).absolute().parent == Path(__file__).absolute().parents[2] / "launch":
    interrupts.GUARD.begin()

from mmgen_jax.cli.flags import (
    MOST_PICTURES,
    define_config,
    define_data_path,
    define_evaluation,
    define_metrics,
    define_out,
    define_variety,
)
from mmgen_jax.cli.inputs import define_inputs
from mmgen_jax.cli.program import run

__all__ = [
    "MOST_PICTURES",
    "define_config",
    "define_data_path",
    "define_evaluation",
    "define_inputs",
    "define_metrics",
    "define_out",
    "define_variety",
    "run",
]
