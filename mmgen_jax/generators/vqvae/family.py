"""Family `vqvae`: an image is a small grid of codes, and a network that draws it from them.

As a family it reconstructs, and samples from a simple prior, each place of the grid by itself. What
it is for is to serve others: `dalle` draws its codes, `flow` its latents (`TOKENIZER`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.generators import ONE_PLAYER, TWO_PLAYERS, Generator, Losses
from mmgen_jax.generators.autoencoder.family import decibels
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.vqvae import quantizers
from mmgen_jax.generators.vqvae.keys import VQVAEOptions, VQVAESampling
from mmgen_jax.generators.vqvae.networks import (
    FactorisedPrior,
    PatchDiscriminator,
    PatchTransformer,
)
from mmgen_jax.generators.vqvae.quantizers import Quantizer
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.batch_norm import Moments, run_along
from mmgen_jax.nn.patches import patchify, unpatchify

Images = Float[Array, "batch height width 3"]
Latents = Float[Array, "batch tokens channel"]
Features = Float[Array, "batch tokens features"]
Outputs = Float[Array, "batch places out"]

PLACES = 8  # of an example, on which the prior learns at a step
LARGEST_WEIGHT = 1e4  # of the adversarial term (Esser et al. 2021, VQGAN)


class Networks:
    """Encoder, quantizer, decoder and prior as functions of the parameters.

    Attributes:
      quantizer: what makes latents of the encoder's vectors.
      grid: rows and columns of the latents.
    """

    def __init__(self, options: VQVAEOptions, height: int, width: int, dtype: str):
        self._height, self._width, self._patch = height, width, options.patch_size
        self.quantizer = QUANTIZERS[options.quantizer](options)
        self.grid = (height // options.patch_size, width // options.patch_size)
        layers = (options.width, options.depth, options.num_heads)
        transformer = functools.partial(
            PatchTransformer, self.grid, *layers, dtype=jnp.dtype(dtype), remat=options.remat
        )
        self._encoder = transformer(out=self.quantizer.channels)
        self._decoder = transformer(out=3 * options.patch_size**2)
        places = self.grid[0] * self.grid[1]
        out = self.quantizer.codes or 2 * self.quantizer.latent
        self._prior = FactorisedPrior(places, options.width, out)

    def init(self, key: Key[Array, ""]) -> Any:
        """Parameters of the tokenizer: encoder and decoder."""
        first, second = jax.random.split(key)
        images = jnp.zeros((1, self._height, self._width, 3))
        latents = jnp.zeros((1, self.grid[0] * self.grid[1], self.quantizer.latent))
        return {
            "encoder": self._encoder.init(first, patchify(images, self._patch))["params"],
            "decoder": self._decoder.init(second, latents)["params"],
        }

    def init_prior(self, key: Key[Array, ""], condition: Condition) -> Any:
        """Parameters of the prior."""
        return self._prior.init(key, condition.vector, self._everywhere(condition))["params"]

    def encode(self, params: Any, images: Images) -> Float[Array, "batch tokens vector"]:
        """What the quantizer takes."""
        tokens = patchify(images, self._patch)
        return self._encoder.apply({"params": params["encoder"]}, tokens)

    def decode(self, params: Any, latents: Latents) -> Images:
        """Images, of about [-1, 1]."""
        return self.draw(params, self.read(params, latents))

    def read(self, params: Any, latents: Latents) -> Features:
        """What the decoder's last layer sees."""
        return self._decoder.apply({"params": params["decoder"]}, latents, method="read")

    def draw(self, params: Any, features: Features) -> Images:
        """What it makes of that."""
        tokens = self._decoder.apply({"params": params["decoder"]}, features, method="say")
        return unpatchify(tokens, self._height, self._width, self._patch)

    def prior(
        self, params: Any, condition: Condition, picked: Int[Array, "batch some"] | None = None
    ) -> Outputs:
        """Logits of the codes at each place; or means and log deviations of what has none.

        `picked` are places, by their numbers row by row; None for all of them.
        """
        picked = self._everywhere(condition) if picked is None else picked
        return self._prior.apply({"params": params["prior"]}, condition.vector, picked)

    def _everywhere(self, condition: Condition) -> Int[Array, "batch places"]:
        places = self.grid[0] * self.grid[1]
        return jnp.broadcast_to(jnp.arange(places), (len(condition.mean), places))


