"""Terms of the game between a generator and a discriminator, for every family that plays it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmgen_jax.conditioning.fusion import Condition, Expert, with_experts
from mmgen_jax.nn import global_batch

Scores = Float[Array, "batch"]
Wrong = list[tuple[Condition, Bool[Array, "batch"]]]

LAZILY = "lazily"  # scope of terms that are not there at every step


def logistic(score: Scores) -> Scores:
    """-log p(real) of a score that is a logit: small where the score is high.

    The discriminator pays logistic(real) + logistic(-fake), the generator logistic(fake): the
    non-saturating game (Goodfellow et al. 2014, section 3).
    """
    return jax.nn.softplus(-score)


def relativistic(higher: Scores, lower: Scores) -> Scores:
    """-log p(the first of a pair is the more real one) (Jolicoeur-Martineau 2019).

    The discriminator pays relativistic(real, fake), the generator relativistic(fake, real).
    """
    return logistic(higher - lower)


def gradient_penalty(score: Callable[[Any], Scores], inputs: Any) -> Scores:
    """Squared norm of the gradient, by each example's inputs, of the sum of the scores.

    That is of its own score, but where a score looks at other examples too (a minibatch's
    deviation).

    On real images, weighed by gamma / 2, it is R1, on generated ones R2 (Mescheder et al. 2018,
    eq. 9 and 10).

    Args:
      score: of a batch.
      inputs: a tree of arrays [batch, ...].
    """
    gradients = jax.grad(lambda x: score(x).sum())(inputs)
    squares = [jnp.square(g).reshape(g.shape[0], -1).sum(-1) for g in jax.tree.leaves(gradients)]
    return jnp.stack(squares).sum(0)


def lazily(step: Any, every: int, term: Callable[[], Any]) -> Any:
    """A regulariser at one step in `every`, that many times as large; 0 at the others.

    Its mean over steps is that of the term (Karras et al. 2020, StyleGAN2, section 3.1). Metrics
    are means over `train.log_every` steps: curves of such terms are smooth if `every` divides it.
    """
    if every == 1:
        return term()
    zeros = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(term))  # noqa: E731
    scaled = lambda: jax.tree.map(lambda x: every * x, term())  # noqa: E731
    with jax.named_scope(f"{LAZILY}_{every}"):  # how often: for whoever counts what a step costs
        return jax.lax.cond(step % every == 0, scaled, zeros)


def wrong_conditions(condition: Condition) -> Wrong:
    """For each modality a condition that is wrong in it alone, and where it is.

    The wrong value is that of another example that is given one, and a different one: real images
    with it are the third pair of matching-aware discriminators (Reed et al. 2016, algorithm 1).
    As there, another's value may mean the same in other words, and is then taught as wrong.
    """
    found = []
    for name, expert in condition.experts.items():
        other = Expert(*map(global_batch.roll, expert))
        differs = (other.mean != expert.mean).any(-1)
        wrong = with_experts(condition, condition.experts | {name: other})
        found.append((wrong, expert.given & other.given & differs))
    return found


def mean_of_wrong(losses: Sequence[Scores], wrong: Wrong) -> Float[Array, ""]:
    """Mean of each wrong condition's loss over where it is wrong, then over the modalities."""
    means = [global_batch.masked_mean(x, mask) for x, (_, mask) in zip(losses, wrong, strict=True)]
    return sum(means) / len(means)
