"""Family `gan`: a conditional GAN for any combination of modalities.

Objectives (`generator.gan.objective`):
  r3gan: relativistic pairing with R1 and R2 (Huang et al. 2024, R3GAN, section 2), and the real
    image with its own condition against the same with a wrong one (`mismatch_weight`).
  gan_cls: logistic; the real image with a wrong condition is a third pair (Reed et al. 2016,
    algorithm 1), and the score is smooth where the real image has the right one: the
    matching-aware gradient penalty (Tao et al. 2022, DF-GAN), of the norm of
    both gradients together, as in its authors' code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmgen_jax.conditioning.fusion import Condition, with_experts
from mmgen_jax.generators import TWO_PLAYERS, Generator, Losses
from mmgen_jax.generators.adversarial import (
    gradient_penalty,
    lazily,
    logistic,
    mean_of_wrong,
    relativistic,
    wrong_conditions,
)
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.gan.keys import GANOptions, GANSampling
from mmgen_jax.generators.gan.networks import FusionGenerator, ProjectionDiscriminator
from mmgen_jax.generators.latents import Latents, sampler, spherical
from mmgen_jax.nn import global_batch

Images = Float[Array, "batch height width channel"]
Scores = Float[Array, "batch"]


class Critic(NamedTuple):
    """The discriminator with its parameters."""

    network: ProjectionDiscriminator
    params: Any

    def read(self, images: Images) -> Float[Array, "batch features"]:
        """What images show, which does not depend on the condition."""
        return self.network.apply({"params": self.params}, images, method="read")

    def score(self, features: Float[Array, "batch features"], condition: Condition) -> Scores:
        """How real what was read is, and how well it goes with a condition."""
        args = features, *inputs(condition)
        return self.network.apply({"params": self.params}, *args, method="score")


def build(options: GANOptions, codec: Codec, dtype: str) -> Generator:
    """A DF-GAN generator against a projection discriminator."""
    network = FusionGenerator(
        image_size=codec.shape[0],
        patch_size=options.patch_size,
        widths=options.widths,
        style_width=options.style_width,
        dtype=jnp.dtype(dtype),
    )
    play = OBJECTIVES[options.objective]

    def judge(condition: Condition) -> ProjectionDiscriminator:
        return ProjectionDiscriminator(
            patch_size=options.patch_size,
            widths=options.discriminator_widths,
            features=options.features,
            modalities=tuple(sorted(condition.experts)),
            dtype=jnp.dtype(dtype),
        )

    def draw(keys: Key[Array, "batch"]) -> Float[Array, "batch noise"]:
        return jax.vmap(lambda key: jax.random.normal(key, (options.z_dim,)))(keys)

    def generate(params: Any, noise: Float[Array, "batch noise"], condition: Condition) -> Images:
        return network.apply({"params": params["generator"]}, noise, condition.vector)

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        first, second = jax.random.split(key)
        noise = jnp.zeros((images.shape[0], options.z_dim))
        made = network.init(first, noise, condition.vector)
        opponent = judge(condition).init(second, images, *inputs(condition))
        return {"generator": made["params"], "discriminator": opponent["params"]}, {}

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        stop = jax.lax.stop_gradient
        fake = generate(params, draw(keys), condition)
        # The encoders learn from the game only through the picture.
        seen = stop(condition)
        critic = Critic(judge(seen), params["discriminator"])
        game, metrics = play.discriminator(options, critic, images, stop(fake), seen, step)
        frozen = critic._replace(params=stop(critic.params))
        pleasing = play.generator(frozen, images, fake, seen)
        players = {"generator": pleasing, "discriminator": game}
        return Losses(players, state, metrics | {"adversarial": pleasing}, fake)

    def draw_latents(
        params: Any,
        state: Any,
        condition: Condition,
        keys: Key[Array, "batch"],
        options: GANSampling,
    ) -> Float[Array, "batch 1 noise"]:
        return options.truncation * draw(keys)[:, None]

    def render(
        params: Any,
        state: Any,
        condition: Condition,
        latents: Float[Array, "batch 1 noise"],
        keys: Key[Array, "batch"],
    ) -> Images:
        return generate(params, latents[:, 0], condition)

    latents = Latents(draw_latents, render, spherical)

    return Generator(
        players=TWO_PLAYERS,
        init=init,
        losses=losses,
        sample=sampler(latents),
        latents=latents,
    )


def r3gan_discriminator(
    options: GANOptions,
    critic: Critic,
    images: Images,
    fake: Images,
    condition: Condition,
    step: Any,
) -> tuple[Any, dict[str, Any]]:
    """(loss, metrics): pairs of images with one condition, of conditions of one image; R1, R2."""
    features = critic.read(images)
    real, generated = critic.score(features, condition), critic.score(critic.read(fake), condition)
    loss = global_batch.mean(relativistic(real, generated))
    wrong = against_wrong_conditions(
        lambda condition: relativistic(real, critic.score(features, condition)), condition
    )

    def penalties() -> tuple[Any, Any]:
        score = lambda x: critic.score(critic.read(x), condition)  # noqa: E731
        return tuple(global_batch.mean(gradient_penalty(score, x)) for x in (images, fake))

    r1, r2 = lazily(step, options.penalty_every, penalties)
    metrics = _metrics(real, generated, wrong) | {"r1": r1, "r2": r2}
    penalty = 0.5 * gamma(options, step) * (r1 + r2)
    return loss + options.mismatch_weight * wrong + penalty, metrics


def gamma(options: GANOptions, step: Any) -> Any:
    """The weight of the penalties, along half a cosine (Huang et al. 2024, R3GAN)."""
    left = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / options.gamma_steps, 1.0)))
    return options.gamma_final + (options.gamma - options.gamma_final) * left


def r3gan_generator(critic: Critic, images: Images, fake: Images, condition: Condition) -> Any:
    """The loss: each generated image against the real one of the same condition."""
    real, generated = (critic.score(critic.read(x), condition) for x in (images, fake))
    return global_batch.mean(relativistic(generated, real))


def gan_cls_discriminator(
    options: GANOptions,
    critic: Critic,
    images: Images,
    fake: Images,
    condition: Condition,
    step: Any,
) -> tuple[Any, dict[str, Any]]:
    """(loss, metrics): real, generated, real with a wrong condition; matching-aware penalty."""
    features = critic.read(images)
    real, generated = critic.score(features, condition), critic.score(critic.read(fake), condition)
    wrong = against_wrong_conditions(
        lambda condition: logistic(-critic.score(features, condition)), condition
    )
    against = global_batch.mean(logistic(-generated))
    loss = global_batch.mean(logistic(real)) + 0.5 * (against + options.mismatch_weight * wrong)

    def penalty() -> Any:
        means = {name: expert.mean for name, expert in condition.experts.items()}

        def score(inputs: Any) -> Scores:
            return critic.score(critic.read(inputs[0]), with_means(condition, inputs[1]))

        # The sixth power of the norm: the cube of its square.
        return global_batch.mean(gradient_penalty(score, (images, means)) ** 3)

    smooth = lazily(step, options.penalty_every, penalty)
    metrics = _metrics(real, generated, wrong) | {"matching_penalty": smooth}
    return loss + options.matching_weight * smooth, metrics


def gan_cls_generator(critic: Critic, images: Images, fake: Images, condition: Condition) -> Any:
    """The loss: generated images that pass for real ones of their condition."""
    return global_batch.mean(logistic(critic.score(critic.read(fake), condition)))


class Objective(NamedTuple):
    """Both players' losses."""

    discriminator: Callable[..., tuple[Any, dict[str, Any]]]
    generator: Callable[..., Any]


