"""Whether a training state has room: what is refused, in which words, before anything compiles."""

import jax
import pytest

from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.training import capacity, program, sharding
from tests.tiny import open_source, tiny_config


def built(**changed):
    config = tiny_config(("label",))
    for path, value in changed.items():
        group, _, name = path.rpartition("__")
        node = config
        for part in group.split("__"):
            node = node[part]
        node[name] = value
    model = models.build(config, models.fit(config, open_source(config)))
    mesh = sharding.mesh_of((1, 1, 1), jax.devices()[:1])
    return config, program.build(config, model, mesh)


def test_what_fits_is_not_refused():
    capacity.check(*built())


def test_a_state_that_no_machine_holds_is_refused_by_its_keys():
    width = 2**15
    with pytest.raises(InputError) as refusal:
        capacity.check(*built(generator__flow__width=width, generator__flow__depth=1_000))
    message = str(refusal.value)
    assert "\n" not in message
    for word in (f"config.generator.flow.width = {width}", "flow.depth = 1000", "TiB", "devices"):
        assert word in message


def test_a_batch_that_no_machine_holds_is_refused_by_its_keys():
    changed = {"data__image_size": 4_096, "train__batch_size": 2**20}
    with pytest.raises(InputError) as refusal:
        capacity.check(
            *built(**changed, generator__flow__patch_size=512, objective__recovery_patch_size=512)
        )
    for word in ("config.train.batch_size = 1048576", "config.data.image_size = 4096", "TiB"):
        assert word in str(refusal.value)


def test_memory_is_that_of_the_device():
    per_device = capacity.memory_of(jax.devices()[0])
    assert 2**27 < per_device * jax.local_device_count() < 2**45
