"""Family `flow`: flow matching with a multimodal diffusion transformer.

Timesteps run from 0 (image) to 1 (noise):  x_t = (1 - t) x + t e,  velocity v = e - x
(rectified flow, Liu et al. 2023, eq. 1; flow matching, Lipman et al. 2023, eq. 22 with sigma 0).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.conditioning.guidance import Guidance
from mmgen_jax.errors import expanded
from mmgen_jax.generators import ONE_PLAYER, Generator, Losses
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.flow.keys import FlowOptions, FlowSampling
from mmgen_jax.generators.flow.networks import MMDiT
from mmgen_jax.nn import global_batch
from mmgen_jax.pretrained import dit_weights
from mmgen_jax.pretrained.dit import DiT, PooledDiT

Images = Float[Array, "batch height width channel"]
Timesteps = Float[Array, "batch"]
Step = Callable[[Images, Float[Array, ""]], Images]

# An x-prediction is divided by t to give a velocity; in training by no less than this (JiT, Li & He
# 2025, section 4.3). Samplers divide by t itself, so that the last step ends at the prediction.
SMALLEST_TIMESTEP = 0.05


def build(options: FlowOptions, codec: Codec, dtype: str) -> Generator:
    """A flow-matching generator of images, or of a tokenizer's latents.

    The network is a multimodal diffusion transformer, whose attention sees every condition token;
    or a DiT (Peebles & Xie 2023), of whose condition only the pooled vector is read. If that one
    has `learn_sigma`, as its authors' weights do, the second half of what it says is left aside,
    as SiT does (Ma et al. 2024).

    The likelihood term is the flow-matching regression of the velocity, with timesteps from a
    logit-normal (Esser et al. 2024, SD3, eq. 19), shifted with the resolution (eq. 23).

    `weights` are a published DiT's; their table of labels is left aside, as what is pooled of the
    inputs takes its place.

    Inpainting replaces what is known after each step by itself and as much noise as belongs there
    (Song et al. 2021, score SDE, appendix I.2).
    """
    network = ARCHITECTURES[options.architecture](options, jnp.dtype(dtype))
    height, width, channels = codec.shape
    shift = math.sqrt(height * width) / options.base_size

    def velocity(
        params: Any, noisy: Images, timestep: Timesteps, condition: Condition, smallest: float
    ) -> Images:
        out = network.apply({"params": params["generator"]}, noisy, timestep, *condition.inputs)
        out = out[..., :channels]
        if options.prediction == "velocity":
            return out
        return (noisy - out) / _rows(jnp.maximum(timestep, smallest))

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        timestep = jnp.zeros(images.shape[0])
        return {"generator": network.init(key, images, timestep, *condition.inputs)["params"]}, {}

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        noise, timestep = jax.vmap(lambda key: _draw(key, images.shape[1:], options))(keys)
        timestep = shift_timestep(timestep, shift)
        noisy = (1 - _rows(timestep)) * images + _rows(timestep) * noise
        predicted = velocity(params, noisy, timestep, condition, SMALLEST_TIMESTEP)
        # The target is built as the prediction is, so that a perfect x-prediction has loss 0 at
        # every t, below SMALLEST_TIMESTEP too.
        denominator = _rows(jnp.maximum(timestep, SMALLEST_TIMESTEP))
        target = noise - images
        if options.prediction == "x":
            target = (noisy - images) / denominator
        loss = global_batch.mean(jnp.square(predicted - target).mean(axis=(1, 2, 3)))
        generated = noisy - _rows(timestep) * predicted
        return Losses({"generator": loss}, state, {"flow": loss}, generated)

    def sample(
        params: Any,
        state: Any,
        guidance: Guidance,
        keys: Key[Array, "batch"],
        options: FlowSampling,
        images: Images | None = None,
        keep: Bool[Array, "batch height width"] | None = None,
    ) -> Images:
        noise = jax.vmap(lambda key: jax.random.normal(key, codec.shape))(keys)

        def field(x: Images, timestep: Float[Array, ""]) -> Images:
            rows = jnp.broadcast_to(timestep, guidance.condition.mean.shape[:1])
            # No solver asks at t = 0.
            outputs = velocity(params, guidance.tile(x), rows, guidance.condition, 0.0)
            inside = (timestep >= options.guidance_from) & (timestep <= options.guidance_to)
            return jnp.where(
                inside, guidance.combine(outputs), _unguided(guidance).combine(outputs)
            )

        def settle(x: Images, timestep: Float[Array, ""]) -> Images:
            if images is None:
                return x
            known = (1 - timestep) * images + timestep * noise
            return jnp.where(keep[..., None], known, x)

        times = shift_timestep(jnp.linspace(1.0, 0.0, options.steps + 1), shift)
        return SOLVERS[options.solver](field, settle, noise, times)

    def pretrained() -> dict[str, Any]:
        if not options.weights:
            return {}
        params, _ = dit_weights.load(expanded(options.weights), network.dit, channels)
        return {"generator": {"dit": params}}

    return Generator(
        players=ONE_PLAYER,
        init=init,
        losses=losses,
        sample=sample,
        inpaint=sample,
        pretrained=pretrained,
    )


def shift_timestep(timestep: Float[Array, "..."], shift: float) -> Float[Array, "..."]:
    """More noise for larger images (SD3, eq. 23): t' = s t / (1 + (s - 1) t)."""
    return shift * timestep / (1 + (shift - 1) * timestep)