OBJECTIVES = {
    "r3gan": Objective(r3gan_discriminator, r3gan_generator),
    "gan_cls": Objective(gan_cls_discriminator, gan_cls_generator),
}


def against_wrong_conditions(
    loss: Callable[[Condition], Scores], condition: Condition
) -> Float[Array, ""]:
    """Mean of a loss of wrong conditions (`adversarial.mean_of_wrong`)."""
    wrong = wrong_conditions(condition)
    return mean_of_wrong([loss(each) for each, _ in wrong], wrong)


def with_means(condition: Condition, means: dict[str, Array]) -> Condition:
    """The condition with other means of its experts."""
    experts = {m: e._replace(mean=means[m]) for m, e in condition.experts.items()}
    return with_experts(condition, experts)


def inputs(condition: Condition) -> tuple[Any, ...]:
    """What the discriminator takes of a condition."""
    means = {name: expert.mean for name, expert in condition.experts.items()}
    given = {name: expert.given.astype(jnp.float32) for name, expert in condition.experts.items()}
    return condition.vector, means, given


def _metrics(real: Scores, generated: Scores, wrong: Any) -> dict[str, Any]:
    return {
        "score_real": global_batch.mean(real),
        "score_generated": global_batch.mean(generated),
        "mismatched": wrong,
    }
