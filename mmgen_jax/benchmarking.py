"""What a computation costs, whatever device it runs on: the multiply-adds of its products."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

# How often the first runs what it holds is known only at run time; the others compute on shares.
UNCOUNTABLE = ("while", "shard_map", "xla_pmap", "pallas_call", "ragged_dot_general")


def multiply_adds(function: Callable[..., Any], *abstract_args: Any) -> int:
    """Counts the multiply-adds of matrix products and convolutions, without computing anything.

    It is what papers call the "FLOPs" of a network (DiT, Peebles & Xie 2023, table 4), and half of
    the floating-point operations that a device's peak is given in. Additions, norms, softmax and
    lookups, which are few beside products, are not counted; multiplications by the zeros of a
    convolution's padding and dilation are. A scan counts as often as it runs, a conditional as its
    most expensive branch, and what `jax.checkpoint` recomputes once more.

    Args:
      function: what `jax.jit` could compile; a gradient may be in it.
      *abstract_args: its arguments, as arrays or as jax.ShapeDtypeStruct.

    Returns:
      The count for all examples of the arguments together.

    Raises:
      ValueError: if it cannot be known: a `while` loop whose length is not fixed, or a computation
        that is written for each device's share.
    """
    return _of_program(jax.make_jaxpr(function)(*abstract_args).jaxpr)


def _of_program(program: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in program.eqns)


def _of_equation(equation: JaxprEqn) -> int:
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
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)
