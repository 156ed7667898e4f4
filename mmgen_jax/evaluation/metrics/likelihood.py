"""How probable unseen pictures are to a model that has a posterior over its latents."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt32

from mmgen_jax.conditioning import fusion
from mmgen_jax.conditioning.fusion import Presence, Values
from mmgen_jax.errors import InputError
from mmgen_jax.evaluation.metrics import METRICS
from mmgen_jax.evaluation.request import Asked, Evaluation
from mmgen_jax.evaluation.run_sampler import BATCH, over_devices
from mmgen_jax.media.images import quantise
from mmgen_jax.model import Model, encode
from mmgen_jax.nn.layout import gathered
from mmgen_jax.training.run import Trained

SAMPLES = 64  # of the posterior, for each picture
NOTHING = "nothing"


def likelihood(asked: Asked) -> Evaluation:
    """Bounds on the log likelihood of unseen pictures, given all their inputs and given nothing.

    `count` records of the split `eval.split`, chosen by hash. "elbo" is the evidence lower bound,
    "iwae" the tighter bound of 64 importance samples for each picture (Burda et al. 2016, eq. 8),
    both in bits per dimension, as a cost: of two models the one with less is better. "elbo_error"
    and "iwae_error" are standard errors over the pictures.

    Raises:
      InputError: if the run's family has no importance weights.
    """
    trained, model = asked.trained, asked.trained.model
    METRICS["likelihood"].check(asked)
    draw, numbers, sections = asked.drawing, {}, []
    source = draw.open(trained.config.eval.split)
    weigh = weigher(trained, asked.seed, most=min(BATCH, asked.count))
    choices = tuple(model.modalities), ()
    found, shown = [[] for _ in choices], []
    for whole in draw.parts(source, asked.count, again=False):
        for weights, given in zip(found, choices, strict=True):
            part = whole.given(given)
            weights.append(weigh(part.images, part.values, part.has, part.first))
            if len(shown) < len(choices):
                shown.append(draw.grid(quantise(part.images), part))
        dimensions = whole.images[0].size
    for given, weights, grid in zip(choices, found, shown, strict=True):
        title = "+".join(given) or NOTHING
        numbers[title] = bounds(np.concatenate(weights), dimensions)
        heading = f"given {title}: {numbers[title]['iwae']:.4f} bits per dimension at most"
        print(heading, flush=True)
        sections.append((heading, grid))
    return Evaluation(numbers, sections)


def log_weights(
    trained: Trained,
    images: Float[np.ndarray, "rows height width 3"],
    values: Values,
    has: Mapping[str, Bool[np.ndarray, "rows"]],
    seed: int,
    samples: int = SAMPLES,
) -> Float[np.ndarray, "rows samples"]:
    """Importance weights' logarithms, in nats: see `Generator.log_weight`.

    Row i's are drawn from seed and i alone, the first of more samples as of fewer.

    Raises:
      InputError: if one is no number.
    """
    return weigher(trained, seed, min(BATCH, len(images)), samples)(images, values, has, 0)


def weigher(
    trained: Trained, seed: int, most: int, samples: int = SAMPLES
) -> Callable[..., Float[np.ndarray, "rows samples"]]:
    """`log_weights` of one part of the rows after another: (images, values, has, the first row).

    Args:
      trained: the run.
      seed: of what is drawn.
      most: rows that a device has at once.
      samples: of the posterior, for each row.
    """
    compute = partial(_weigh, trained.model, samples, seed)
    compiled = over_devices(trained, compute, finish=np.asarray, most=most)

    def weigh(images: Any, values: Values, has: Any, first: int) -> np.ndarray:
        found = compiled(images, values, has, np.arange(first, first + len(images), dtype="uint32"))
        if not np.isfinite(found).all():
            raise InputError(
                f"the likelihood of step {trained.step} is no number; allowed: another --step"
            )
        return found

    return weigh


def _weigh(
    model: Model,
    samples: int,
    seed: int,
    params: Any,
    state: Any,
    images: Float[Array, "batch height width 3"],
    values: Values,
    has: Presence,
    rows: UInt32[Array, "batch"],
) -> Float[Array, "batch samples"]:
    params, key = gathered(params), jax.random.key(seed)
    condition = fusion.fuse(params["encoders"]["fusion"], encode(model, params, values, has), has)

    def one(sample: Any) -> Float[Array, "batch"]:
        fold = jax.random.fold_in
        keys = jax.vmap(lambda row: fold(fold(key, row), sample))(rows)
        return model.generator.log_weight(params, state, images, condition, keys)

    return jax.lax.map(one, jnp.arange(samples)).T


def bounds(log_weights: Float[np.ndarray, "rows samples"], dimensions: int) -> dict[str, Any]:
    """ELBO and IWAE in bits per dimension, with their standard errors over the rows.

    IWAE is log of the mean weight, ELBO the mean of log weights: on the same samples never more.
    """
    samples = log_weights.shape[1]
    logs = log_weights.astype(np.float64)
    per_row = {"elbo": logs.mean(axis=1), "iwae": np.logaddexp.reduce(logs, axis=1)}
    per_row["iwae"] -= np.log(samples)
    found: dict[str, Any] = {}
    for name, nats in per_row.items():
        bits = -nats / (dimensions * np.log(2))
        found[name] = float(bits.mean())
        found[f"{name}_error"] = float(bits.std() / len(bits) ** 0.5)
    return found | {"samples": samples, "count": len(logs)}


def lacks(asked: Asked) -> str | None:
    """Why it does not fit the run."""
    if asked.trained.model.generator.log_weight is not None:
        return None
    return (
        f"metric 'likelihood' needs a family with a posterior over latents;"
        f" {asked.trained.config.generator.name!r} has none"
    )
