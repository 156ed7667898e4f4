"""Checkpoints: bit for bit, whole or not at all."""

import json
import logging
import os
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.training import checkpoints as checkpoints_lib
from mmgen_jax.training.checkpoints import Checkpoints, latest, read_json, restore
from mmgen_jax.training.manifest import NAME as MANIFEST

CONFIG = {"data": {"name": "émoji", "weights": [0.1, None, True]}, "steps": 40}


def make_state(step=0):
    """A state as in training: bfloat16, keys, nested NamedTuples of optax, empty groups."""
    keys = jax.random.split(jax.random.PRNGKey(step), 3)
    params = {
        "encoders": {"text": {"kernel": jax.random.normal(keys[0], (8, 4))}},
        "generator": {"kernel": jax.random.normal(keys[1], (4, 6)), "bias": jnp.zeros(6)},
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.multi_transform(
            {"adamw": optax.adamw(1e-3), "muon": optax.contrib.muon(1e-3)},
            {"encoders": "adamw", "generator": "muon"},
        ),
    )
    return {
        "params": params,
        "state": {},
        "optimizer": {"generator": optimizer.init(params)},
        "ema": jax.tree.map(lambda x: x.astype(jnp.bfloat16), params),
        "extremes": jnp.array([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
        "key": keys[2],
        "step": jnp.int32(step),
    }


def abstract(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def assert_bitwise_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with whole checkpoints of steps 10 and 20; not to be changed, but copied."""
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir) as checkpoints:
        for step in (10, 20):
            log = {"sums": {"loss": 1 / 3}}
            checkpoints.save(step, make_state(step), {"position": 8 * step}, CONFIG, log)
    return workdir


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def a_file(step_directory):
    return max(step_directory.glob("state/**/d/*"), key=lambda path: path.stat().st_size)


def steps(workdir):
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_round_trip_is_bitwise(saved):
    expected = make_state(20)
    restored = restore(saved, 20, abstract(expected))
    assert_bitwise_equal(restored.state, expected)
    assert restored.data == {"position": 160}
    assert restored.config == CONFIG
    assert restored.log == {"sums": {"loss": 1 / 3}}
    assert {leaf.sharding for leaf in jax.tree.leaves(restored.state)} == {expected["key"].sharding}


def test_concrete_arrays_say_the_structure_too(saved):
    assert_bitwise_equal(restore(saved, 10, make_state(3)).state, make_state(10))


def test_json_parts_without_arrays(saved):
    assert read_json(saved, 10, "config") == CONFIG
    assert read_json(saved, 20, "data") == {"position": 160}


def test_donation_right_after_save(tmp_path):
    state = {"weights": jnp.arange(1 << 20, dtype=jnp.float32)}
    like = abstract(state)
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    overwrite(jax.tree.map(jnp.copy, state))  # compiled before the race begins
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {}, {})
        after = jax.block_until_ready(overwrite(state))
        # A CPU copies instead of donating while orbax reads the buffer: take it away all the same.
        state["weights"].delete()
        jax.block_until_ready([jnp.full_like(after["weights"], n) for n in range(4)])
        checkpoints.wait()
        assert_bitwise_equal(
            checkpoints.restore(1, like).state, {"weights": np.arange(1 << 20, dtype=np.float32)}
        )


def test_nothing_there(tmp_path):
    assert latest(tmp_path / "never") is None
    with pytest.raises(InputError, match=r"no checkpoint of step 7 .* there are: none"):
        restore(tmp_path, 7, {})


def remove_manifest(directory):
    (directory / MANIFEST).unlink()
    return f"{MANIFEST} is missing"


def remove_file(directory):
    a_file(directory).unlink()
    return f"{a_file_name(directory)} is missing"


def truncate_file(directory):
    path = a_file(directory)
    path.write_bytes(path.read_bytes()[:-1])
    return f"{path.relative_to(directory)} is damaged"


def flip_bit(directory):
    path = a_file(directory)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return f"{path.relative_to(directory)} is damaged"


def a_file_name(directory):
    names = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    return next(name for name in names if not (directory / name).exists())


@pytest.mark.parametrize("damage", (remove_manifest, remove_file, truncate_file, flip_bit))
def test_a_broken_step_is_skipped_and_named(run, caplog, damage):
    fault = damage(run / "checkpoints" / "20")
    files = sorted(run.rglob("*"))
    with caplog.at_level(logging.WARNING):
        assert latest(run) == 10
    (warning,) = caplog.messages
    assert "skipped the checkpoint of step 20" in warning and fault in warning
    assert "\n" not in warning
    with pytest.raises(InputError, match=r"the checkpoint of step 20 .* is broken"):
        restore(run, 20, abstract(make_state()))
    assert_bitwise_equal(restore(run, 10, abstract(make_state())).state, make_state(10))
    assert sorted(run.rglob("*")) == files


def test_nothing_whole(run):
    for step in (10, 20):
        flip_bit(run / "checkpoints" / str(step))
    assert latest(run) is None


def test_a_broken_step_is_saved_again_and_set_aside(run):
    flip_bit(run / "checkpoints" / "20")
    (run / "checkpoints" / "20.broken-0").mkdir()
    with Checkpoints(run) as checkpoints:
        checkpoints.save(20, make_state(21), {}, {})
        checkpoints.wait()
        assert checkpoints.latest() == 20
    assert steps(run) == {"10", "20", "20.broken-0", "20.broken-1"}
    assert_bitwise_equal(restore(run, 20, abstract(make_state())).state, make_state(21))


def test_a_whole_step_is_left_as_it_is(run):
    with Checkpoints(run) as checkpoints:
        checkpoints.save(20, make_state(21), {}, {})
    assert_bitwise_equal(restore(run, 20, abstract(make_state())).state, make_state(20))


def test_a_killed_save_is_cleared_away(run):
    (run / "checkpoints" / "30.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    assert latest(run) == 20
    with Checkpoints(run):
        assert steps(run) == {"10", "20"}


def test_a_crash_between_commit_and_manifest(run, monkeypatch):
    def crash(directory):
        raise OSError("killed here")

    monkeypatch.setattr(checkpoints_lib.manifest, "write", crash)
    with pytest.raises(RuntimeError, match="killed here"), Checkpoints(run, keep_last=1) as c:
        c.save(30, make_state(), {}, {})
    assert steps(run) == {"10", "20", "30"}
    assert latest(run) == 20


def test_retention(tmp_path):
    tiny = {"weights": jnp.ones(2)}
    with Checkpoints(tmp_path, keep_last=2, keep_every=4) as checkpoints:
        for step in range(1, 8):
            checkpoints.save(step, tiny, {}, {})
    assert steps(tmp_path) == {"4", "6", "7"}


def test_the_best_are_kept_across_restarts(tmp_path):
    """By their cost, of which the first step has none."""
    tiny, costs = {"weights": jnp.ones(2)}, [None, 5.0, 2.0, 9.0, 2.0, 3.0, 8.0, 7.0]
    for start in (0, 4):
        with Checkpoints(tmp_path, 1, keep_best=2, cost=lambda log: log["cost"]) as checkpoints:
            for step in range(start, start + 4):
                checkpoints.save(step, tiny, {}, {}, {"cost": costs[step]})
    assert steps(tmp_path) == {"2", "4", "7"}
    assert read_json(tmp_path, 4, "log") == {"cost": 2.0}


def test_retention_spares_the_newest_whole_step(run):
    """Broken newer steps do not push out the one that a run can resume from."""
    flip_bit(run / "checkpoints" / "20")
    shutil.copytree(run / "checkpoints" / "20", run / "checkpoints" / "30")
    with Checkpoints(run, keep_last=1) as checkpoints:
        assert checkpoints.latest() == 10
        checkpoints.save(15, make_state(15), {}, {})
        checkpoints.wait()
        assert checkpoints.latest() == 15
    assert steps(run) == {"15", "20", "30"}


def test_full_disk(run):
    state = {"noise": jax.random.normal(jax.random.PRNGKey(0), (1 << 18,))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(run) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            checkpoints.save(30, state, {}, {})
            with pytest.raises(RuntimeError) as failure:
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "could not save checkpoint" in str(failure.value)
        assert "File too large" in str(failure.value)
        assert "\n" not in str(failure.value)
        assert checkpoints.latest() == 20
        checkpoints.save(30, state, {}, {})  # there is room again
        checkpoints.wait()
        assert checkpoints.latest() == 30


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot write checkpoints to .*file/checkpoints: Not a"):
        Checkpoints(tmp_path / "file")


@pytest.mark.parametrize("kept", ({"keep_last": 0}, {"keep_every": -1}, {"keep_best": -1}))
def test_retention_that_cannot_work(tmp_path, kept):
    with pytest.raises(InputError, match="allowed are keep_last >= 1, keep_every >= 0 and keep_"):
        Checkpoints(tmp_path, **kept)


def other_dtype(like):
    like["step"] = jax.ShapeDtypeStruct((), jnp.float32, sharding=like["step"].sharding)
    return r"step is int32\[\] in the checkpoint and float32\[\] in the model"


def other_shape(like):
    like["key"] = jax.ShapeDtypeStruct((4,), jnp.uint32, sharding=like["key"].sharding)
    return r"key is uint32\[2\] in the checkpoint and uint32\[4\] in the model"


def missing_leaf(like):
    del like["ema"]["generator"]["bias"]
    return r"ema/generator/bias is bfloat16\[6\] in the checkpoint and not there in the model"


def additional_leaf(like):
    like["state"] = {"mean": like["key"]}
    return r"state/mean is not there in the checkpoint and uint32\[2\] in the model"


@pytest.mark.parametrize("change", (other_dtype, other_shape, missing_leaf, additional_leaf))
def test_another_model_is_refused(saved, change):
    like = abstract(make_state())
    difference = change(like)
    with pytest.raises(InputError, match=difference):
        restore(saved, 20, like)


@pytest.mark.parametrize("name", ["3", "3.orbax-checkpoint-tmp"])
@pytest.mark.parametrize("target", ["outside", "nothing"])
def test_a_link_where_a_checkpoint_will_be_is_put_away_and_not_followed(tmp_path, name, target):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"a user's")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).symlink_to(tmp_path / target)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, {"weights": jnp.ones(3)}, {}, {})
    assert latest(tmp_path) == 3
    assert [path.read_bytes() for path in outside.iterdir()] == [b"a user's"]
    assert not (tmp_path / "nothing").exists()


def test_a_pipe_in_a_checkpoint_is_found_before_orbax_waits_for_it(run, caplog):
    os.mkfifo(run / "checkpoints" / "20" / "state" / "d" / "pipe")
    with caplog.at_level(logging.WARNING):
        assert latest(run) == 10
    assert "state/d/pipe: it is a pipe, not a file" in caplog.text
    with pytest.raises(InputError, match="broken: state/d/pipe: it is a pipe, not a file"):
        restore(run, 20, {})


def test_checkpoints_that_are_gone_while_they_are_looked_at_are_none(run, monkeypatch):
    scandir = os.scandir

    def moving(path):
        if (step := Path(path)).name in ("10", "20") and step.exists():
            step.rename(run / f"gone-{step.name}")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", moving)
    assert latest(run) is None
    assert {path.name for path in run.glob("gone-*")} == {"gone-10", "gone-20"}
