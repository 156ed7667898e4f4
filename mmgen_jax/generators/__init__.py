"""Families of image generators: the protocol, and the registry of families."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmgen_jax.registry import Registry
from mmgen_jax.schema import MOST_GUIDANCE, Check, Rule, between, option, read_options


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


ONE_PLAYER = {"generator": ("encoders", "recovery", "generator")}
TWO_PLAYERS = ONE_PLAYER | {"discriminator": ("discriminator",)}


@dataclass(frozen=True)
class SamplingOptions:
    """Options of sampling that every family has."""

    candidates: int = option(
        1,
        "pictures drawn for each one kept: whose inputs are recovered best; 1: no choice",
        between(1, 10_000),
    )


class TokenizerSpec(NamedTuple):
    """What a family offers to generators that are to draw in its latents.

    Attributes:
      side: (options) -> pixels along each side of what one latent stands for.
      kind: (options) -> "codes", or "latents" where they are continuous.
      codec: (options, height, width, dtype) -> Codec.
      freeze: (params, state) of a trained run -> the codec's parameters, group by group.
    """

    side: Callable[[Any], int]
    kind: Callable[[Any], str]
    codec: Callable[[Any, int, int, str], Any]
    freeze: Callable[[Any, Any], dict[str, Any]]


class FamilySpec(NamedTuple):
    """What the registry holds for one family. It is read before jax is imported.

    Attributes:
      options: a dataclass of `schema.option`s, the group generator.FAMILY of a config.
      sampling: the same for generator.FAMILY.sample.
      build: (options, codec, dtype) -> Generator. `codec` says what the family is to draw.
      check: of options against one another.
      guidance: the guidance weights that it understands.
      targets: what it can draw: "pixels", a tokenizer's continuous "latents", its "codes".
      square: whether all that it draws is as wide as high.
      players: names of all that it may have; each one's optimizer is a group of a config.
      tokenizer: how its runs serve others; None where they do not.
    """

    options: type
    sampling: type[SamplingOptions]
    build: Callable[[Any, Any, str], Generator]
    check: Check | None = None
    guidance: Rule = between(0, MOST_GUIDANCE)
    targets: tuple[str, ...] = ("pixels",)
    square: bool = False
    players: tuple[str, ...] = ("generator",)
    tokenizer: TokenizerSpec | None = None


GENERATORS: Registry[FamilySpec] = Registry(
    "generator",
    {
        "flow": "mmgen_jax.generators.flow.keys:FLOW",
        "autoencoder": "mmgen_jax.generators.autoencoder.keys:AUTOENCODER",
        "gan": "mmgen_jax.generators.gan.keys:GAN",
        "stylegan": "mmgen_jax.generators.stylegan.keys:STYLEGAN",
        "vae": "mmgen_jax.generators.vae.keys:VAE",
        "vqvae": "mmgen_jax.generators.vqvae.keys:VQVAE",
        "dalle": "mmgen_jax.generators.dalle.keys:DALLE",
    },
)


def family_of(config: ConfigDict, family: str) -> tuple[FamilySpec, Any]:
    """Returns what the registry holds of a family, and its options in a config."""
    spec = GENERATORS[family]
    return spec, read_options(spec.options, config.generator[family])
