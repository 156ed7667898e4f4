"""StyleGAN2's discriminator compares examples: by hand, in shares of a batch, and on devices."""

import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgen_jax.generators.stylegan.networks import Discriminator, minibatch_deviation
from mmgen_jax.nn import global_batch
from tests.generators.stylegan import stylegan2_recipe as recipe
from tests.launching import python


def test_deviation_by_hand():
    # Two groups: rows 0 and 2, rows 1 and 3. The first channel differs within them by 2 and 6.
    x = jnp.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [8.0, 5.0]])[:, None, None]
    x = jnp.broadcast_to(x, (4, 2, 2, 2))
    out = minibatch_deviation(x, group=2)
    np.testing.assert_array_equal(out[..., :2], x)
    means = np.array([(1 + 1e-4) / 2, (3 + 1e-4) / 2])
    np.testing.assert_allclose(out[:, 1, 0, 2], means[[0, 1, 0, 1]], rtol=1e-5)


@pytest.mark.parametrize(
    "rows, group, used", ((6, 4, 3), (3, 4, 3), (1, 4, 1), (7, 4, 1), (8, 4, 4))
)
def test_groups_shrink_to_divide_the_batch(rows, group, used):
    x = jax.random.normal(jax.random.key(0), (rows, 2, 2, 3))
    found = minibatch_deviation(x, group=4)[..., 3]
    groups = np.asarray(x).reshape(used, rows // used, -1)
    expected = np.sqrt(groups.var(axis=0) + 1e-8).mean(axis=1)
    np.testing.assert_allclose(found[:, 0, 0], np.tile(expected, used), rtol=1e-5)


@functools.cache
def discriminator():
    """(logits and gradients of a batch, the batch, what comes of it as a whole)."""
    network = Discriminator(8, **recipe.CHANNELS, mapping_layers=1)
    # Unlike each other, so that it matters which of them stand in one group.
    images = jnp.asarray(recipe.draw("eight", 8, 8, 8, 3))
    images = images * jnp.arange(1.0, 9.0)[:, None, None, None]
    condition = jnp.asarray(recipe.draw("conditions", 8, 16))
    params = jax.jit(network.init)(jax.random.key(0), images, condition)

    def judged(images, condition):
        logits = lambda images: network.apply(params, images, condition)  # noqa: E731
        return logits(images), jax.grad(lambda images: logits(images).sum())(images)

    return judged, (images, condition), jax.jit(judged)(images, condition)


@pytest.mark.parametrize("shares", (2, 8))
def test_shares_of_a_batch_are_judged_as_the_whole(shares):
    """As under pmap: `vmap` binds the axis and has the same collectives."""
    judged, batch, expected = discriminator()
    cut = [x.reshape(shares, -1, *x.shape[1:]) for x in batch]
    split = jax.jit(jax.vmap(judged, axis_name=global_batch.AXIS))(*cut)
    for whole, found in zip(expected, split, strict=True):
        np.testing.assert_allclose(found.reshape(whole.shape), whole, atol=1e-5)


# A loss that goes through all three networks, and its gradients: eight devices against one.
ON_DEVICES = """
import json

import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType

from mmgen_jax.nn import layout
from mmgen_jax.generators.stylegan.networks import Discriminator, Mapping, Synthesis
from mmgen_jax.training import crossbatch, sharding
from tests.nn import stylegan2_recipe as recipe

mapping, synthesis = Mapping(16, 1), Synthesis(8, **recipe.CHANNELS)
discriminator = Discriminator(8, **recipe.CHANNELS, mapping_layers=1)
z, condition, wanted = (recipe.draw(name, 16, 16) for name in ("z", "condition", "wanted"))
noise = tuple(recipe.draw(f"noise{size}", 16, size, size, 1) for size in (4, 8, 8))
rows = z, condition, noise, wanted[:, 0]


def loss(params, z, condition, noise, wanted):
    params = layout.gathered(params)
    w = mapping.apply(params["mapping"], z, condition)
    images = synthesis.apply(params["synthesis"], jnp.repeat(w[:, None], 4, axis=1), noise)
    # Unlike each other, so that it matters which examples stand in one group.
    images = images * (1 + wanted**2)[:, None, None, None]
    logits = discriminator.apply(params["discriminator"], images, condition)
    return crossbatch.mean((logits - wanted) ** 2)


def graded(params, *rows):
    return crossbatch.average(jax.value_and_grad(loss)(params, *rows))


def init(key):
    ws, images = jnp.zeros((1, 4, 16)), jnp.zeros((1, 8, 8, 3))
    return {
        "mapping": mapping.init(key, z[:1], condition[:1]),
        "synthesis": synthesis.init(key, ws),
        "discriminator": discriminator.init(key, images, condition[:1]),
    }


params = jax.jit(init)(jax.random.key(0))
for layer in ("conv4", "up8", "conv8"):
    params["synthesis"]["params"][layer]["noise_strength"] += 0.5
alone = jax.device_get(jax.jit(graded)(params, *rows))
found = {}


def compare(name, together):
    error = lambda a, b: float(np.abs(a - b).max() / (np.abs(a).max() + 1e-3))
    found[name] = max(jax.tree.leaves(jax.tree.map(error, alone, jax.device_get(together))))


cut = lambda x: x.reshape(8, 2, *x.shape[1:])
mapped = jax.pmap(graded, crossbatch.AXIS, in_axes=(None, 0, 0, 0, 0), out_axes=None)
compare("pmap", mapped(params, *jax.tree.map(cut, rows)))
mesh = jax.make_mesh((2, 2, 2), layout.AXES, (AxisType.Auto,) * 3)
places, split = sharding.shard(mesh, params), sharding.split(mesh)
sharded = jax.jit(
    layout.on_mesh(mesh, graded),
    in_shardings=(places, *(split,) * 4),
    out_shardings=(sharding.replicated(mesh), places),
)
compare("mesh", sharded(params, *rows))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_eight_devices_compute_what_one_does():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = python("-c", ON_DEVICES, XLA_FLAGS=flags)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found) == 2 and max(found.values()) < 1e-4, found
