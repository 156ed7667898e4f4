"""One optax transformation per player."""

import math
from typing import Any

import jax
import optax
from optax import contrib

from mmgen_jax.config.core import OptimizerOptions
from mmgen_jax.nn.layout import STACKED

# Adaptive norms' modules are named so (`nn.modulation.Modulation`).
MODULATION = "modulation"


def learning_rate(options: OptimizerOptions, peak: float, steps: int) -> optax.Schedule:
    """Linear warm-up to `peak`, then a cosine down to `final_fraction` of it at `steps`.

    Of the player's own steps: of those that it does not rest at.
    """
    steps = max(1, math.ceil((steps - options.update_start) / options.update_every))
    warmup = min(options.warmup_steps, steps - 1)
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / (warmup + 1),
        peak_value=peak,
        warmup_steps=warmup,
        decay_steps=steps,
        end_value=peak * options.final_fraction,
    )


def matrix_dimensions(params: Any) -> Any:
    """For every parameter: its muon dimension numbers, or None if it is no hidden weight matrix.

    That is a Dense or convolution kernel, but for those of adaptive norms, which act on one vector
    per example, not on features: orthogonalising them costs much and brings nothing. Kernels
    of scanned layers have the layer on axis 0: a batch of matrices, no dimension of one.
    """

    def dimensions(path: tuple[Any, ...], leaf: Any) -> contrib.MuonDimensionNumbers | None:
        names = [entry.key for entry in path]
        if names[-1] != "kernel" or MODULATION in names:
            return None
        axes = range(1 if STACKED in names else 0, leaf.ndim)
        if len(axes) < 2:
            return None
        return contrib.MuonDimensionNumbers(tuple(axes[:-1]), (axes[-1],))

    return jax.tree_util.tree_map_with_path(dimensions, params)


def matrix_mask(params: Any) -> Any:
    """True for hidden weight matrices, which alone are decayed."""
    return jax.tree.map(
        lambda numbers: numbers is not None,
        matrix_dimensions(params),
        is_leaf=lambda x: x is None or isinstance(x, contrib.MuonDimensionNumbers),
    )


def build(options: OptimizerOptions, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW or Muon with their schedule.

    AdamW: Loshchilov & Hutter 2019, algorithm 2. Muon: Jordan 2024, orthogonalised momentum on
    hidden weight matrices, each layer's by itself; on everything else AdamW with Nesterov momentum
    (Dozat 2016), as optax has it.

    Args:
      options: the player's.
      steps: of the training, those at which the player rests included.
    """
    rate = learning_rate(options, options.learning_rate, steps)
    if options.name == "adamw":
        core = optax.adamw(
            rate,
            b1=options.beta1,
            b2=options.beta2,
            weight_decay=options.weight_decay,
            mask=matrix_mask,
        )
    else:
        core = contrib.muon(
            rate,
            weight_decay=options.weight_decay,
            adam_b1=options.beta1,
            adam_b2=options.beta2,
            adam_learning_rate=learning_rate(options, options.adamw_learning_rate, steps),
            muon_weight_dimension_numbers=matrix_dimensions,
        )
    clip = optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity()
    return optax.chain(clip, core)
