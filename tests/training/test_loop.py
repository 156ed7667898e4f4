"""The loop: an interrupted run goes on as if nothing had been, and a broken one stops."""

import hashlib
import logging
import os
import re
import shutil
import signal

import jax
import numpy as np
import optax
import pytest

from mmgen_jax import config as configs
from mmgen_jax.data import SOURCES, BadRecord
from mmgen_jax.errors import InputError
from mmgen_jax.training import checkpoints, loop, manifest, optimizers, program, run
from mmgen_jax.training.clock import Clock
from mmgen_jax.training.interrupts import Interrupted
from mmgen_jax.training.logbook import Logbook
from tests import toys
from tests.runs import everything, logged
from tests.tiny import tiny_config

STEPS = 12


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def toy_config():
    """Two players at their own pace, a state that moves, a checkpoint every four steps."""
    config = toys.toy_config()
    for player in ("generator", "critic"):
        config.optimizer[player].update(name="adamw", learning_rate=0.01, warmup_steps=3)
    config.optimizer.critic.update_every = 2
    config.fusion.keep_all_rate = 0.5
    config.data.threads = 2
    config.train.batch_size, config.train.steps = 4, STEPS
    config.train.log_every, config.train.sample_every = 2, 0
    config.checkpoint.every, config.checkpoint.keep_last = 4, 9
    return config


def note_batches(monkeypatch):
    """Checksums of the batches that training is given from now on, in order."""
    checksums, to_devices = [], loop.sharding.to_devices

    def note(mesh, batch, batch_size):
        checksum = hashlib.sha256()
        for leaf in jax.tree.leaves(batch):
            checksum.update(np.ascontiguousarray(leaf).tobytes())
        checksums.append(checksum.hexdigest())
        return to_devices(mesh, batch, batch_size)

    monkeypatch.setattr(loop.sharding, "to_devices", note)
    return checksums


@pytest.fixture
def fed(monkeypatch):
    return note_batches(monkeypatch)


def at_step(monkeypatch, wanted, action):
    """Has `action` done once, when the loop has taken step `wanted`."""
    advance, waiting = Logbook.advance, [wanted]

    def advance_and_act(self, step):
        advance(self, step)
        if step in waiting:
            waiting.remove(step)
            action()

    monkeypatch.setattr(Logbook, "advance", advance_and_act)


@pytest.fixture(scope="module")
def whole(registered, tmp_path_factory):
    """(directory of a run that nothing interrupted, the batches it was fed)."""
    workdir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        checksums = note_batches(monkeypatch)
        loop.train(toy_config(), workdir)
    return workdir, checksums


def test_a_run_is_self_contained(whole):
    workdir, checksums = whole
    assert len(set(checksums)) == STEPS
    names = {path.name for path in workdir.iterdir()}
    kept = {"config.json", "newest_checkpoint.json", "metrics.jsonl"}
    assert names == {"assets", "checkpoints", "tensorboard"} | kept
    assert configs.differences(configs.load(workdir / "config.json"), toy_config()) == []
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"4", "8", "12"}
    lines = logged(workdir)
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "loss_generator", "loss_critic", "skipped_records"} <= lines[0].keys()
    first, last = everything(workdir, 4)[0], everything(workdir, STEPS)[0]
    # All that is compared below moves, so that equality says something; the toys use no token.
    used = {name for name in first if "['fusion']" not in name}
    assert {name for name in used if first[name] == last[name]} == {".key"}


@pytest.mark.parametrize("name", ("SIGTERM", "SIGINT"))
def test_a_signal_stops_a_run_that_then_goes_on_bit_for_bit(
    whole, tmp_path, monkeypatch, fed, name
):
    at_step(monkeypatch, 5, lambda: os.kill(os.getpid(), getattr(signal, name)))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stop:
        loop.train(toy_config(), tmp_path)
    assert (stop.value.code, stop.value.signal_name) == (143, name)
    assert checkpoints.latest(tmp_path) == 5
    assert everything(tmp_path, 5)[1]["position"] == 5, "read ahead is not consumed"
    assert signal.getsignal(signal.SIGINT) is before

    loop.train(toy_config(), tmp_path)
    assert everything(tmp_path, STEPS) == everything(whole[0], STEPS)
    assert fed == whole[1]
    assert logged(tmp_path) == logged(whole[0]), "a line's means span the stop"


def test_a_crashed_run_goes_on_bit_for_bit_from_its_checkpoint(whole, tmp_path, monkeypatch, fed):
    def crash():
        raise KeyboardInterrupt

    at_step(monkeypatch, 7, crash)
    with pytest.raises(KeyboardInterrupt):
        loop.train(toy_config(), tmp_path)
    assert [line["step"] for line in logged(tmp_path)] == [2, 4, 6]
    assert checkpoints.latest(tmp_path) == 4

    loop.train(toy_config(), tmp_path)
    assert everything(tmp_path, STEPS) == everything(whole[0], STEPS)
    assert fed == whole[1][:7] + whole[1][4:]
    assert logged(tmp_path) == logged(whole[0])


