"""Family `stylegan`: StyleGAN2 with adaptive augmentation, conditioned on the pooled vector.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2), config F,
and Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (ADA).

Options beyond both: real images with a wrong condition as a third pair (`mismatch_weight`; Reed et
al. 2016, algorithm 1), a generator that pays where two styles draw the same (`mode_seeking_weight`;
Mao et al. 2019), and maps whose places stand for `patch_size` x `patch_size` pixels each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.generators import TWO_PLAYERS, Generator, Losses
from mmgen_jax.generators.adversarial import (
    gradient_penalty,
    lazily,
    logistic,
    mean_of_wrong,
    wrong_conditions,
)
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.latents import Latents, linear, sampler
from mmgen_jax.generators.stylegan import augmentations
from mmgen_jax.generators.stylegan.augment import adapt, augment
from mmgen_jax.generators.stylegan.keys import StyleGANOptions, StyleGANSampling
from mmgen_jax.generators.stylegan.networks import (
    Discriminator,
    Mapping,
    Synthesis,
    layer_count,
    noise_shapes,
)
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.patches import depth_to_space, space_to_depth

Images = Float[Array, "batch height width channel"]
Style = Float[Array, "batch width"]
Styles = Float[Array, "batch layers width"]

STYLE_MEAN_DECAY = 0.995  # of the mean style, towards which truncation goes
PATH_MEAN_DECAY = 0.99  # of the mean length of a path (StyleGAN2, appendix B)
MODE_SEEKING_EPSILON = 0.05  # a ratio of distances so small that images are as good as the same


class Draws(NamedTuple):
    """All that is random in one example's losses.

    Attributes:
      z: of the style, and of the one it is mixed with.
      crossover: first layer of the other style; the number of layers where they are not mixed.
      noise: of every layer.
      direction: in the space of images, along which paths are measured.
      real, fake: keys of the augmentation of either image.
    """

    z: tuple[Float[Array, "..."], Float[Array, "..."]]
    crossover: Int[Array, "..."]
    noise: tuple[Float[Array, "..."], ...]
    direction: Float[Array, "..."]
    real: Key[Array, "..."]
    fake: Key[Array, "..."]


def build(options: StyleGANOptions, codec: Codec, dtype: str) -> Generator:
    """StyleGAN2's generator and discriminator, and its two lazy regularisers."""
    nets = Networks(options, codec.shape[0], dtype)
    drawn = jax.vmap(partial(draw, options.mixing, nets))
    kinds = augmentations.parse(options.augment)

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        state = {
            "style_mean": jnp.zeros(options.width),
            "path_mean": jnp.zeros(()),
            "augment_probability": jnp.zeros(()),
        }
        return nets.init(key, images, condition), state

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        stop = jax.lax.stop_gradient
        draws = drawn(keys)
        style, styles = nets.styles(params, draws, condition)
        fake = nets.synthesise(params, styles, draws.noise)
        # The encoders learn from the game only through the picture.
        seen, probability = stop(condition), state["augment_probability"]

        def score(params: Any, images: Images, keys: Any, condition: Any = seen.mean) -> Any:
            return nets.judge(params, augment(images, keys, probability, kinds), condition)

        critic = partial(score, params)
        game, judged = discriminator_loss(options, critic, images, stop(fake), seen, draws, step)
        pleasing = global_batch.mean(logistic(score(stop(params), fake, draws.fake)))
        path, path_mean = path_penalty(options, nets, params, state, styles, draws, step)
        seeking = mode_seeking(options, nets, params, condition, draws, fake)
        varied = options.path_weight * path + options.mode_seeking_weight * seeking
        sign, speed = judged["real_sign"], global_batch.size(images) / options.augment_images
        adapted = adapt(probability, sign, options.augment_target, speed)
        moved = {
            "style_mean": _towards(global_batch.mean(style), state["style_mean"], STYLE_MEAN_DECAY),
            "path_mean": path_mean,
            "augment_probability": adapted if any(kinds) else probability,
        }
        metrics = judged | {
            "adversarial": pleasing,
            "mode_seeking": seeking,
            "path_penalty": path,
            "path_mean": path_mean,
            "augment_probability": probability,
        }
        players = {"generator": pleasing + varied, "discriminator": game}
        return Losses(players, stop(moved), metrics, fake)

    def draw_latents(
        params: Any,
        state: Any,
        condition: Condition,
        keys: Key[Array, "batch"],
        options: StyleGANSampling,
    ) -> Styles:
        style = nets.style(params, drawn(keys).z[0], condition)
        mean = state["style_mean"][None]
        return nets.everywhere(mean + options.truncation * (style - mean))

    def render(
        params: Any, state: Any, condition: Condition, latents: Styles, keys: Key[Array, "batch"]
    ) -> Images:
        return nets.synthesise(params, latents, drawn(keys).noise)

    latents = Latents(draw_latents, render, linear)

    return Generator(
        players=TWO_PLAYERS,
        init=init,
        losses=losses,
        sample=sampler(latents),
        latents=latents,
    )


