"""Family `autoencoder`: an image is what its code and its condition give back.

The likelihood term is that of a Gaussian of fixed deviation around the reconstruction: the mean
squared error over pixels. Codes are drawn from independent Gaussians with the moments of the
training images' codes, kept along in the state.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmgen_jax.conditioning.fusion import Condition
from mmgen_jax.generators import ONE_PLAYER, Generator, Losses
from mmgen_jax.generators.autoencoder.keys import AutoencoderOptions, AutoencoderSampling
from mmgen_jax.generators.autoencoder.networks import AutoEncoder
from mmgen_jax.generators.codecs import Codec
from mmgen_jax.generators.latents import Latents, linear, sampler
from mmgen_jax.nn import global_batch
from mmgen_jax.nn.batch_norm import Moments, run_along

Images = Float[Array, "batch height width channel"]

SMALLEST_ERROR = 1e-10  # so that a perfect reconstruction's decibels are finite


def build(options: AutoencoderOptions, codec: Codec, dtype: str) -> Generator:
    """A convolutional autoencoder of RGB images, whose layers `nn.autoencoder` lists.

    State: "count", the batches so far, and "moments", running ones of the code and of what each
    batch norm normalises; those, not a batch's, are sampled and reconstructed with.
    """
    network = AutoEncoder(
        image_size=codec.shape[0],
        encoder_widths=options.encoder_widths,
        dense_widths=options.dense_widths,
        base_width=options.base_width,
        decoder_widths=options.decoder_widths,
        dtype=jnp.dtype(dtype),
    )

    def variables(params: Any) -> Any:
        return {"params": params["generator"]}

    def init(key: Key[Array, ""], images: Images, condition: Condition) -> tuple[Any, Any]:
        (_, moments), made = network.init_with_output(key, images, condition.vector)
        standard = {
            name: Moments(jnp.zeros_like(of.mean), jnp.ones_like(of.square))
            for name, of in moments.items()
        }
        state = {"count": jnp.zeros((), jnp.int32), "moments": standard}
        return {"generator": made["params"]}, state

    def losses(
        params: Any,
        state: Any,
        images: Images,
        condition: Condition,
        keys: Key[Array, "batch"],
        step: Any,
    ) -> Losses:
        reconstructed, moments = network.apply(variables(params), images, condition.vector)
        error = global_batch.mean(jnp.square(reconstructed - images).mean(axis=(1, 2, 3)))
        running = run_along(state["moments"], moments, state["count"], options.statistics_decay)
        return Losses(
            players={"generator": error},
            state={"count": state["count"] + 1, "moments": running},
            metrics={"mse": error, "psnr": decibels(error)},
            images=reconstructed,
        )

    def draw(
        params: Any,
        state: Any,
        condition: Condition,
        keys: Key[Array, "batch"],
        options: AutoencoderSampling,
    ) -> Float[Array, "batch 1 code"]:
        code = state["moments"]["code"]
        noise = jax.vmap(lambda key: jax.random.normal(key, code.mean.shape))(keys)
        deviation = options.temperature * jnp.sqrt(code.variance)
        return (code.mean[None] + deviation[None] * noise)[:, None]

    def render(
        params: Any,
        state: Any,
        condition: Condition,
        latents: Float[Array, "batch 1 code"],
        keys: Key[Array, "batch"],
    ) -> Images:
        inputs = latents[:, 0], condition.vector, state["moments"]
        return network.apply(variables(params), *inputs, method="decode")

    latents = Latents(draw, render, linear)

    def reconstruct(params: Any, state: Any, images: Images, condition: Condition) -> Images:
        return network.apply(variables(params), images, condition.vector, state["moments"])[0]

    return Generator(
        players=ONE_PLAYER,
        init=init,
        losses=losses,
        sample=sampler(latents),
        latents=latents,
        reconstruct=reconstruct,
    )


def decibels(error: Float[Array, "..."]) -> Float[Array, "..."]:
    """Peak signal-to-noise ratio, in dB, of a mean squared error of images in [-1, 1]."""
    return 10 * jnp.log10(2.0**2 / jnp.maximum(error, SMALLEST_ERROR))
