"""Encodings and who is present -> one Condition."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmgen_jax.modalities import Encoding, Modality, Shared
from mmgen_jax.nn.patches import sequence_positions

Values = Mapping[str, Any]
Presence = Mapping[str, Bool[Array, "batch"]]


class Expert(NamedTuple):
    """What one modality says of an image, as a Gaussian; zeros where it is not given.

    Attributes:
      mean, log_precision: of the expert.
      given: which rows are given it.
    """

    mean: Float[Array, "batch pooled"]
    log_precision: Float[Array, "batch pooled"]
    given: Bool[Array, "batch"]


class Condition(NamedTuple):
    """All that a generator learns of its inputs.

    Attributes:
      tokens: the modalities' tokens one after another, behind a null token that is always there.
      mask: True where a token counts.
      positions: (index within its modality, 0, 0), for rotary positions; the same in every row.
      mean: mean of the product of the present experts.
      log_precision: log of its precision, 0 where nothing is present.
      experts: by modality, for networks that look at each one by itself.
    """

    tokens: Float[Array, "batch tokens width"]
    mask: Bool[Array, "batch tokens"]
    positions: Float[Array, "tokens 3"]
    mean: Float[Array, "batch pooled"]
    log_precision: Float[Array, "batch pooled"]
    experts: dict[str, Expert]

    @property
    def vector(self) -> Float[Array, "batch features"]:
        """The pooled product of experts, for layers that take one vector per example."""
        return jnp.concatenate([self.mean, self.log_precision], axis=-1)

    @property
    def inputs(self) -> tuple[Array, Array, Array, Array]:
        """What a transformer takes of it: tokens, mask, positions and vector."""
        return self.tokens, self.mask, self.positions, self.vector


def init(key: Key[Array, ""], names: tuple[str, ...], shared: Shared) -> dict[str, Any]:
    """Parameters of the fusion: a null token, and for each modality what marks its tokens."""
    keys = jax.random.split(key, len(names) + 1)
    draw = [0.02 * jax.random.normal(k, (shared.width,)) for k in keys]
    return {"null": draw[0], "mark": dict(zip(names, draw[1:], strict=True))}


def encode(
    modalities: Mapping[str, Modality], params: Any, values: Values, has: Presence
) -> dict[str, Encoding]:
    """h_m = f(x_m) for every modality.

    Values that a record lacks are replaced *before* an encoder sees them, so that their bits,
    NaN included, can reach neither outputs nor gradients.
    """
    encodings = {}
    for name, modality in modalities.items():
        value = replace_absent(modality, values[name], has[name])
        encoding = modality.encode(params[name], value)
        mask = encoding.mask & has[name][:, None]
        encodings[name] = encoding._replace(mask=mask, present=has[name])
    return encodings


def replace_absent(modality: Modality, value: Any, has: Bool[Array, "batch"]) -> Any:
    """`value` with the modality's stand-in in the rows that lack it."""

    def choose(given: Array, absent: Any) -> Array:
        rows = has.reshape(-1, *(1,) * (given.ndim - 1))
        return jnp.where(rows, given, jnp.asarray(absent, given.dtype)[None])

    return jax.tree.map(choose, value, modality.absent)


def sample_presence(
    keys: Key[Array, "batch"],
    has: Presence,
    keep: Mapping[str, float],
    rate_all: float,
    rate_none: float,
) -> dict[str, Bool[Array, "batch"]]:
    """Draws which modalities an example is given in training, among those that it has.

    With probability `rate_all` all, with `rate_none` none, else each one by itself with
    probability `keep[m]`; 0.5 for all makes every subset equally likely. So every subset is
    trained, and none, for guidance.
    """

    def draw(key: Key[Array, ""]) -> dict[str, Bool[Array, ""]]:
        mixture, *each = jax.random.split(key, len(keep) + 1)
        u = jax.random.uniform(mixture)
        # By sorted name: the order in which modalities are named changes nothing.
        subset = {
            name: jax.random.bernoulli(k, keep[name])
            for name, k in zip(sorted(keep), each, strict=True)
        }
        return {n: (u < rate_all) | ((u >= rate_all + rate_none) & s) for n, s in subset.items()}

    drawn = jax.vmap(draw)(keys)
    return {name: drawn[name] & has[name] for name in keep}


def fuse(params: Any, encodings: Mapping[str, Encoding], given: Presence) -> Condition:
    """Joins the encodings of the modalities that are given.

    Tokens are concatenated and masked, experts multiplied (`product`).

    Args:
      params: what `init` made.
      encodings: by modality; their `present` says which rows have a value at all.
      given: by modality, which rows may use it.
    """
    batch = next(iter(encodings.values())).tokens.shape[0]
    null = jnp.broadcast_to(params["null"], (batch, 1, params["null"].shape[0]))
    tokens, masks, positions = [null], [jnp.ones((batch, 1), bool)], [sequence_positions(1)]
    experts = {}
    for name, encoding in encodings.items():
        use = given[name] & encoding.present
        mask = encoding.mask & use[:, None]
        marked = encoding.tokens + params["mark"][name][None, None]
        tokens.append(jnp.where(mask[..., None], marked, 0))
        masks.append(mask)
        positions.append(sequence_positions(mask.shape[1]))
        expert = jnp.stack([encoding.mean, encoding.log_precision])
        experts[name] = Expert(*jnp.where(use[None, :, None], expert, 0), use)
    mean, log_precision = product(experts)
    return Condition(
        tokens=jnp.concatenate(tokens, axis=1),
        mask=jnp.concatenate(masks, axis=1),
        positions=jnp.concatenate(positions, axis=0),
        mean=mean,
        log_precision=log_precision,
        experts=experts,
    )


def product(
    experts: Mapping[str, Expert],
) -> tuple[Float[Array, "batch pooled"], Float[Array, "batch pooled"]]:
    """(mean, log precision) of a product of Gaussian experts with a standard normal prior.

        precision = 1 + sum_m tau_m        mean = sum_m tau_m mu_m / precision

    (Huang et al. 2022, PoE-GAN, section 3.2; Hinton 2002): closed form, blind to order, and the
    prior when nothing is given.
    """
    precision, weighted = 1.0, 0.0
    for expert in experts.values():
        tau = jnp.where(expert.given[:, None], jnp.exp(expert.log_precision), 0)
        precision, weighted = precision + tau, weighted + tau * expert.mean
    return weighted / precision, jnp.log(precision)


def with_experts(condition: Condition, experts: dict[str, Expert]) -> Condition:
    """The condition with other experts; its tokens stay as they are."""
    mean, log_precision = product(experts)
    return condition._replace(mean=mean, log_precision=log_precision, experts=experts)