def build(options: VQVAEOptions, codec: Codec, dtype: str) -> Generator:
    """A transformer autoencoder around a quantizer, and a factorised prior of its latents.

    The likelihood term is that of a Gaussian of fixed deviation around the reconstruction, the mean
    squared error, and the prior's of the latents, in nats per value of the image; to which comes
    what the quantizer asks for, and an opponent's opinion if `adversarial_weight` is not 0.

    State: "count", the batches so far; "quantizer", its own; "moments", running ones of each
    channel of the latents, with which others normalise them.
    """
    height, width, _ = codec.shape
    nets = Networks(options, height, width, dtype)
    quantizer = nets.quantizer
    opponent = Opponent(options, nets, dtype) if options.adversarial_weight else None

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        keys = jax.random.split(key, 4)
        own = nets.init(keys[0]) | {"prior": nets.init_prior(keys[1], condition)}
        params = {"generator": own}
        if opponent:
            params["discriminator"] = opponent.init(keys[2], images)
        standard = Moments(jnp.zeros(quantizer.latent), jnp.ones(quantizer.latent))
        state = {
            "count": jnp.zeros((), jnp.int32),
            "quantizer": quantizer.init(keys[3]),
            "moments": {"latents": standard},
        }
        return params, state

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        quantiser_keys, prior_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        own, count = params["generator"], state["count"]
        vectors = nets.encode(own, images)
        made = quantizer.quantise(state["quantizer"], vectors, quantiser_keys, count)
        features = nets.read(own, made.vectors)
        again = nets.draw(own, features)
        error = global_batch.mean(jnp.square(again - images).mean(axis=(1, 2, 3)))
        fixed = jax.lax.stop_gradient(made.vectors)
        picked = jax.vmap(lambda k: _pick(k, fixed.shape[1]))(prior_keys)
        there = jnp.take_along_axis(fixed, picked[..., None], axis=1)
        outputs = nets.prior(own, condition, picked)
        surprise = _surprise(quantizer, state["quantizer"], outputs, there)
        nats = global_batch.mean(surprise) * fixed.shape[1] / images[0].size
        players = {"generator": error + made.loss + options.prior_weight * nats}
        metrics = {"mse": error, "psnr": decibels(error), "prior": global_batch.mean(surprise)}
        if opponent:
            pleasing, game, more = opponent.play(params, features, images, again, step)
            players = {"generator": players["generator"] + pleasing, "discriminator": game}
            metrics |= more
        moments = {"latents": _moments(fixed)}
        state = {
            "count": count + 1,
            "quantizer": made.state,
            "moments": run_along(state["moments"], moments, count, options.statistics_decay),
        }
        return Losses(players, state, metrics | made.metrics, again)

    def sample(
        params: Any,
        state: Any,
        guidance: Guidance,
        keys: Key[Array, "batch"],
        options: VQVAESampling,
    ) -> Images:
        outputs = guidance.combine(nets.prior(params["generator"], guidance.condition))
        draw = functools.partial(_draw, quantizer, temperature=options.temperature)
        drawn = jax.vmap(draw)(outputs, keys)
        if quantizer.codes:
            drawn = quantizer.embed(state["quantizer"], drawn)
        return nets.decode(params["generator"], drawn)

    def reconstruct(params: Any, state: Any, images: Images, condition: Condition) -> Images:
        own = params["generator"]
        return nets.decode(own, quantizer.settle(state["quantizer"], nets.encode(own, images)))

    return Generator(
        players=TWO_PLAYERS if opponent else ONE_PLAYER,
        init=init,
        losses=losses,
        sample=sample,
        reconstruct=reconstruct,
    )


class Opponent:
    """A discriminator of parts of an image, against the decoder (Esser et al. 2021, VQGAN)."""

    def __init__(self, options: VQVAEOptions, nets: Networks, dtype: str):
        self._options, self._nets = options, nets
        self._network = PatchDiscriminator(options.discriminator_widths, jnp.dtype(dtype))

    def init(self, key: Key[Array, ""], images: Images) -> Any:
        return self._network.init(key, images)["params"]

    def play(
        self, params: Any, features: Features, images: Images, again: Images, step: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """(what the generator pays, what the discriminator pays, metrics).

        Both are 0 before step `adversarial_from`. The discriminator's is the hinge loss (Lim & Ye
        2017). The generator's is weighed so that at the decoder's last layer its gradient is as
        long as that of the squared error, times `adversarial_weight`.
        """
        stop, options = jax.lax.stop_gradient, self._options
        on = jnp.where(step >= options.adversarial_from, 1.0, 0.0)

        def score(own: Any, shown: Images) -> Float[Array, "batch parts"]:
            return self._network.apply({"params": own}, shown)

        real, fake = (score(params["discriminator"], x) for x in (images, stop(again)))
        hinge = (jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)).mean(-1)
        frozen = stop(params["discriminator"])
        pleasing = -global_batch.mean(score(frozen, again).mean(-1))

        def lengths(loss: Any) -> Any:
            own = stop(params["generator"])

            def last(kernel: Any) -> Any:
                out = own["decoder"]["out"] | {"kernel": kernel}
                changed = own | {"decoder": own["decoder"] | {"out": out}}
                return loss(self._nets.draw(changed, stop(features)))

            gradient = jax.grad(last)(own["decoder"]["out"]["kernel"])
            return jnp.linalg.norm(global_batch.average(gradient))

        squared = lengths(lambda x: global_batch.mean(jnp.square(x - images).mean(axis=(1, 2, 3))))
        game = lengths(lambda x: -global_batch.mean(score(frozen, x).mean(-1)))
        weight = (
            on
            * options.adversarial_weight
            * stop(jnp.minimum(squared / (game + 1e-6), LARGEST_WEIGHT))
        )
        metrics = {"adversarial": pleasing, "adversarial_weight": weight}
        return weight * pleasing, on * global_batch.mean(hinge), metrics


