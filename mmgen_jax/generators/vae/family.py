"""Family `vae`: a conditional variational autoencoder with several groups of latents.

Kingma & Welling 2014; prior p(z | c) and posterior q(z | y, c) of a condition c: Sohn et al. 2015;
groups from coarse to fine: `nn.vae`. The loss is the negative evidence lower bound,

    - E_q[log p(y | z, c)] + KL(q(z | y, c) || p(z | c)),

in nats per dimension, a dimension being one of a picture's height x width x 3 values. A picture's
values have 256 levels, whose probabilities are those of a discretised logistic distribution
(Salimans et al. 2017, PixelCNN++, section 2.1).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.generators import ONE_PLAYER, Generator, Losses
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.latents import Latents, sampler, spherical
from mmgen_jax.generators.vae.keys import VAEOptions, VAESampling
from mmgen_jax.generators.vae.networks import HierarchicalVAE, Likelihood, Noise, Posterior
from mmgen_jax.nn import global_batch

Images = Float[Array, "batch height width channel"]

FIRST_LOG_SCALE = -1.0  # of a pixel, when training begins: errors cost their squares


def build(options: VAEOptions, codec: Codec, dtype: str) -> Generator:
    """A hierarchical VAE of RGB images. It has no state."""
    network = HierarchicalVAE(
        image_size=codec.shape[0],
        patch_size=options.patch_size,
        width=options.width,
        depth=options.depth,
        num_heads=options.num_heads,
        latent=options.latent_dim,
        sides=options.latent_sides,
        dtype=jnp.dtype(dtype),
    )
    shape = (len(options.latent_sides), options.latent_dim)

    def normal(keys: Key[Array, "batch"]) -> Noise:
        return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)

    def run(params: Any, condition: Condition, *inputs: Any) -> tuple[Likelihood, Posterior]:
        return network.apply({"params": params["generator"]}, condition.vector, *inputs)

    def picture(params: Any, condition: Condition, *inputs: Any) -> Images:
        """The mean of the likelihood of what is drawn."""
        return jnp.clip(run(params, condition, *inputs)[0].mean, -1, 1)

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        noise = jnp.zeros((images.shape[0], *shape))
        return {"generator": network.init(key, condition.vector, noise, images)["params"]}, {}

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        posterior_keys, prior_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        likelihood, posterior = run(params, condition, normal(posterior_keys), images)
        likelihood = softened(options, likelihood, step)
        dimensions = images[0].size
        nll = -global_batch.mean(log_likelihood(images, likelihood)) / dimensions
        kl = global_batch.mean(divergence(posterior))
        loss = nll + charged(options, kl, step) / dimensions
        metrics = {f"kl_{number}": of for number, of in enumerate(kl / dimensions)}
        total = kl.sum() / dimensions
        metrics |= {"nll": nll, "kl": total, "bits_per_dim": (nll + total) / jnp.log(2.0)}
        drawn = picture(params, condition, normal(prior_keys))
        return Losses({"generator": loss}, state, metrics, drawn)

    def draw(
        params: Any,
        state: Any,
        condition: Condition,
        keys: Key[Array, "batch"],
        options: VAESampling,
    ) -> Noise:
        return options.temperature * normal(keys)

    def render(
        params: Any, state: Any, condition: Condition, latents: Noise, keys: Key[Array, "batch"]
    ) -> Images:
        return picture(params, condition, latents)

    def reconstruct(params: Any, state: Any, images: Images, condition: Condition) -> Images:
        return picture(params, condition, jnp.zeros((images.shape[0], *shape)), images)

    def log_weight(
        params: Any, state: Any, images: Images, condition: Condition, keys: Key[Array, "batch"]
    ) -> Float[Array, "batch"]:
        noise = normal(keys)
        likelihood, posterior = run(params, condition, noise, images)
        return log_likelihood(images, likelihood) + log_ratio(posterior, noise)

    latents = Latents(draw, render, spherical)
    return Generator(
        players=ONE_PLAYER,
        init=init,
        losses=losses,
        sample=sampler(latents),
        latents=latents,
        reconstruct=reconstruct,
        log_weight=log_weight,
    )


def softened(options: VAEOptions, likelihood: Likelihood, step: Any) -> Likelihood:
    """The likelihood with scales that are alike at first, and the network's own at last.

    A pixel that is certain has gradients as large as its scale is small. Where most of a picture is
    background, they drown those of what stands in front of it, whose scale grows instead of its
    mean being learned (Seitzer et al. 2022, "On the pitfalls of heteroscedastic uncertainty
    estimation"): so first the means, nearly by least squares, then how certain they are.
    """
    if not options.scale_warmup_steps:
        return likelihood
    done = jnp.minimum(step / options.scale_warmup_steps, 1)
    own = likelihood.log_scale
    return likelihood._replace(log_scale=FIRST_LOG_SCALE + done * (own - FIRST_LOG_SCALE))


def charged(options: VAEOptions, kl: Float[Array, "..."], step: Any) -> Float[Array, ""]:
    """What the loss charges for the groups' KL divergences, in nats.

    Its weight grows from 0 to 1 over `kl_warmup_steps` (Sønderby et al. 2016, section 2.2), and no
    group is asked to go below `free_bits` (Kingma et al. 2016, IAF, eq. 16; there as here of the
    batch's mean).
    """
    weight = jnp.minimum(step / options.kl_warmup_steps, 1.0)
    return weight * jnp.maximum(kl, options.free_bits * jnp.log(2.0)).sum()


def divergence(posterior: Posterior) -> Float[Array, "batch groups"]:
    """KL(q || N(0, 1)) of each group, in nats (Kingma & Welling 2014, appendix B)."""
    log_variance = 2 * posterior.log_deviation
    square = jnp.square(posterior.mean) + jnp.exp(log_variance)
    return 0.5 * (square - 1 - log_variance).sum(axis=-1)


def log_ratio(posterior: Posterior, noise: Noise) -> Float[Array, "batch"]:
    """Log p(ε) - log q(ε) of ε = mean + deviation * noise, in nats."""
    log_prior = -0.5 * jnp.square(posterior.noise)
    log_posterior = -0.5 * jnp.square(noise) - posterior.log_deviation
    return (log_prior - log_posterior).sum(axis=(1, 2))


def log_likelihood(images: Images, likelihood: Likelihood) -> Float[Array, "batch"]:
    """Log p(y | z, c) of images whose values are among the 256 levels of [-1, 1], in nats."""
    return discretised_logistic(images, *likelihood).sum(axis=(1, 2, 3))


def discretised_logistic(
    x: Float[Array, "..."], mean: Float[Array, "..."], log_scale: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Log probability of a level under a logistic distribution cut into 256 of them.

    Level x in [-1, 1] has what lies within half a step of it, the first and the last have all
    beyond (Salimans et al. 2017, eq. 2). With upper and lower bounds a > b in units of the scale,

        sigmoid(a) - sigmoid(b) = sigmoid(a) * sigmoid(-b) * (1 - exp(b - a)),

    which is exact where the difference would be rounded to 0.
    """
    half, inverse = 1 / 255, jnp.exp(-log_scale)
    below = jax.nn.log_sigmoid((x + half - mean) * inverse)
    above = jax.nn.log_sigmoid((mean - x + half) * inverse)
    between = below + above + jnp.log(-jnp.expm1(-2 * half * inverse))
    first, last = x < -1 + half, x > 1 - half
    return jnp.where(first, below, jnp.where(last, above, between))
