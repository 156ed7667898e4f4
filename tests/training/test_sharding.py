"""The mesh: a batch is split over the devices, and the run is the same on any number of them."""

import json
import os
import shutil

import jax
import numpy as np
import pytest

from mmgen_jax import config as configs
from mmgen_jax.data.pipeline import collate
from mmgen_jax.training import loop, sharding
from tests.launching import python
from tests.runs import everything, logged
from tests.tiny import tiny_config

STEPS = 6
XLA_FLAGS = os.environ["XLA_FLAGS"]

ON_EIGHT_DEVICES = """
import json, sys
from pathlib import Path

import jax

from mmgen_jax import config as configs
from mmgen_jax.errors import InputError
from mmgen_jax.training import loop

workdir = Path(sys.argv[1])
config = configs.load(workdir / "config.json")
seen, to_devices, run = {}, loop.sharding.to_devices, loop.Loop.run


def note_batch(mesh, batch):
    split = to_devices(mesh, batch)
    for name, leaf in (("images", split.images), ("mask", split.values["text"]["mask"])):
        shards = leaf.addressable_shards
        seen[name] = [[s.device.id, s.index[0].start, list(s.data.shape)] for s in shards]
    return split


def note_state(self, state):
    state = run(self, state)
    leaves = jax.tree.leaves(state)
    seen["replicated"] = all(
        leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 8 for leaf in leaves
    )
    return state


loop.sharding.to_devices, loop.Loop.run = note_batch, note_state
loop.train(config, workdir)
try:
    config.train.batch_size = 12
    loop.train(config, workdir / "refused")
except InputError as refusal:
    seen["refusal"] = str(refusal)
print(json.dumps(seen))
"""


def config():
    """Text is told apart by comparison with the whole batch's, over all devices."""
    config = tiny_config(("text", "label"))
    config.train.batch_size, config.train.steps, config.train.log_every = 8, STEPS, 1
    config.checkpoint.every = 3
    return config


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """(directory of a run on eight fake devices, what was seen in it)."""
    workdir = tmp_path_factory.mktemp("eight")
    configs.save(config(), workdir / "config.json")
    flags = f"{XLA_FLAGS} --xla_force_host_platform_device_count=8"
    done = python("-c", ON_EIGHT_DEVICES, workdir, XLA_FLAGS=flags)
    assert done.code == 0, done.err
    return workdir, json.loads(done.out)


def test_each_device_has_its_own_rows(on_eight):
    seen = on_eight[1]
    for name, shape in (("images", [1, 16, 16, 3]), ("mask", [1, 12])):
        assert sorted(seen[name]) == [[device, device, shape] for device in range(8)]


def test_the_state_is_whole_on_every_device(on_eight):
    assert on_eight[1]["replicated"]


def test_a_batch_that_does_not_divide_is_refused(on_eight):
    for words in ("config.train.batch_size = 12", "8 devices", "multiples of 8"):
        assert words in on_eight[1]["refusal"]
    assert not (on_eight[0] / "refused").exists()


def assert_same_losses(ours, theirs):
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("loss", "flow", "recovery_text", "gradient_norm_generator"):
        a, b = ([line[name] for line in lines] for lines in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_one_device_and_eight_train_alike(on_eight, tmp_path):
    assert jax.device_count() == 1
    loop.train(config(), tmp_path)
    assert_same_losses(logged(tmp_path), logged(on_eight[0]))


def test_a_run_goes_on_with_other_devices(on_eight, tmp_path):
    workdir = shutil.copytree(on_eight[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))
    loop.train(config(), workdir)
    assert_same_losses(logged(workdir), logged(on_eight[0]))
    assert everything(workdir, STEPS)[1] == everything(on_eight[0], STEPS)[1]


def test_the_mesh_takes_the_devices_that_the_config_names():
    options = configs.default().sharding
    options.data = -1
    assert dict(sharding.make_mesh(options).shape) == {"data": jax.device_count()}
    options.data = 1
    assert dict(sharding.make_mesh(options).shape) == {"data": 1}


def test_a_batch_on_the_devices_is_the_batch_of_the_host():
    example = {
        "index": np.uint32(3),
        "image": np.full((4, 4, 3), 0.5, np.float32),
        "values": {"label": {"label": np.int32(2)}},
        "has": {"label": np.bool_(True)},
    }
    batch = collate([example, example | {"index": np.uint32(2**32 - 1)}])
    there = sharding.to_devices(sharding.make_mesh(configs.default().sharding), batch)
    assert there.index.tolist() == [3, 2**32 - 1] and there.index.dtype == np.uint32
    np.testing.assert_array_equal(there.images, batch["image"])
    assert there.values["label"]["label"].tolist() == [2, 2]
    assert there.has["label"].dtype == bool