def test_a_half_written_checkpoint_is_passed_over_and_that_is_said(whole, tmp_path, caplog, fed):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "12")
    (workdir / "checkpoints" / "8" / manifest.NAME).unlink()
    with caplog.at_level(logging.WARNING):
        loop.train(toy_config(), workdir)
    (said,) = [text for text in caplog.messages if "skipped" in text]
    assert "step 8" in said and "did not finish" in said
    assert fed == whole[1][4:]
    assert everything(workdir, STEPS) == everything(whole[0], STEPS)
    assert logged(workdir) == logged(whole[0])


def test_a_signal_during_the_last_step_ends_a_run_as_any(whole, tmp_path, monkeypatch):
    at_step(monkeypatch, STEPS, lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.train(toy_config(), tmp_path)
    assert everything(tmp_path, STEPS) == everything(whole[0], STEPS)


def test_a_finished_run_stays_as_it_is(whole, fed):
    before = (whole[0] / "metrics.jsonl").read_bytes()
    loop.train(toy_config(), whole[0])
    assert fed == []
    assert (whole[0] / "metrics.jsonl").read_bytes() == before


def test_a_changed_config_is_refused_with_the_difference(whole, tmp_path, fed):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    config = toy_config()
    config.train.steps += 2
    config.optimizer.critic.learning_rate = 0.02
    with pytest.raises(InputError) as refusal:
        loop.train(config, workdir)
    message = str(refusal.value)
    for words in (
        f"train.steps: {STEPS} -> {STEPS + 2}",
        "optimizer.critic.learning_rate: 0.01 -> 0.02",
        "checkpoint 12",
        "--accept_config_change",
    ):
        assert words in message
    assert "\n" not in message
    assert fed == []
    assert configs.load(workdir / "config.json").train.steps == STEPS

    loop.train(config, workdir, loop.Allowed(config_change=True))
    assert len(fed) == 2
    assert checkpoints.latest(workdir) == STEPS + 2
    assert configs.load(workdir / "config.json").train.steps == STEPS + 2


def test_a_checkpoint_of_another_model_is_refused_though_the_change_is_accepted(whole, tmp_path):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    config = toy_config()
    config.fusion.pooled *= 2
    with pytest.raises(InputError, match=r"does not fit this model: .* in the checkpoint and"):
        loop.train(config, workdir, loop.Allowed(config_change=True))


@pytest.mark.parametrize("poisoned", (7, 8))  # between checkpoints, and where one is due
def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(
    whole, tmp_path, monkeypatch, poisoned
):
    to_devices, batches = loop.sharding.to_devices, []

    def poison(mesh, batch, batch_size):
        batches.append(batch)
        if len(batches) == poisoned:
            batch["image"] = np.full_like(batch["image"], np.nan)
        return to_devices(mesh, batch, batch_size)

    monkeypatch.setattr(loop.sharding, "to_devices", poison)
    config = toy_config()
    config.train.log_every = 5  # it is not the log that finds it
    with pytest.raises(loop.NotFinite) as stop:
        loop.train(config, tmp_path)
    message = str(stop.value)
    assert f"is nan at step {poisoned};" in message and str(tmp_path) in message
    assert "\n" not in message
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["4"]
    assert everything(tmp_path, 4) == everything(whole[0], 4)


@pytest.mark.parametrize(
    ("every", "line"),
    [
        (1, "the norm of all parameters is inf at step 3"),
        pytest.param(2, r"\w+ is (nan|-?inf) at step 4", marks=pytest.mark.slow),
    ],
)
def test_a_game_that_diverges_stops_with_a_clear_line(tmp_path, monkeypatch, every, line):
    """Two real players, one of which leaps at the third step, where a checkpoint is due or not."""
    config = tiny_config(("label",))
    config.generator.name = "gan"
    config.train.steps, config.checkpoint.every = 20, every
    config.optimizer.discriminator.update(clip_norm=0.0, update_start=2)

    def build(options, steps, honest=optimizers.build):
        leap = optax.scale(1e33) if options.update_start == 2 else optax.identity()
        return optax.chain(honest(options, steps), leap)

    monkeypatch.setattr(optimizers, "build", build)
    with pytest.raises(loop.NotFinite) as stop:
        loop.train(config, tmp_path)
    assert re.fullmatch(f"{line}; the last checkpoint in .* is from before it", str(stop.value))
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == 2
    saved, _ = everything(tmp_path, 2)
    params = [np.frombuffer(bits, np.float32) for name, bits in saved.items() if "params" in name]
    assert params and all(np.abs(values).max(initial=0) < 1e3 for values in params)


def test_a_bad_record_stops_the_run_and_is_named(tmp_path, monkeypatch):
    class Broken(toys.Greys):
        def __getitem__(self, index):
            raise BadRecord(self.where(index), "it is torn")

    broken = SOURCES["greys"]._replace(open=lambda options, split: Broken())
    monkeypatch.setitem(SOURCES._targets, "greys", broken)
    with pytest.raises(InputError) as stop:
        loop.train(toy_config(), tmp_path)
    assert re.fullmatch(r"greys\.zip, record \d+: it is torn", str(stop.value))


def test_skipped_records_are_counted(tmp_path, monkeypatch):
    class Patchy(toys.Greys):
        def __getitem__(self, index):
            if index % 2:
                raise BadRecord(self.where(index), "torn")
            return super().__getitem__(index)

    patchy = SOURCES["greys"]._replace(open=lambda options, split: Patchy())
    monkeypatch.setitem(SOURCES._targets, "greys", patchy)
    config = toy_config()
    config.data.on_bad_record, config.train.steps = "skip", 4
    loop.train(config, tmp_path)
    first, second = (line["skipped_records"] for line in logged(tmp_path))
    assert 0 < first < second


def test_pictures_on_the_way_leave_training_as_it_is(whole, tmp_path):
    config = toy_config()
    config.train.sample_every, config.eval.count = 5, 2
    loop.train(config, tmp_path)
    pictures = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert pictures == ["00000005.png", "00000010.png", "00000012.png"]
    assert everything(tmp_path, STEPS) == everything(whole[0], STEPS)


def test_the_state_is_donated_and_the_step_compiled_once(tmp_path, monkeypatch):
    traces, states, build, go = [], [], program.steps.build, loop.Loop.run

    def note_traces(*args):
        step = build(*args)
        return lambda *operands: traces.append("trace") or step(*operands)

    def note_state(self, state, *others):
        states.append(state)
        return go(self, state, *others)

    monkeypatch.setattr(program.steps, "build", note_traces)
    monkeypatch.setattr(loop.Loop, "run", note_state)
    config = toy_config()
    config.train.steps = 3
    loop.train(config, tmp_path)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(states[0]))
    assert traces == ["trace"]


