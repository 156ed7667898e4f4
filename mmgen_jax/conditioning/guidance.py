"""Weights per modality -> the passes of a guided sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.errors import InputError
from mmgen_jax.modalities import Encoding


class Guidance(NamedTuple):
    """Passes of a network and how to add them up.

    Attributes:
      condition: of passes * batch rows, pass by pass: from no modality to all of them.
      coefficients: what each pass counts for; a column sums to 1.
    """

    condition: Condition
    coefficients: Float[Array, "passes batch"]

    def tile(self, x: Shaped[Array, "batch ..."]) -> Shaped[Array, "rows ..."]:
        """Repeats a batch, or its keys, for every pass, rows in the order of `condition`'s."""
        return jnp.tile(x, (self.coefficients.shape[0], *(1,) * (x.ndim - 1)))

    def combine(self, outputs: Float[Array, "rows ..."]) -> Float[Array, "batch ..."]:
        """Adds up what the network said in each pass."""
        passes, batch = self.coefficients.shape
        outputs = outputs.reshape(passes, batch, *outputs.shape[1:])
        weights = self.coefficients.reshape(passes, batch, *(1,) * (outputs.ndim - 2))
        # where, not *: a pass without weight must not count, whatever it holds.
        return jnp.where(weights == 0, 0, weights * outputs).sum(0)


def guide(
    params: Any,
    encodings: Mapping[str, Encoding],
    weights: Mapping[str, Float[Array, "batch"]],
    passes: tuple[int, ...] | None = None,
) -> Guidance:
    """Telescoping guidance over nested sets of modalities, in descending weight.

    With weights w_(1) >= ... >= w_(n), S_k the k modalities of highest weight, and v(S) what the
    network says when it is given S:

        v = (1 - w_(1)) v(S_0) + sum_k (w_(k) - w_(k+1)) v(S_k),   w_(n+1) = 0

    as InstructPix2Pix (Brooks et al. 2023, eq. 3) nests its inputs, for any number of them.
    All 1 is the conditional model, all 0 the unconditional one; equal weights are ordinary
    classifier-free guidance (Ho & Salimans 2022, eq. 6); a weight of 0 removes its modality.

    Args:
      params: the fusion's parameters.
      encodings: by modality, of one batch.
      weights: by modality, one weight per row, not negative.
      passes: which of the n + 1 passes to make, as from `passes_needed`; None for all.
    """
    names = list(encodings)
    stacked = jnp.stack([weights[name] for name in names])
    # Rank by descending weight; ties by name order, where the coefficient between them is 0.
    order = jnp.argsort(-stacked, axis=0, stable=True)
    rank = jnp.argsort(order, axis=0, stable=True)
    descending = jnp.take_along_axis(stacked, order, axis=0)
    edges = jnp.concatenate(
        [jnp.ones_like(stacked[:1]), descending, jnp.zeros_like(stacked[:1])], axis=0
    )
    chosen = tuple(range(len(names) + 1)) if passes is None else passes
    conditions = [
        fusion.fuse(
            params,
            encodings,
            {m: (rank[i] < k) & (stacked[i] > 0) for i, m in enumerate(names)},
        )
        for k in chosen
    ]
    joined = jax.tree.map(
        lambda *rows: jnp.concatenate(rows), *(c._replace(positions=None) for c in conditions)
    )
    condition = joined._replace(positions=conditions[0].positions)
    return Guidance(condition, (edges[:-1] - edges[1:])[jnp.array(chosen)])


def check_weights(weights: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuses guidance weights that are not one finite number from 0 on for each modality.

    Raises:
      InputError: naming the modality.
    """
    for name in weights:
        if name not in names:
            raise InputError(f"guidance weight for {name!r}; the model has: {', '.join(names)}")
    for name in names:
        if name not in weights:
            raise InputError(
                f"no guidance weight for {name!r}; allowed: one for each of {', '.join(names)},"
                " such as 1.0, which is no guidance"
            )
        if not (weights[name] >= 0 and math.isfinite(weights[name])):
            raise InputError(
                f"guidance weight {weights[name]} for {name!r}; allowed: finite, at least 0"
            )


def passes_needed(weights: Sequence[float]) -> tuple[int, ...]:
    """The passes that count when these weights are the same in every row, and the last one.

    Without guidance (all 1) that is a single pass, with equal weights two.
    """
    edges = [1.0, *sorted(weights, reverse=True), 0.0]
    last = len(weights)
    return tuple(k for k in range(last + 1) if k == last or edges[k] != edges[k + 1])
