"""Processes that differ do not begin, and data that has changed is not gone on with."""

import shutil

import pytest

from mmgen_jax.data import BadRecord, Record, choose
from mmgen_jax.errors import InputError
from mmgen_jax.training import agreement, checkpoints, fingerprint, lock, loop, processes
from tests import toys
from tests.launching import ROOT
from tests.layouts import Layout, finish, start
from tests.toy_recipe import STEPS

PAIR = Layout(1, processes=2)
RECIPE = "--config=tests/toy_recipe.py"
START_ONLY = "--config.train.steps=1000000"

# Runs the launcher, and has one process do something before it begins.
DIFFERS = """
import os, runpy, sys

process, action = sys.argv[1], sys.argv[2]
sys.argv = ["launch/train.py", *sys.argv[3:]]
if os.environ["JAX_PROCESS_ID"] == process:
    exec(action)
runpy.run_path("launch/train.py", run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def toy_config():
    config = toys.toy_config()
    config.train.steps = config.checkpoint.every = 2
    config.train.log_every, config.train.sample_every, config.data.threads = 1, 0, 2
    return config


def of_two(monkeypatch, change):
    """As if another process had the same facts but for a change."""

    def both(mine):
        theirs = dict(mine)
        digests = all(isinstance(value, str) for value in mine.values())
        for kind, changed in change.items():
            if kind in mine:
                theirs[kind] = fingerprint.digest(changed) if digests else changed
        return [mine, theirs]

    monkeypatch.setattr(processes, "all_of", both)


def facts(data=None):
    config, source = toys.toy_config(), toys.Greys()
    found = agreement.facts(config, {"workdir": "runs/a"})
    return found | {"data": data or fingerprint.take(source, config.modalities.names)}


def changed(**changes):
    """Facts with some of them changed, by kind."""
    return {kind: facts()[kind] | change for kind, change in changes.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": {"data.seed": "1"}}, "config.data.seed 1 (process 0: 0)"),
        ({"version": {"jax": "0.1"}}, "jax 0.1 (process 0: "),
        ({"option": {"workdir": "'b'"}}, "--workdir 'b' (process 0: 'runs/a')"),
        ({"code": {"mmgen_jax/objective.py": "0"}}, "other code: mmgen_jax/objective.py"),
        ({"data": {"length": 63}}, "other data: 63 records instead of 64"),
        ({"data": {"classes": ["a"]}}, "other data: class names: 1 new ('a')"),
        (
            {"config": {"data.seed": "1"}, "data": {"length": 63}},
            "config.data.seed 1 (process 0: 0); process 1 of 2 has other data: 63",
        ),
    ],
)
def test_what_differs_is_named(monkeypatch, change, words):
    of_two(monkeypatch, changed(**change))
    with pytest.raises(InputError) as refused:
        agreement.compare(facts(), toys.Greys())
    said = str(refused.value)
    assert said.startswith("the processes of this run differ: process 1 of 2 has "), said
    assert words in said and "\n" not in said


def test_equal_processes_begin(monkeypatch):
    of_two(monkeypatch, {})
    agreement.compare(facts(), toys.Greys())


def test_each_process_reads_its_data_with_as_many_threads_as_it_likes():
    found = []
    for threads in (1, 2):
        config = toys.toy_config()
        config.data.threads = threads
        found.append(agreement.facts(config, {}))
    assert found[0] == found[1]


def test_the_code_is_all_of_the_package():
    found = agreement.code()
    assert len(found) == len(list((ROOT / "mmgen_jax").rglob("*.py")))
    assert "mmgen_jax/training/loop.py" in found


@pytest.fixture(scope="module")
def whole(registered, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    loop.train(toy_config(), workdir)
    return workdir


def longer():
    config = toy_config()
    config.train.steps = 4
    return config


def other_record(self, index):
    record = READ(self, index)
    if index == CHOSEN:
        return Record(255 - record.image, record.values)
    return record


READ, CHOSEN = toys.Greys.__getitem__, sorted(choose(fingerprint.RECORDS, 64))[0]
CHANGES = {
    "__len__": (lambda self: 60, "60 records instead of 64"),
    "__getitem__": (
        other_record,
        f"records that were compared are others, such as greys.zip, record {CHOSEN} (image)",
    ),
    "info": (toys.GREYS._replace(splits=("train", "test", "new")), "splits: 1 new ('new')"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_data_that_has_changed_is_refused(whole, monkeypatch, name):
    value, words = CHANGES[name]
    monkeypatch.setattr(toys.Greys, name, value)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    with pytest.raises(InputError) as refused:
        loop.train(toy_config(), whole)
    said = str(refused.value)
    for word in (words, "the data (greys, split train)", "checkpoint 2", "--accept_data_change"):
        assert word in said
    assert "\n" not in said
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert after.items() <= before.items()


def test_a_change_of_data_that_is_accepted_is_said_and_then_kept(
    whole, tmp_path, monkeypatch, caplog
):
    workdir = shutil.copytree(whole, tmp_path / "run")
    monkeypatch.setattr(toys.Greys, "__len__", lambda self: 60)
    loop.train(longer(), workdir, loop.Allowed(config_change=True, data_change=True))
    assert any("60 records instead of 64" in text for text in caplog.messages)
    assert checkpoints.read_json(workdir, 4, "data")["fingerprint"]["length"] == 60


def test_new_classes_are_said_to_be_bad_to_the_run(whole, monkeypatch):
    monkeypatch.setattr(toys.Greys, "info", toys.GREYS._replace(classes={"label": ("mauve",)}))
    with pytest.raises(InputError, match="records of new ones are bad to it.*init_from"):
        loop.train(toy_config(), whole)


@pytest.mark.parametrize(("moved", "remembered"), [(False, True), (True, False)])
def test_bad_records_are_remembered_of_the_same_data_alone(
    tmp_path, monkeypatch, moved, remembered
):
    """An interrupted run reports what another one does; what was bad elsewhere is forgotten."""
    config = longer()
    config.data.on_bad_record = "skip"

    def torn(self, index):
        if index % 5 == 0:
            raise BadRecord(f"old place, line {index}", "it is torn")
        return READ(self, index)

    with monkeypatch.context() as patch_size:
        patch_size.setattr(toys.Greys, "__getitem__", torn)
        config.train.steps = 2
        loop.train(config, tmp_path)
    assert checkpoints.read_json(tmp_path, 2, "data")["skipped"]
    config.train.steps = 4
    allowed = loop.Allowed(config_change=True, data_change=True, data_moved=moved)
    monkeypatch.setattr(agreement.fingerprint, "differences", lambda *_: [])
    loop.train(config, tmp_path, allowed)
    assert bool(checkpoints.read_json(tmp_path, 4, "data")["skipped"]) == remembered


def test_a_checkpoint_that_says_nothing_of_its_data_compares_nothing(whole, monkeypatch):
    asked = toy_config(), toys.Greys(), whole, 2, False
    assert agreement.check_data(*asked)["length"] == 64
    monkeypatch.setattr(checkpoints, "read_json", lambda *_: {"position": 2, "skipped": {}})
    assert agreement.check_data(*asked) is None


def test_a_folder_in_use_is_refused_before_anything_is_read(whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    with lock.held(workdir), pytest.raises(InputError, match="is in use by process"):
        loop.train(longer(), workdir)
    assert not (workdir / lock.NAME).exists()


SHORTER = "from tests import toys; toys.Greys.__len__ = lambda self: 60"
OTHER_CODE = "sys.path.insert(0, os.environ['OTHER'])"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("sys.argv.append('--config.data.seed=1')", "config.data.seed 1 (process 0: 0)"),
        (SHORTER, "other data: 60 records instead of 64"),
        (OTHER_CODE, "other code: mmgen_jax/objective.py"),
    ],
)
def test_two_processes_that_differ_stop(tmp_path, monkeypatch, action, words):
    shutil.copytree(ROOT / "mmgen_jax", tmp_path / "other" / "mmgen_jax")
    with (tmp_path / "other" / "mmgen_jax" / "objective.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    monkeypatch.setenv("OTHER", str(tmp_path / "other"))
    workdir = tmp_path / "run"
    pair = start(PAIR, "-c", DIFFERS, "1", action, RECIPE, START_ONLY, f"--workdir={workdir}")
    for done in finish(pair):
        assert done.code == 2, done
        (said,) = done.err.splitlines()
        assert said.startswith("error: the processes of this run differ: process 1 of 2 has ")
        assert words in said
    assert not workdir.exists()


@pytest.mark.slow
def test_two_processes_share_one_lock_that_their_death_gives_back(tmp_path):
    flags = (RECIPE, f"--workdir={tmp_path / 'run'}")
    pair = start(PAIR, "launch/train.py", *flags, START_ONLY)
    for line in pair[0].stderr:
        if line.startswith("step"):
            break
    for done in finish(start(PAIR, "launch/train.py", *flags, START_ONLY)):
        assert done.code == 2, done
        (said,) = done.err.splitlines()
        assert f"is in use by process {pair[0].pid} on " in said
    assert all(process.poll() is None for process in pair)
    for process in pair:
        process.kill()
        process.communicate()
    accept = (f"--config.train.steps={STEPS}", "--accept_config_change")
    done = finish(start(PAIR, "launch/train.py", *flags, *accept))
    assert [process.code for process in done] == [0, 0], done
    assert not (tmp_path / "run" / lock.NAME).exists()