def test_a_mesh_that_is_not_there_is_refused_before_anything_is_made(tmp_path):
    config = toy_config()
    config.sharding.data = jax.device_count() + 1
    with pytest.raises(InputError, match=r"config\.sharding\.data"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_checkpoints_stay_and_can_be_loaded(tmp_path):
    config = toy_config()
    config.checkpoint.update(every=2, keep_last=2, keep_best=1, best_metric="loss_critic")
    config.checkpoint.best_is = "largest"
    loop.train(config, tmp_path)
    best = max(logged(tmp_path), key=lambda line: line["loss_critic"])["step"]
    there = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert there == {10, 12, best}
    assert run.load(tmp_path, best).step == best
    with pytest.raises(InputError, match="no checkpoint of step 3 .* there are"):
        run.load(tmp_path, 3)


def test_a_metric_that_is_not_there_is_refused_before_training(tmp_path, fed):
    config = toy_config()
    config.checkpoint.update(keep_best=1, best_metric="fid")
    with pytest.raises(InputError, match=r"best_metric = 'fid'; allowed: .*loss_critic"):
        loop.train(config, tmp_path)
    assert fed == []


def test_another_layout_is_no_other_config(whole, tmp_path, fed):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "12")
    config = toy_config()
    config.train.strategy, config.sharding.data = "pmap", 1
    loop.train(config, workdir)
    assert fed == [] and checkpoints.latest(workdir) == STEPS  # under pmap nothing goes to a mesh


def test_loading_a_run(whole, tmp_path):
    trained = run.load(str(whole[0]))  # a path as people write it
    assert trained.step == STEPS
    bits = {k: v for k, v in everything(whole[0], STEPS)[0].items() if k.startswith(".ema")}
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trained.params)] == list(
        bits.values()
    )
    with pytest.raises(InputError, match="is no run: it has no config.json"):
        run.load(tmp_path / "nowhere")
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    (workdir / "assets" / "number.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read .*number\.json"):
        run.load(workdir)
    (workdir / "assets" / "number.json").write_text("{}", encoding="utf-8")
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(InputError, match="the checkpoints of the run in .* are gone"):
        run.load(workdir)
    (workdir / "newest_checkpoint.json").unlink()
    (workdir / "checkpoints").mkdir()
    with pytest.raises(InputError, match="no whole checkpoint yet"):
        run.load(str(workdir))


def test_the_clock_counts_training_alone(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    clock = Clock()
    assert clock.rate() == 0
    now[0] = 100.0  # compilation
    clock.tick()
    assert clock.rate() == 0
    for _ in range(4):
        with clock.paused():
            now[0] += 50.0
        now[0] += 0.5
        clock.tick()
    assert clock.rate() == pytest.approx(2.0)
    assert clock.rate() == 0
