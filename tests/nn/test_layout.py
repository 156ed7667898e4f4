"""Networks on a mesh compute what they do on one device, whatever the mesh and the depth."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.nn import layout
from tests.launching import python

MESHES = {"fsdp": (1, 8, 1), "data and tensor": (4, 1, 2), "cube": (2, 2, 2), "wide": (1, 2, 4)}
QUICK = ("cube",)  # which has all three axes

# Loss and gradients of an MM-DiT on eight devices against one, for a stack that is unrolled and one
# that is a loop with recomputation; then what each device holds of a layer while it computes.
ON_MESHES = """
import json, sys

import jax, numpy as np
from jax.sharding import AxisType

from mmgen_jax.nn import layout
from mmgen_jax.generators.flow.networks import MMDiT
from mmgen_jax.training import sharding
from tests.tiny import random_parameters

rng, rows = np.random.default_rng(0), 16
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
noisy, vector, target = draw(rows, 16, 16, 3), draw(rows, 8), draw(rows, 16, 16, 3)
timestep, tokens = np.abs(draw(rows)), draw(rows, 2, 16)
others = (np.ones((rows, 2), bool), np.zeros((2, 2), np.float32), vector)
found = {}
for depth, remat in ((2, False), (6, True)):
    model = MMDiT(8, 32, depth, 2, np.float32, remat)
    inputs = (noisy, timestep, tokens, *others)
    params = random_parameters(lambda key: model.init(key, *inputs))

    def loss(params, noisy, timestep, tokens):
        drawn = model.apply(layout.gathered(params), noisy, timestep, tokens, *others)
        return ((drawn - target) ** 2).mean()

    alone = jax.device_get(jax.jit(jax.value_and_grad(loss))(params, noisy, timestep, tokens))
    for name, shape in json.loads(sys.argv[1]).items():
        mesh = jax.make_mesh(shape, layout.AXES, (AxisType.Auto,) * 3)
        places, split = sharding.shard(mesh, params), sharding.split(mesh)
        graded = jax.jit(
            layout.on_mesh(mesh, jax.value_and_grad(loss)),
            in_shardings=(places, split, split, split),
            out_shardings=(sharding.replicated(mesh), places),
        )
        together = jax.device_get(graded(params, noisy, timestep, tokens))
        error = lambda a, b: float(np.abs(a - b).max() / np.abs(a).max())
        errors = jax.tree.map(error, alone, together)
        found[f"{name}, {depth} layers"] = max(jax.tree.leaves(errors))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def errors(request):
    mine = [item for item in request.session.items if item.path == request.path]
    slow = any(item.get_closest_marker("slow") for item in mine)
    meshes = {name: MESHES[name] for name in (MESHES if slow else QUICK)}
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = python("-c", ON_MESHES, json.dumps(meshes), XLA_FLAGS=flags)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("depth", (2, 6))
@pytest.mark.parametrize(
    "mesh",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MESHES],
)
def test_loss_and_gradients_are_those_of_one_device(errors, mesh, depth):
    assert errors[f"{mesh}, {depth} layers"] < 1e-5


def test_without_a_mesh_nothing_is_done():
    params, x = {"qkv": {"kernel": jnp.ones((4, 6))}}, jnp.ones((3, 2))
    assert layout.gathered(params) is params
    assert layout.by_example(x) is x


def test_stacked_layers_wait_for_the_scan_and_tensor_stays_split():
    """On a mesh of one device, where what is constrained can be read off the program."""
    mesh = jax.make_mesh((1, 1, 1), layout.AXES, (jax.sharding.AxisType.Auto,) * 3)
    params = {
        "layers": {"qkv": {"kernel": jnp.ones((2, 4, 6))}},
        "qkv": {"kernel": jnp.ones((4, 6))},
        "down": {"kernel": jnp.ones((6, 4))},
    }
    program = jax.make_jaxpr(layout.on_mesh(mesh, layout.gathered))(params)
    constrained = [
        (equation.invars[0].aval.shape, equation.params["sharding"].spec)
        for equation in program.eqns
    ]
    spec = jax.sharding.PartitionSpec
    assert constrained == [((6, 4), spec("tensor", None)), ((4, 6), spec(None, "tensor"))]


def test_rows_that_do_not_divide_are_left():
    mesh = jax.sharding.AbstractMesh(
        (2, 2, 1), layout.AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    for rows, count in ((8, 1), (6, 0)):
        with jax.sharding.use_abstract_mesh(mesh):
            program = jax.make_jaxpr(layout.by_example)(np.ones((rows, 3), np.float32))
        assert len(program.eqns) == count
