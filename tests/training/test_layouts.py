"""The same training on every layout of devices and processes, and from one to the other."""

import itertools

import numpy as np
import pytest

from tests.layouts import LAYOUTS, begin_in, train_on
from tests.runs import everything, logged
from tests.tiny import tiny_config

STEPS, HALF = 20, 10
# In the fast suite: what splits along `data` or `fsdp` alone does so in the cube too. pmap's
# collectives are in `test_crossbatch`, its step in `test_program`; two processes in
# `test_processes`.
QUICK = ("cube", "one")
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS]
# One device goes on from the cube's run; in the slow suite, each from that of every other, and its
# own. That two processes go on bit for bit is in `test_processes` too.
PAIRS = list(itertools.pairwise(QUICK))


def config():
    """Text is told apart by comparison with the whole batch's, over all devices."""
    config = tiny_config(("text", "label"))
    config.train.batch_size, config.train.steps, config.train.log_every = 16, STEPS, 1
    config.checkpoint.every = HALF
    config.optimizer.generator.update(name="adamw", learning_rate=3e-3, warmup_steps=2)
    return config


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """By layout, and by (layout that saved, layout that went on): (directory, what was seen)."""
    top = tmp_path_factory.mktemp("runs")
    mine = [item for item in request.session.items if item.path == request.path]
    slow = any(item.get_closest_marker("slow") for item in mine)
    # Whoever goes on comes after those that it goes on from.
    whole = {name: top / name for name in (*QUICK, *(LAYOUTS if slow else ()))}
    halves = {pair: top / "-".join(pair) for pair in PAIRS}
    found = {}
    for name, workdir in whole.items():
        begin_in(workdir, config())
        # As much as can be in the same processes: they spend most of their time on starting.
        pairs = [pair for pair in PAIRS if pair[1] == name]
        found |= train_on(name, workdir, *((halves[p], whole[p[0]]) for p in pairs))
    return {key: (path, found[str(path)]) for key, path in (whole | halves).items()}


def assert_same_losses(ours, theirs):
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    assert ours[0].keys() == theirs[0].keys()
    # The bound of InfoNCE crosses 0; its loss, which is trained on, is that below the ceiling.
    ours, theirs = (
        [{**x, "info_nce": x["recovery_ceiling_text"] - x["recovery_text"]} for x in lines]
        for lines in (ours, theirs)
    )
    for name in ("loss", "flow", "info_nce", "recovery_label", "gradient_norm_generator"):
        a, b = ([line[name] for line in lines] for lines in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-4, err_msg=name)


def assert_goes_on(source, workdir, seen, *, alike):
    """That `workdir`, saved half-way by a layout and gone on with by another, is the same run."""
    assert seen["fed"] == source[1]["fed"][HALF:]
    assert_same_losses(logged(workdir), logged(source[0]))
    if alike:
        assert logged(workdir) == logged(source[0])
        assert everything(workdir, STEPS) == everything(source[0], STEPS)
    else:
        assert everything(workdir, STEPS)[1] == everything(source[0], STEPS)[1]


def test_the_training_is_one_that_shows_a_difference(runs):
    """It learns, by steps large enough, with a term that compares examples over all devices."""
    losses = [line["loss"] for line in logged(runs["one"][0])]
    # A loss of log likelihoods may fall through zero: by a tenth of its size.
    assert np.mean(losses[-3:]) < losses[0] - 0.1 * abs(losses[0])
    assert config().optimizer.generator.learning_rate >= 1e-3
    assert config().modalities.text.recovery_weight > 0


@pytest.mark.parametrize("name", EACH[1:])  # all but "one"
def test_every_layout_trains_alike(runs, name):
    assert runs[name][1]["fed"] == runs["one"][1]["fed"]
    assert_same_losses(logged(runs[name][0]), logged(runs["one"][0]))


@pytest.mark.parametrize("name", EACH)
def test_each_device_holds_its_share(runs, name):
    seen = runs[name][1]
    layout = LAYOUTS[name]
    assert len(seen["bytes"]) == layout.devices * layout.processes
    shares = layout.overrides.get("sharding.fsdp", 1)
    for held in seen["bytes"].values():
        assert held <= seen["whole"] * (1 / shares + (0.05 if shares > 1 else 0))


@pytest.mark.parametrize("name", EACH)
def test_the_state_is_donated(runs, name):
    assert runs[name][1]["donated"]


@pytest.mark.parametrize(("source", "name"), PAIRS)
def test_a_run_goes_on_with_another_layout(runs, source, name):
    assert_goes_on(runs[source], *runs[source, name], alike=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_goes_on_with_any_layout(runs, tmp_path, name):
    """All 49 of them."""
    workdirs = {source: tmp_path / source for source in LAYOUTS}
    seen = train_on(name, *((workdir, runs[source][0]) for source, workdir in workdirs.items()))
    for source, workdir in workdirs.items():
        assert_goes_on(runs[source], workdir, seen[str(workdir)], alike=source == name)