class Networks:
    """StyleGAN2's three networks as functions of the parameters.

    Of a condition they take the mean alone. Both normalise what they take, and in the whole vector
    the precision, much the same whatever is asked for, would drown it.
    """

    def __init__(self, options: StyleGANOptions, image_size: int, dtype: str):
        size = image_size // options.patch_size
        sizes = {
            "image_size": size,
            "channel_base": options.channel_base,
            "channel_max": options.channel_max,
            "dtype": jnp.dtype(dtype),
        }
        self.width, self.image_size, self.patch_size = options.width, image_size, options.patch_size
        self.layers, self.shapes = layer_count(size), noise_shapes(size)
        self._mapping = Mapping(
            width=options.width, layers=options.mapping_layers, lr_multiplier=options.mapping_rate
        )
        self._synthesis = Synthesis(channels=3 * options.patch_size**2, **sizes)
        self._discriminator = Discriminator(
            mapping_layers=options.mapping_layers, mbstd_group=options.mbstd_group, **sizes
        )

    def init(self, key: Key[Array, ""], images: Images, condition: Condition) -> Any:
        """Fresh parameters of both players."""
        keys, rows = jax.random.split(key, 3), images.shape[0]
        z, styles = jnp.zeros((rows, self.width)), jnp.zeros((rows, self.layers, self.width))
        noise = tuple(jnp.zeros((rows, *shape)) for shape in self.shapes)
        mapping = self._mapping.init(keys[0], z, condition.mean)
        pictured = space_to_depth(images, self.patch_size)
        discriminator = self._discriminator.init(keys[2], pictured, condition.mean)
        return {
            "generator": {
                "mapping": mapping["params"],
                "synthesis": self._synthesis.init(keys[1], styles, noise)["params"],
            },
            "discriminator": discriminator["params"],
        }

    def style(self, params: Any, z: Float[Array, "batch z"], condition: Condition) -> Style:
        """w, of which every layer has its own affine reading."""
        mapping = {"params": params["generator"]["mapping"]}
        return self._mapping.apply(mapping, z, condition.mean)

    def styles(self, params: Any, draws: Draws, condition: Condition) -> tuple[Style, Styles]:
        """(w, w of every layer, mixed with another from the crossover on)."""
        first, second = (self.style(params, z, condition) for z in draws.z)
        own = jnp.arange(self.layers)[None] < draws.crossover[:, None]
        return first, jnp.where(own[..., None], self.everywhere(first), self.everywhere(second))

    def everywhere(self, style: Style) -> Styles:
        """The same style in every layer."""
        return jnp.repeat(style[:, None], self.layers, axis=1)

    def synthesise(self, params: Any, styles: Styles, noise: tuple[Array, ...]) -> Images:
        synthesis = {"params": params["generator"]["synthesis"]}
        return depth_to_space(self._synthesis.apply(synthesis, styles, noise), self.patch_size)

    def judge(
        self, params: Any, images: Images, means: Float[Array, "batch ... pooled"]
    ) -> Float[Array, "batch ..."]:
        """How real images are, and how well they go with conditions' means, as logits."""
        discriminator = {"params": params["discriminator"]}
        return self._discriminator.apply(
            discriminator, space_to_depth(images, self.patch_size), means
        )


