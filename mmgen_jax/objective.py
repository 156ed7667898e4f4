"""The one objective that trains every family on every combination of modalities.

    L(θe, θg) = - E[log p_θg(y | h, z)] - Σ_m λ_m · E[log p_θe(x_m | y)]

with encodings h_m = f_θe(x_m), and y the image, or a tokenizer's latents of it. The first term is
the family's own, `Generator.losses`. The second recovers each input from y, `Modality.recover`: the
recovery network sees y alone, for with h in its input the term would be trivial.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Key

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Values
from mmgen_jax.modalities import Encoding, Modality, Recovery
from mmgen_jax.model import Batch, Model, encode
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.keys import key_per_example
from mmgen_jax.nn.layout import gathered


def objective(
    model: Model, params: Any, state: Any, batch: Batch, key: Key[Array, ""], step: Any
) -> tuple[Float[Array, ""], tuple[Any, dict[str, Any]]]:
    """The sum of the players' losses, and (the new state, metrics).

    All randomness comes from one key per example, `fold_in(key, index)`.
    """
    params = gathered(params)
    keys = key_per_example(key, batch.index)
    presence_keys, generator_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    w = model.weights

    h = encode(model, params, batch.values, batch.has)
    given = fusion.sample_presence(
        presence_keys, batch.has, w.keep_rate, w.keep_all_rate, w.drop_all_rate
    )
    condition = fusion.fuse(params["encoders"]["fusion"], h, given)
    images = model.codec.encode(params, batch.images)
    losses = model.generator.losses(params, state, images, condition, generator_keys, step)

    players = dict(losses.players)
    real = recover(model.modalities, params["recovery"], images, batch.values, h)
    recovered, metrics = weigh(real, batch.has, w.recovery, "recovery")
    players["generator"] = players["generator"] - recovered
    if losses.images is not None and any(w.generated.values()):
        # Heads and encodings are stopped here, or encoder and generator would collude.
        stopped = jax.lax.stop_gradient((params["recovery"], h))
        fake = recover(model.modalities, stopped[0], losses.images, batch.values, stopped[1])
        recovered, more = weigh(fake, given, w.generated, "generated")
        players["generator"] = players["generator"] - recovered
        metrics |= more
    total = sum(players.values())
    metrics |= losses.metrics | {f"loss_{name}": loss for name, loss in players.items()}
    return total, (losses.state, metrics | {"loss": total})


def recover(
    modalities: Mapping[str, Modality],
    params: Any,
    images: Float[Array, "batch height width channel"],
    values: Values,
    encodings: Mapping[str, Encoding],
) -> dict[str, Recovery]:
    """Log p(x_m | y) of every modality, or a bound on it, per example."""
    recoveries = {}
    for name, modality in modalities.items():
        value = fusion.replace_absent(modality, values[name], encodings[name].present)
        recoveries[name] = modality.recover(params[name], images, value, encodings[name])
    return recoveries


def weigh(
    recoveries: Mapping[str, Recovery],
    mask: Mapping[str, Bool[Array, "batch"]],
    weights: Mapping[str, float],
    prefix: str,
) -> tuple[Any, dict[str, Any]]:
    """Σ_m λ_m · E[recovery_m] over the examples where mask_m is True, and its metrics."""
    total, metrics = 0.0, {}
    for name, recovery in recoveries.items():
        bound = global_batch.masked_mean(recovery.bound, mask[name])
        total = total + weights[name] * bound
        metrics[f"{prefix}_{name}"] = bound
        metrics[f"{prefix}_accuracy_{name}"] = global_batch.masked_mean(
            recovery.correct, mask[name]
        )
        if recovery.ceiling is not None:
            ceiling = global_batch.masked_mean(recovery.ceiling, mask[name])
            metrics[f"{prefix}_ceiling_{name}"] = ceiling
    return total, metrics
