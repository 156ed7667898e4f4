"""Families of image generators: the protocol, and the registry of families."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mmgen_jax.registry import Registry


class Losses(NamedTuple):
    """What one evaluation of a family's objective returns.

    Attributes:
      players: one scalar per player, to be minimised. Each stop-gradients the groups that its
        player does not own, so that the gradient of their sum is every player's own gradient.
      state: the new state.
      metrics: scalars for the log.
      images: Float[batch, height, width, channel], generated and differentiable, on which recovery
        may act; None where the family has none.
    """

    players: dict[str, Any]
    state: dict[str, Any]
    metrics: dict[str, Any]
    images: Any = None


class Generator(NamedTuple):
    """One family, ready to use, as pure functions.

    Its images are what its `codecs.Codec` makes of images: pixels in [-1, 1], or latents.

    Attributes:
      players: player -> the groups of parameters that it owns. A group nobody owns is frozen.
      init: (key, images, condition) -> (params, state); groups of its own only ("generator", ...).
      losses: (params, state, images, condition, keys[batch], step) -> Losses.
      sample: (params, state, guidance, keys[batch], options) -> images. `options` is the config
        group generator.FAMILY.sample.
      reconstruct: (params, state, images, condition) -> the images as the family's own code gives
        them back, in [-1, 1]; None where it has no code.
      inpaint: as `sample`, and (..., images, keep[batch, height, width]) -> images that are as
        those given where `keep` is True; None where the family cannot.
      latents: a `latents.Latents`, to blend and mix what pictures are drawn from; None where the
        family has none.
      log_weight: (params, state, images, condition, keys[batch]) -> Float[batch], log p(y, z | c) -
        log q(z | y, c) in nats, of one z that is drawn from the posterior for each image: the
        importance weight whose mean is p(y | c) (Burda et al. 2016, eq. 8); None where there is no
        posterior.
      pretrained: () -> those parts of what `init` makes that a fresh run takes from files instead,
        group by group, as trees of NumPy arrays. Raises InputError if the files cannot be used.
    """

    players: dict[str, tuple[str, ...]]
    init: Callable[..., tuple[Any, Any]]
    losses: Callable[..., Losses]
    sample: Callable[..., Any]
    reconstruct: Callable[..., Any] | None = None
    inpaint: Callable[..., Any] | None = None
    latents: Any = None
    log_weight: Callable[..., Any] | None = None
    pretrained: Callable[[], dict[str, Any]] = dict


class GeneratorSpec(NamedTuple):
    """What the registry holds for one family.

    Attributes:
      build: (options, codec, dtype) -> Generator. `options` is config.generator.FAMILY, `codec`
        says what the family is to draw.
      tokenizer: how its runs serve others; None where they do not.
    """

    build: Callable[[Any, Any, str], Generator]
    tokenizer: "Tokenizer | None" = None


class Tokenizer(NamedTuple):
    """What a family offers to generators that are to draw in its latents.

    Attributes:
      codec: (options, height, width, dtype) -> Codec. `options` is config.generator.FAMILY.
      freeze: (params, state) of a trained run -> the codec's parameters, group by group.
    """

    codec: Callable[[Any, int, int, str], Any]
    freeze: Callable[[Any, Any], dict[str, Any]]


GENERATORS = Registry(
    "generator",
    {
        "flow": "mmgen_jax.generators.flow.family:FLOW",
        "autoencoder": "mmgen_jax.generators.autoencoder.family:AUTOENCODER",
        "gan": "mmgen_jax.generators.gan.family:GAN",
        "stylegan": "mmgen_jax.generators.stylegan.family:STYLEGAN",
        "vae": "mmgen_jax.generators.vae.family:VAE",
        "vqvae": "mmgen_jax.generators.vqvae.family:VQVAE",
        "dalle": "mmgen_jax.generators.dalle.family:DALLE",
    },
)