def euler(field: Step, settle: Step, x: Images, times: Float[Array, "steps"]) -> Images:
    """Follows dx/dt = field(x, t) along `times` by Euler's method.

    Of each step's end settle(x, t) is taken, which may know better what a part of it is.
    """

    def advance(x: Images, pair: Float[Array, "2"]) -> tuple[Images, None]:
        return settle(x + (pair[1] - pair[0]) * field(x, pair[0]), pair[1]), None

    return jax.lax.scan(advance, x, jnp.stack([times[:-1], times[1:]], axis=-1))[0]


def heun(field: Step, settle: Step, x: Images, times: Float[Array, "steps"]) -> Images:
    """As `euler`, by Heun's second-order method.

    The last step, to t = 0, is Euler's (Karras et al. 2022, EDM, algorithm 1).
    """

    def advance(x: Images, pair: Float[Array, "2"]) -> tuple[Images, None]:
        here = field(x, pair[0])
        there = field(x + (pair[1] - pair[0]) * here, pair[1])
        return settle(x + (pair[1] - pair[0]) * 0.5 * (here + there), pair[1]), None

    pairs = jnp.stack([times[:-2], times[1:-1]], axis=-1)
    return euler(field, settle, jax.lax.scan(advance, x, pairs)[0], times[-2:])


def _mmdit(options: FlowOptions, dtype: Any) -> MMDiT:
    sizes = (options.patch_size, options.width, options.depth, options.num_heads)
    return MMDiT(*sizes, dtype=dtype, remat=options.remat)


def _dit(options: FlowOptions, dtype: Any) -> PooledDiT:
    sizes = (options.patch_size, options.width, options.depth, options.num_heads)
    return PooledDiT(DiT(*sizes, dtype, options.learn_sigma, options.remat))


ARCHITECTURES = {"mmdit": _mmdit, "dit": _dit}
SOLVERS = {"euler": euler, "heun": heun}


def _draw(
    key: Key[Array, ""], shape: tuple[int, ...], options: FlowOptions
) -> tuple[Float[Array, "height width channel"], Float[Array, ""]]:
    """Noise and a timestep for one example."""
    noise_key, time_key = jax.random.split(key)
    normal = options.logit_mean + options.logit_std * jax.random.normal(time_key)
    return jax.random.normal(noise_key, shape), jax.nn.sigmoid(normal)


def _unguided(guidance: Guidance) -> Guidance:
    """The same passes, of which only the last counts: the conditional model."""
    coefficients = jnp.zeros_like(guidance.coefficients).at[-1].set(1)
    return guidance._replace(coefficients=coefficients)


def _rows(x: Timesteps) -> Float[Array, "batch 1 1 1"]:
    return x[:, None, None, None]
