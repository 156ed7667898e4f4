"""Flow matching: its options and what the registry holds of it."""

from dataclasses import dataclass

from mmgen_jax.errors import InputError
from mmgen_jax.generators import FamilySpec, SamplingOptions
from mmgen_jax.registry import deferred
from mmgen_jax.schema import (
    ANY,
    FRACTION,
    HEADS,
    LAYERS,
    PATH,
    SIDE,
    WIDTH,
    Relation,
    above,
    between,
    one_of,
    option,
)

LOGIT = between(-100, 100)


@dataclass(frozen=True)
class FlowOptions:
    """Options of a model of this family, the group `generator.flow` of a config."""

    architecture: str = option(
        "mmdit",
        "mmdit: condition tokens in the attention; dit: one vector modulates the layers",
        one_of("mmdit", "dit"),
    )
    learn_sigma: bool = option(
        False, "twice the channels out, half of them unused, as DiT's weights have (dit)", ANY
    )
    weights: str = option(
        "", "safetensors file of a published DiT, which a fresh run begins with (dit)", PATH
    )
    patch_size: int = option(8, "side of a patch in pixels, or latents", SIDE, Relation.PATCH)
    width: int = option(128, "channels", WIDTH)
    depth: int = option(4, "layers", LAYERS)
    num_heads: int = option(4, "attention heads", HEADS, Relation.HEADS)
    prediction: str = option("x", "what the network predicts", one_of("x", "velocity"))
    logit_mean: float = option(0.0, "of the logit of the timestep; more is noisier", LOGIT)
    logit_std: float = option(1.0, "of the logit of the timestep", above(0, 100))
    base_size: int = option(32, "side of an image, or of latents, without timestep shift", SIDE)
    remat: bool = option(False, "recompute activations in the backward pass to save memory", ANY)


@dataclass(frozen=True)
class FlowSampling(SamplingOptions):
    """Options of its sampling, the group `generator.flow.sample`."""

    steps: int = option(32, "solver steps", between(2, 10_000))
    solver: str = option("heun", "ODE solver", one_of("euler", "heun"))
    guidance_from: float = option(0.0, "smallest timestep that is guided", FRACTION)
    guidance_to: float = option(1.0, "largest timestep that is guided", FRACTION)


def _check(options: FlowOptions, height: int, group: str) -> None:
    if options.weights and options.architecture != "dit":
        raise InputError(
            f"config.{group}.weights = {options.weights!r} with architecture ="
            f" {options.architecture!r}; allowed: architecture 'dit', or no weights"
        )


FLOW = FamilySpec(
    options=FlowOptions,
    sampling=FlowSampling,
    build=deferred("mmgen_jax.generators.flow.family:build"),
    check=_check,
    targets=("pixels", "latents", "codes"),
)