def draw(mixing: float, nets: Networks, key: Key[Array, ""]) -> Draws:
    """What one example needs; the crossover lies within the layers with probability `mixing`."""
    keys = jax.random.split(key, 7)
    normal = jax.random.normal
    crossover = jax.random.randint(keys[2], (), 1, nets.layers)
    mixed = jax.random.bernoulli(keys[3], mixing)
    noise_keys = jax.random.split(keys[4], len(nets.shapes))
    return Draws(
        z=(normal(keys[0], (nets.width,)), normal(keys[1], (nets.width,))),
        crossover=jnp.where(mixed, crossover, nets.layers),
        noise=tuple(map(normal, noise_keys, nets.shapes)),
        direction=normal(keys[5], (nets.image_size, nets.image_size, 3)),
        real=jax.random.fold_in(keys[6], 0),
        fake=jax.random.fold_in(keys[6], 1),
    )


def discriminator_loss(
    options: StyleGANOptions,
    score: Callable[..., Array],
    images: Images,
    fake: Images,
    condition: Condition,
    draws: Draws,
    step: Any,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """(loss, metrics): real, generated, real with a wrong condition, R1.

    The logistic game with lazy R1 (Karras et al. 2020, StyleGAN2, section 3.1).

    Args:
      options: of the family.
      score: (images, keys of their augmentation, conditions' means if not `condition`'s) -> logits.
      images: real ones.
      fake: generated ones.
      condition: of both.
      draws: all that is random.
      step: says when R1 is due.
    """
    wrong = wrong_conditions(condition)
    means = jnp.stack([condition.mean, *(c.mean for c, _ in wrong)], axis=1)
    real, *others = score(images, draws.real, means).T
    generated = score(fake, draws.fake)
    game = global_batch.mean(logistic(real) + logistic(-generated))
    mismatched = mean_of_wrong([logistic(-other) for other in others], wrong)

    def penalty() -> Float[Array, ""]:
        return global_batch.mean(gradient_penalty(lambda x: score(x, draws.real), images))

    r1 = lazily(step, options.r1_every, penalty)
    metrics = {
        "score_real": global_batch.mean(real),
        "score_generated": global_batch.mean(generated),
        "real_sign": global_batch.mean(jnp.sign(real)),
        "mismatched": mismatched,
        "r1": r1,
    }
    return game + options.mismatch_weight * mismatched + 0.5 * options.gamma * r1, metrics


def path_penalty(
    options: StyleGANOptions,
    nets: Networks,
    params: Any,
    state: Any,
    styles: Styles,
    draws: Draws,
    step: Any,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(penalty, new mean length): an equal step of w moves the image equally (StyleGAN2, eq. 4).

    Lengths are those of J^T y with y normal in the space of images, over the square root of the
    number of pixels, as in NVIDIA's code. Where the penalty has no weight, nothing is measured.
    """
    if not options.path_weight:
        return jnp.zeros(()), state["path_mean"]

    def measure() -> tuple[Any, Any]:
        def along(styles: Styles) -> Float[Array, ""]:
            images = nets.synthesise(params, styles, draws.noise)
            return (images * draws.direction).sum() / nets.image_size

        lengths = jnp.sqrt(jnp.square(jax.grad(along)(styles)).sum(2).mean(1))
        mean = _towards(global_batch.mean(lengths), state["path_mean"], PATH_MEAN_DECAY)
        return global_batch.mean(jnp.square(lengths - mean)), mean - state["path_mean"]

    penalty, moved = lazily(step, options.path_every, measure)
    return penalty, state["path_mean"] + moved / options.path_every


def mode_seeking(
    options: StyleGANOptions,
    nets: Networks,
    params: Any,
    condition: Condition,
    draws: Draws,
    fake: Images,
) -> Float[Array, ""]:
    """Mean of 1 / (|image1 - image0| / |z1 - z0| + epsilon), in L1 (Mao et al. 2019, MSGAN).

    Both images have the same condition and noise; where styles are mixed, the other image has them
    exchanged. Where the term has no weight, nothing is drawn.
    """
    if not options.mode_seeking_weight:
        return jnp.zeros(())
    exchanged = draws._replace(z=draws.z[::-1])
    _, styles = nets.styles(params, exchanged, condition)
    other = nets.synthesise(params, styles, draws.noise)
    apart = jnp.abs(other - fake).mean((1, 2, 3)) / jnp.abs(draws.z[1] - draws.z[0]).mean(1)
    return global_batch.mean(1 / (apart + MODE_SEEKING_EPSILON))


def _towards(new: Any, mean: Any, decay: float) -> Any:
    return decay * mean + (1 - decay) * new
