"""What a computation costs, whatever device it runs on: the multiply-adds of its products."""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from ml_collections import ConfigDict

from mmgen_jax import model as models
from mmgen_jax.conditioning import fusion
from mmgen_jax.generators import codecs
from mmgen_jax.generators.adversarial import LAZILY
from mmgen_jax.model import Assets, Batch, Model
from mmgen_jax.nn.keys import key_per_example
from mmgen_jax.objective import objective
from mmgen_jax.training import run
from mmgen_jax.training.state import TrainState
from mmgen_jax.training.step import gradients

# How often the first runs what it holds is known only at run time; the others compute on shares.
UNCOUNTABLE = ("while", "shard_map", "xla_pmap", "pallas_call", "ragged_dot_general")


def multiply_adds(function: Callable[..., Any], *abstract_args: Any) -> int | float:
    """Counts the multiply-adds of matrix products and convolutions, without computing anything.

    It is what papers call the "FLOPs" of a network (DiT, Peebles & Xie 2023, table 4), and half of
    the floating-point operations that a device's peak is given in. Additions, norms, softmax and
    lookups, which are few beside products, are not counted; multiplications by the zeros of a
    convolution's padding and dilation are. A scan counts as often as it runs, a conditional as its
    most expensive branch, or as that by N under a scope `lazily_N` (`adversarial.lazily`), and what
    `jax.checkpoint` recomputes once more. What no result depends on does not count.

    Args:
      function: what `jax.jit` could compile; a gradient may be in it.
      *abstract_args: its arguments, as arrays or as jax.ShapeDtypeStruct.

    Returns:
      The count for all examples of the arguments together.

    Raises:
      ValueError: if it cannot be known: a `while` loop whose length is not fixed, or a computation
        that is written for each device's share.
    """
    program = jax.make_jaxpr(function)(*abstract_args).jaxpr
    return _of_program(dce_jaxpr(program, True)[0])


def analytic(config: ConfigDict, assets: Assets) -> dict[str, Any]:
    """What the training step of a config costs, counted without running it; JSON-able.

    Returns:
      parameters: by group, and their "total".
      forward_multiply_adds_by_part: for an image, of "encoders", "tokenizer" (0 if there is none,
        or latents were made before), "generator" (all terms of the family: both players' passes,
        penalties) and "recovery".
      forward_multiply_adds_per_image: of all but the tokenizer.
      model_flops_per_image: floating-point operations of the objective and its gradient, the
        tokenizer's too, two for each multiply-add; what is recomputed to save memory does not count
        (Chowdhery et al. 2022, PaLM, appendix B), and neither does the optimizer. Attention counts
        whole, masked or not.
    """
    plain = config.copy_and_resolve_references()
    plain.train.grad_accum_steps = 1
    for family in plain.generator.values():
        if isinstance(family, ConfigDict) and "remat" in family:
            family.remat = False
    model = models.build(plain, assets)
    if plain.tokenizer.latents:
        model = model._replace(codec=codecs.encoded(model.codec))
    state, rows = run.state_shapes(plain, model), plain.train.batch_size
    batch = jax.eval_shape(lambda: models.blank_batch(model, rows))

    parts = _forward(model, state, batch)
    groups = {group: count(tree) for group, tree in state.params.items()}
    backward = partial(gradients, model, grad_accum_steps=1)
    return {
        "parameters": groups | {"total": sum(groups.values())},
        "forward_multiply_adds_by_part": {name: found / rows for name, found in parts.items()},
        "forward_multiply_adds_per_image": (sum(parts.values()) - parts["tokenizer"]) / rows,
        "model_flops_per_image": 2 * multiply_adds(backward, state, batch) / rows,
    }


def _forward(model: Model, state: TrainState, batch: Batch) -> dict[str, int | float]:
    """Multiply-adds of the objective on a batch, by part."""

    def whole(state: TrainState, batch: Batch) -> Any:
        key = jax.random.wrap_key_data(state.key)
        return objective(model, state.params, state.state, batch, key, state.step)

    def generator(state: TrainState, batch: Batch, images: Any, encodings: Any) -> Any:
        condition = fusion.fuse(state.params["encoders"]["fusion"], encodings, batch.has)
        keys = key_per_example(jax.random.wrap_key_data(state.key), batch.index)
        losses = model.generator.losses(
            state.params, state.state, images, condition, keys, state.step
        )
        # Pictures from which nothing is recovered are not drawn.
        drawn = any(model.weights.generated.values())
        return losses if drawn else losses._replace(images=None)

    def encoders(state: TrainState, batch: Batch) -> Any:
        return models.encode(model, state.params, batch.values, batch.has)

    def tokenizer(state: TrainState, batch: Batch) -> Any:
        return model.codec.encode(state.params, batch.images)

    inputs = (jax.eval_shape(part, state, batch) for part in (tokenizer, encoders))
    found = {
        "encoders": multiply_adds(encoders, state, batch),
        "tokenizer": multiply_adds(tokenizer, state, batch),
        "generator": multiply_adds(generator, state, batch, *inputs),
    }
    return found | {"recovery": multiply_adds(whole, state, batch) - sum(found.values())}


def count(tree: Any) -> int:
    """Numbers in all arrays of a tree."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _of_program(program: Jaxpr) -> int | float:
    return sum(_of_equation(equation) for equation in program.eqns)


def _of_equation(equation: JaxprEqn) -> int | float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        left = equation.invars[0].aval.shape
        (contracted, _), _ = params["dimension_numbers"]
        return _size(equation.outvars[0]) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        # The kernel's axes but that of the output's features: what one number of it is a sum over.
        features_out = params["dimension_numbers"].rhs_spec[0]
        kernel = equation.invars[1].aval.shape
        return _size(equation.outvars[0]) * math.prod(kernel) // kernel[features_out]
    inner = [_of_program(program) for program in jaxprs_in_params(params)]
    if name in UNCOUNTABLE:
        raise ValueError(f"the multiply-adds of {name} cannot be counted")
    if name == "cond":
        lazy = re.search(rf"{LAZILY}_(\d+)", str(equation.source_info.name_stack))
        return max(inner) / int(lazy[1]) if lazy else max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)
