"""The mesh, what is split over which of its axes, and which rows a process is fed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from configs import flow
from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.data.pipeline import collate
from mmgen_jax.errors import InputError
from mmgen_jax.training import run, sharding


def mesh(data=1, fsdp=1, tensor=1):
    """A mesh of devices that need not be there."""
    return AbstractMesh((data, fsdp, tensor), sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def specs(mesh, **shapes):
    """The partition of arrays, by their path with __ for /."""
    tree = {
        name.replace("__", "/"): jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in shapes.items()
    }
    return {k: tuple(v.spec) for k, v in sharding.shard(mesh, tree).items()}


def test_the_mesh_takes_the_devices_that_the_config_names():
    options = configs.default().sharding
    sizes = {"data": jax.device_count(), "fsdp": 1, "tensor": 1}
    assert dict(sharding.make_mesh(options).shape) == sizes
    options.data = 1
    assert dict(sharding.make_mesh(options).shape) == sizes | {"data": 1}


@pytest.mark.parametrize(
    ("options", "devices", "shape"),
    [
        ({}, 8, (8, 1, 1)),
        ({"fsdp": 4}, 8, (2, 4, 1)),
        ({"fsdp": 2, "tensor": 2}, 8, (2, 2, 2)),
        ({"data": 3}, 8, (3, 1, 1)),
        ({"fsdp": 0}, 1, (1, 1, 1)),
        ({"fsdp": 0}, 8, (1, 8, 1)),
        ({"fsdp": 0}, 12, (3, 4, 1)),
        ({"fsdp": 0}, 256, (16, 16, 1)),
        ({"fsdp": 0, "tensor": 4}, 64, (1, 16, 4)),
        ({"fsdp": 0, "data": 2}, 8, (2, 4, 1)),
        ({"fsdp": 0, "data": 8}, 8, (8, 1, 1)),
    ],
)
def test_one_axis_takes_what_the_others_leave(options, devices, shape):
    config = configs.default()
    config.sharding.update(options)
    assert configs.mesh_shape(config.sharding, devices) == shape


@pytest.mark.parametrize(
    ("options", "devices", "processes", "words"),
    [
        (
            {"sharding.data": 9},
            8,
            1,
            ("data = 9, fsdp = 1, tensor = 1", "at most 8"),
        ),
        ({"sharding.fsdp": 16}, 8, 1, ("fsdp = 16", "at most 8 devices")),
        ({"sharding.tensor": 3}, 8, 1, ("tensor = 3", "leaves 2 of 8 devices")),
        ({"sharding.data": 2}, 8, 2, ("data = 2", "leaves 6 of 8 devices")),
        ({"train.batch_size": 12}, 8, 1, ("config.train.batch_size = 12", "multiples of 8")),
        ({"train.batch_size": 12, "sharding.fsdp": 8}, 8, 1, ("over 8 devices",)),
        (
            {"train.batch_size": 8, "train.grad_accum_steps": 2},
            8,
            1,
            ("in 2 parts", "multiples of 16"),
        ),
        ({"train.strategy": "pmap"}, 8, 2, ("'pmap' with 2 processes", "strategy 'jit'")),
        (
            {"train.strategy": "pmap", "sharding.fsdp": 2},
            8,
            1,
            ("config.sharding.fsdp = 2", "'pmap'", "strategy 'jit'"),
        ),
    ],
)
def test_a_layout_that_cannot_be_is_refused(options, devices, processes, words):
    config = configs.default()
    config.update_from_flattened_dict(options)
    with pytest.raises(InputError) as refusal:
        configs.validate(config, devices, processes)
    for word in words:
        assert word in str(refusal.value)


def test_tensor_alone_leaves_the_batch_whole():
    config = configs.default()
    config.sharding.tensor, config.train.batch_size = 8, 1
    configs.validate(config, 8)


def test_fsdp_splits_the_longest_axis_that_divides():
    found = specs(mesh(fsdp=8), a=(16, 64), b=(64, 16), c=(30, 24), d=(5,), e=())
    assert found == {
        "a": (None, "fsdp"),
        "b": ("fsdp", None),
        "c": (None, "fsdp"),
        "d": (None,),
        "e": (),
    }


def test_tensor_splits_features_out_then_features_in():
    shapes = {"qkv__kernel": (32, 96), "gate_up__kernel": (32, 128), "down__kernel": (64, 32)}
    found = specs(mesh(fsdp=2, tensor=2), **shapes, other__kernel=(32, 64))
    assert found == {
        "qkv/kernel": ("fsdp", "tensor"),
        "gate_up/kernel": ("fsdp", "tensor"),
        "down/kernel": ("tensor", "fsdp"),
        "other/kernel": (None, "fsdp"),
    }


def test_stacked_layers_are_not_split_between_layers():
    found = specs(mesh(fsdp=8), trunk__layers__dense__kernel=(64, 16, 32), other=(64, 16, 32))
    assert found == {
        "trunk/layers/dense/kernel": (None, None, "fsdp"),
        "other": ("fsdp", None, None),
    }


def test_what_is_no_float_stays_whole():
    tree = {"key": jax.ShapeDtypeStruct((8,), jnp.uint32)}
    assert sharding.shard(mesh(fsdp=8), tree)["key"].spec == PartitionSpec(None)


@pytest.mark.parametrize("optimizer", ("adamw", "muon"))
def test_the_state_of_a_real_recipe_is_shared_out(optimizer):
    """Parameters, averages and moments alike: each device has an eighth, to half a percent."""
    config = flow.get_config("data=shapes,modalities=label,size=base")
    config.optimizer.generator.name = optimizer
    model = models.build(config, {"label": {"names": [str(n) for n in range(9)]}})
    shapes = run.state_shapes(config, model)
    held = whole = 0
    for leaf, place in zip(
        jax.tree.leaves(shapes), jax.tree.leaves(sharding.shard(mesh(fsdp=8), shapes)), strict=True
    ):
        size = leaf.dtype.itemsize
        whole += size * leaf.size
        held += size * int(np.prod(place.shard_shape(leaf.shape)))
    assert held / whole < 0.125 * 1.005


def test_a_batch_on_the_devices_is_the_batch_of_the_host():
    example = {
        "index": np.uint32(3),
        "image": np.full((4, 4, 3), 0.5, np.float32),
        "values": {"label": {"label": np.int32(2)}},
        "has": {"label": np.bool_(True)},
    }
    batch = collate([example, example | {"index": np.uint32(2**32 - 1)}])
    there = sharding.to_devices(sharding.make_mesh(configs.default().sharding), batch, 2)
    assert there.index.tolist() == [3, 2**32 - 1] and there.index.dtype == np.uint32
    np.testing.assert_array_equal(there.images, batch["image"])
    assert there.values["label"]["label"].tolist() == [2, 2]
    assert there.has["label"].dtype == bool


def test_a_process_alone_is_fed_every_row():
    assert sharding.rows(sharding.make_mesh(configs.default().sharding), 6) == [*range(6)]