def _ema(options: VQVAEOptions) -> Quantizer:
    return quantizers.ema(
        options.codebook_size,
        options.latent_dim,
        options.statistics_decay,
        options.commitment,
        options.restart_below,
    )


QUANTIZERS = {
    "ema": _ema,
    "fsq": lambda options: quantizers.fsq(options.levels, options.statistics_decay),
    "kl": lambda options: quantizers.gaussian(options.latent_dim, options.kl_weight),
}


def _pick(key: Key[Array, ""], places: int) -> Int[Array, "rows"]:
    """The numbers of at most PLACES places, each at most once."""
    return jax.random.permutation(key, places)[:PLACES]


def _surprise(
    quantizer: Quantizer, state: Any, outputs: Outputs, latents: Latents
) -> Float[Array, "batch"]:
    """-log p(latents) of the prior, in nats per place."""
    if quantizer.codes:
        ids = quantizer.tokens(state, latents)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), ids[..., None], axis=-1)
        return -chosen.mean(axis=(1, 2))
    mean, log_deviation = jnp.split(outputs, 2, axis=-1)
    squares = jnp.square((latents - mean) * jnp.exp(-log_deviation))
    return (0.5 * squares + log_deviation + 0.5 * jnp.log(2 * jnp.pi)).sum(-1).mean(-1)


def _draw(
    quantizer: Quantizer,
    outputs: Float[Array, "places out"],
    key: Key[Array, ""],
    temperature: float,
) -> Shaped[Array, "places ..."]:
    """One example's codes from the prior, or its latents where there are none."""
    if quantizer.codes:
        gumbel = jax.random.gumbel(key, outputs.shape)
        return jnp.argmax(outputs + temperature * gumbel, axis=-1)
    mean, log_deviation = jnp.split(outputs, 2, axis=-1)
    noise = jax.random.normal(key, mean.shape)
    return mean + temperature * jnp.exp(log_deviation) * noise


def _moments(latents: Latents) -> Moments:
    """Of each channel, over all places of the global batch."""
    return Moments(
        global_batch.mean(latents.mean(axis=1)), global_batch.mean(jnp.square(latents).mean(axis=1))
    )


def codec(options: VQVAEOptions, height: int, width: int, dtype: str) -> Codec:
    """Latents of a trained `vqvae`: each channel has mean 0 and deviation 1 over its data."""
    nets = Networks(options, height, width, dtype)
    quantizer, (rows, columns) = nets.quantizer, nets.grid
    shape = (rows, columns, quantizer.latent)

    def init() -> dict[str, Any]:
        key = jax.random.key(0)
        moments = Moments(jnp.zeros(quantizer.latent), jnp.ones(quantizer.latent))
        make = lambda: nets.init(key) | {"quantizer": quantizer.init(key), "moments": moments}  # noqa: E731
        return {
            "tokenizer": jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(make))
        }

    def grid(own: Any, latents: Latents) -> Float[Array, "batch rows columns channel"]:
        mean, deviation = _standard(own["moments"])
        return ((latents - mean) / deviation).reshape(-1, *shape)

    def plain(own: Any, latents: Float[Array, "batch rows columns channel"]) -> Latents:
        mean, deviation = _standard(own["moments"])
        return latents.reshape(-1, rows * columns, shape[-1]) * deviation + mean

    def encode(params: Any, images: Images) -> Float[Array, "batch rows columns channel"]:
        own = params["tokenizer"]
        return grid(own, quantizer.settle(own["quantizer"], nets.encode(own, images)))

    def tokens(params: Any, latents: Float[Array, "batch rows columns channel"]) -> Any:
        own = params["tokenizer"]
        return quantizer.tokens(own["quantizer"], plain(own, latents))

    def embed(params: Any, ids: Int[Array, "batch tokens"]) -> Any:
        own = params["tokenizer"]
        return grid(own, quantizer.embed(own["quantizer"], ids))

    def decode(params: Any, latents: Float[Array, "batch rows columns channel"]) -> Images:
        own = params["tokenizer"]
        found = plain(own, latents)
        if quantizer.codes:  # what was drawn lies near codes, not on them
            found = quantizer.embed(own["quantizer"], quantizer.tokens(own["quantizer"], found))
        return jnp.clip(nets.decode(own, found), -1, 1)

    if not quantizer.codes:
        return Codec(shape, (height, width, 3), init, encode, decode)
    code = (quantizer.codes, tokens, embed)
    return Codec(shape, (height, width, 3), init, encode, decode, *code)


def freeze(params: Any, state: Any) -> dict[str, Any]:
    """What `codec` takes of a trained run."""
    own = {name: params["generator"][name] for name in ("encoder", "decoder")}
    kept = {"quantizer": state["quantizer"], "moments": state["moments"]["latents"]}
    return {"tokenizer": own | kept}


def _standard(moments: Moments) -> tuple[Any, Any]:
    """(mean, deviation) of each channel, to broadcast over places."""
    return moments.mean[None, None], jnp.sqrt(moments.variance + 1e-6)[None, None]
