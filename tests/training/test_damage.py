"""Runs that are damaged or a stranger's: one line, or what was saved; never another model."""

import json
import logging
import os
import random
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts

from mmgen_jax import config as configs
from mmgen_jax import model as models
from mmgen_jax.errors import InputError
from mmgen_jax.modalities.embeddings.word_vectors import UNKNOWN
from mmgen_jax.schema import leaves
from mmgen_jax.training import arrays, checkpoints, loop, manifest, run, transfer, whole
from mmgen_jax.training.checkpoints import Checkpoints
from tests import toys
from tests.runs import everything
from tests.tiny import open_source, tiny_config

STEPS = (10, 20)
SHAPES = {"kernel": (8, 4), "bias": (4,), "scale": ()}


def run_config():
    return tiny_config(("label", "text", "audio"))


class State(NamedTuple):
    """As a training state, with few arrays."""

    step: jax.Array
    params: dict[str, jax.Array]


def state_of(step):
    params = {name: jnp.full(shape, step, jnp.float32) for name, shape in SHAPES.items()}
    return State(jnp.int32(step), params)


def saved_run(workdir):
    """A run as training leaves it, but that every parameter is its step; nothing is compiled."""
    config = run_config()
    assets = run.prepare(workdir, config, open_source(config))
    note = lambda step: run.announce(workdir, config, step)  # noqa: E731
    with Checkpoints(workdir, announce=note) as saver:
        for step in STEPS:
            data = {"position": step, "skipped": {}}
            saver.save(step, state_of(step), data, config.to_dict(), {}, run.digests(assets))
    return workdir


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return saved_run(tmp_path_factory.mktemp("saved") / "run")


@pytest.fixture
def damaged(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def loaded(workdir, step=None):
    """All by which one trained model is told from another, as `run.load` reads it."""
    newest = step is None
    step = run.newest_step(workdir) if newest else step
    config, _, model = run.read(workdir, step)
    restored = checkpoints.restore(workdir, step, state_of(0), checked=newest)
    names = [model.modalities["label"].show({"label": k}) for k in range(3)]
    text = model.modalities["text"].prepare("a red circle")["tokens"].tolist()
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(restored.state)]
    return step, config.to_json(), names, text, leaves


def attempt(read, *arguments):
    """(what it returns, None), or (None, its refusal)."""
    try:
        return read(*arguments), None
    except InputError as error:
        return None, str(error)


def one_line(error):
    assert "\n" not in str(error.value), str(error.value)
    return str(error.value)


def files_of(workdir):
    return sorted(path for path in workdir.rglob("*") if path.is_file())


def flip(path, chance):
    content = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def truncate(path, chance):
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def delete(path, chance):
    path.unlink()


def rename(path, chance):
    path.rename(path.with_name(path.name + "x"))


def exchange(path, chance):
    others = [other for other in path.parent.iterdir() if other.is_file()]
    path.write_bytes(chance.choice(others).read_bytes())


DAMAGES = (flip, truncate, delete, rename, exchange)


def check_damages(saved, workdir, chance, files, damages):
    """Whatever is done to a file, readers say one line, or read what had been saved."""
    right = {step: loaded(saved, step) for step in STEPS}
    for path in files:
        for damage in damages:
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(saved, workdir)
            damage(workdir / path, chance)
            found, refusal = attempt(loaded, workdir)
            assert "\n" not in (refusal or ""), (path, damage, refusal)
            assert refusal or found == right[found[0]], (path, damage)


@pytest.mark.parametrize("seed", (0,))
def test_no_damage_gives_another_model(saved, tmp_path, seed):
    """Each file of the run and of its newest checkpoint, one of the damages each."""
    chance = random.Random(seed)
    files = [path.relative_to(saved) for path in files_of(saved)]
    newest = [path for path in files if path.parts[:2] != ("checkpoints", str(STEPS[0]))]
    for path in newest:
        check_damages(saved, tmp_path / "run", chance, [path], [chance.choice(DAMAGES)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", (1, 2, 3))
def test_no_damage_of_many_gives_another_model(saved, tmp_path, seed):
    files = [path.relative_to(saved) for path in files_of(saved)]
    check_damages(saved, tmp_path / "run", random.Random(seed), files, (*DAMAGES, flip, flip))


@pytest.mark.parametrize("name", ("label", "text", "audio"))
def test_flipped_bits_of_assets_are_noticed_by_every_reader(damaged, name):
    path = damaged / "assets" / f"{name}.json"
    content, chance = path.read_bytes(), random.Random(0)
    config = configs.load(damaged / "config.json")
    for _ in range(12):
        path.write_bytes(content)
        flip(path, chance)
        with pytest.raises(InputError, match=f"{name}.json") as error:
            run.read(damaged, 20)
        one_line(error)
        with pytest.raises(InputError, match=f"{name}.json"):
            transfer.origin(str(damaged))
        with pytest.raises(InputError, match=f"{name}.json"):  # as a run that resumes reads them
            run.read_assets(damaged, config, 20)


def test_another_layout_of_the_same_assets_is_no_damage(damaged):
    path = damaged / "assets" / "label.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found, indent=3), encoding="utf-8")
    assert loaded(damaged)[0] == 20


def test_a_changed_config_is_named_with_the_change(damaged):
    path = damaged / "config.json"
    config = configs.load(path)
    config.modalities.text.guidance = 3.0
    configs.save(config, path)
    for read in (run.load, lambda place: transfer.origin(str(place))):
        with pytest.raises(InputError) as error:
            read(damaged)
        said = one_line(error)
        assert "modalities.text.guidance: 1.0 -> 3.0" in said and str(path) in said
    kept = damaged / "checkpoints" / "20" / "config" / "content.json"
    assert str(kept) in said
    shutil.copy(kept, path)  # as it says
    assert loaded(damaged)[0] == 20


def test_a_layout_is_no_other_config(damaged):
    path = damaged / "config.json"
    config = configs.load(path)
    config.sharding.data, config.data.threads = 4, 1
    configs.save(config, path)
    assert loaded(damaged)[0] == 20


def test_an_older_checkpoint_keeps_the_config_that_it_was_trained_with(damaged):
    """After --accept_config_change, config.json is that of the newest one."""
    config = configs.load(damaged / "config.json")
    longer = config.copy_and_resolve_references()
    longer.train.steps += 5
    assets = run.read_assets(damaged, config)
    note = lambda step: run.announce(damaged, longer, step)  # noqa: E731
    with Checkpoints(damaged, announce=note) as saver:
        data = {"position": 30, "skipped": {}}
        saver.save(30, state_of(30), data, longer.to_dict(), {}, run.digests(assets))
    assert run.read(damaged, 30)[0].train.steps == longer.train.steps
    assert run.read(damaged, 20)[0].train.steps == config.train.steps


def as_before(workdir):
    """Takes away what older checkpoints lack."""
    (workdir / "newest_checkpoint.json").unlink()
    for step in STEPS:
        folder = workdir / "checkpoints" / str(step)
        shutil.rmtree(folder / "run")
        manifest.write(folder)


def test_an_older_run_is_loaded_as_before(saved, damaged, caplog):
    as_before(damaged)
    assert loaded(damaged) == loaded(saved)
    assert not caplog.messages
    assert transfer.origin(str(damaged)).step == 20


@pytest.mark.parametrize("old", (False, True))
def test_a_renamed_checkpoint_is_not_believed(damaged, caplog, old):
    if old:
        as_before(damaged)
    (damaged / "checkpoints" / "20").rename(damaged / "checkpoints" / "500")
    with pytest.raises(InputError, match="of step 500 in .* is broken: it is of step 20,") as error:
        loaded(damaged, 500)
    one_line(error)
    if not old:  # what has its step beside its arrays is passed over at once
        with caplog.at_level(logging.WARNING):
            assert checkpoints.latest(damaged) == 10
        assert "it is of step 20" in caplog.text


def test_a_partial_manifest_is_not_whole(damaged):
    folder = damaged / "checkpoints" / "20"
    path = max((folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    listed = json.loads((folder / manifest.NAME).read_text(encoding="utf-8"))
    del listed[path.relative_to(folder).as_posix()]
    (folder / manifest.NAME).write_text(json.dumps(listed), encoding="utf-8")
    assert "is not listed in MANIFEST.json" in whole.fault(folder)
    assert loaded(damaged)[0] == 10


@pytest.mark.parametrize("name", ("/dev/zero", "../../config.json", "pipe"))
def test_a_manifest_that_lists_what_is_elsewhere(damaged, name):
    folder = damaged / "checkpoints" / "20"
    if name == "pipe":
        os.mkfifo(folder / name)
    path = folder / manifest.NAME
    listed = json.loads(path.read_text(encoding="utf-8")) | {name: "0"}
    path.write_text(json.dumps(listed), encoding="utf-8")
    assert "elsewhere" in manifest.fault(folder) or "is no file" in manifest.fault(folder)


def edited(workdir, part, change):
    """Edits a JSON file of a checkpoint and makes its checksums right again, as a stranger may."""
    folder = workdir / "checkpoints" / "20"
    path = folder / part
    found = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(found), encoding="utf-8")
    manifest.write(folder)


@pytest.mark.parametrize("part", ("_CHECKPOINT_METADATA", "state/_METADATA", "state/_sharding"))
@pytest.mark.parametrize("change", (lambda found: found | {"strange": 1}, lambda found: [found]))
def test_unknown_fields_of_orbax(saved, damaged, part, change):
    edited(damaged, part, change)
    found, refusal = attempt(loaded, damaged, 20)
    assert "\n" not in (refusal or "")
    assert refusal or found == loaded(saved, 20)


def test_json_that_is_nested_deeply(damaged):
    deep = "[" * 200_000 + "]" * 200_000
    for name in ("state/_METADATA", "run/content.json", "config/content.json", "MANIFEST.json"):
        path = damaged / "checkpoints" / "20" / name
        content = path.read_bytes()
        path.write_text(deep, encoding="utf-8")
        if path.name != manifest.NAME:
            manifest.write(damaged / "checkpoints" / "20")
        with pytest.raises(InputError) as error:
            loaded(damaged, 20)
        one_line(error)
        path.write_bytes(content)
    manifest.write(damaged / "checkpoints" / "20")
    for name in ("config.json", "assets/label.json"):
        content = (damaged / name).read_bytes()
        (damaged / name).write_text(deep, encoding="utf-8")
        with pytest.raises(InputError, match="too deeply") as error:
            run.load(damaged)
        one_line(error)
        (damaged / name).write_bytes(content)


STRANGE = (
    *(None, True, 0, -1, 7, 1e9, float("nan"), float("inf"), "", "x", [], ["x"], [[1]], {}),
    *({"a": 1}, 2**70, 1e-9),
)


def test_edited_configs_are_one_line_or_work(damaged):
    """Of a stranger's run whose checksums are right; keys and values by a seed."""
    chance = random.Random(0)
    path = damaged / "checkpoints" / "20" / "config" / "content.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = [key for key, _ in leaves(content)]
    for key in chance.sample(keys, 40):
        other = json.loads(json.dumps(content))
        *groups, name = key.split(".")
        node = other
        for group in groups:
            node = node[group]
        node[name] = chance.choice(STRANGE)
        path.write_text(json.dumps(other), encoding="utf-8")
        (damaged / "config.json").write_text(json.dumps(other), encoding="utf-8")
        manifest.write(damaged / "checkpoints" / "20")
        _, refusal = attempt(run.read, damaged, 20)
        assert "\n" not in (refusal or ""), (key, node[name], refusal)


ASSETS = {
    "label": ({}, {"names": None}, {"names": []}, {"names": [1]}, {"names": ["a", "a"]}),
    "audio": (
        *({}, {"mean": "x", "deviation": 1.0}, {"mean": 0.0, "deviation": 0.0}),
        *({"mean": float("nan"), "deviation": 1.0}, {"mean": 0.0, "deviation": [1]}),
        {"mean": 0.0, "deviation": float("inf")},
    ),
    "text": (
        *({}, {"encoder": "learned"}, {"encoder": "glove", "words": ["a"], "dimensions": 3}),
        *({"encoder": "learned", "tokenizer": t} for t in (None, 1, "", "{}", "[]", "null")),
    ),
}


@pytest.mark.parametrize(
    ("name", "asset"), [(name, asset) for name, found in ASSETS.items() for asset in found]
)
def test_malformed_assets_are_refused(damaged, name, asset):
    as_before(damaged)  # no digest says that they are others
    (damaged / "assets" / f"{name}.json").write_text(json.dumps(asset), encoding="utf-8")
    for read in (run.load, lambda place: transfer.origin(str(place))):
        with pytest.raises(InputError, match=f"malformed assets of modality '{name}'") as error:
            read(damaged)
        one_line(error)


@pytest.mark.parametrize("content", ("[]", "1", "null", '"x"', "{", ""))
def test_assets_that_are_no_object(damaged, content):
    (damaged / "assets" / "label.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"label\.json") as error:
        run.load(damaged)
    one_line(error)


@pytest.mark.parametrize(
    "asset",
    [
        {},
        {"words": "abc", "dimensions": 2},
        {"words": [UNKNOWN, "a", "a"], "dimensions": 2},
        {"words": ["a"], "dimensions": 2},
        {"words": [UNKNOWN], "dimensions": 1e9},
        {"words": [UNKNOWN], "dimensions": 2**40},
    ],
)
def test_malformed_word_vectors(asset):
    config = tiny_config(("text",))
    config.modalities.text.encoder = "glove"
    with pytest.raises(InputError, match="malformed assets of modality 'text'"):
        models.build(config, {"text": {"encoder": "glove"} | asset})


@pytest.mark.parametrize("sizes", (None, {}, {"vocabulary": 10**15}))
def test_malformed_sizes_of_a_t5(saved, sizes):
    config = tiny_config(("text",))
    config.modalities.text.encoder = "frozen_transformer"
    text = json.loads((saved / "assets" / "text.json").read_text(encoding="utf-8"))
    asset = {"encoder": "frozen_transformer", "tokenizer": text["tokenizer"]}
    with pytest.raises(InputError, match="malformed assets of modality 'text'"):
        models.build(config, {"text": asset | {"sizes": sizes}})


# -- Paths


@pytest.mark.parametrize("name", ("lr=[1e-4]", "par[2026]/run", "**", "a?b*", "é %20#"))
def test_any_sign_in_a_path(tmp_path, name):
    """Orbax globs below the path; `[` made checkpoints without any array."""
    workdir = tmp_path / name
    state = {"kernel": jnp.arange(6.0), "step": jnp.int32(7)}
    with Checkpoints(workdir) as saver:
        saver.save(7, state, {}, {})
    assert checkpoints.latest(workdir) == 7
    like = jax.tree.map(jnp.zeros_like, state)
    found = checkpoints.restore(workdir, 7, like).state
    np.testing.assert_array_equal(found["kernel"], np.arange(6.0))
    moved = workdir.rename(tmp_path / "moved")
    assert checkpoints.restore(moved, 7, like).state["step"] == 7


@pytest.mark.parametrize("name", ("a\\b", "\udcff", "gs:"))
def test_a_path_that_cannot_work_is_refused_at_the_start(tmp_path, name):
    with pytest.raises(InputError, match="checkpoints cannot be kept there") as error:
        Checkpoints(tmp_path / name / "run")
    one_line(error)
    with pytest.raises(InputError, match="checkpoints cannot be kept there"):
        checkpoints.latest(tmp_path / name / "run")


def test_a_save_without_its_arrays_is_not_whole(tmp_path, monkeypatch):
    """What orbax does where it does not find what the processes have written."""
    monkeypatch.setattr(arrays._Literal, "glob", lambda self, pattern: iter(()))
    said = pytest.raises(RuntimeError, match="could not save .* it has been written, but")
    with said, Checkpoints(tmp_path) as saver:
        saver.save(7, {"kernel": jnp.arange(6.0)}, {}, {})
    monkeypatch.undo()
    assert checkpoints.latest(tmp_path) is None
    manifest.write(tmp_path / "checkpoints" / "7")  # as it once was
    assert checkpoints.latest(tmp_path) is None
    assert "its arrays cannot be read" in whole.fault(tmp_path / "checkpoints" / "7")


def test_a_part_of_an_array_that_is_missing(tmp_path):
    """Of which orbax would make zeros."""
    with Checkpoints(tmp_path) as saver:
        saver.save(7, {"kernel": jnp.arange(6.0)}, {}, {})
    folder = tmp_path / "checkpoints" / "7"
    base = {"driver": "file", "path": f"{folder / 'state'}/"}
    ts.KvStore.open({"driver": "ocdbt", "base": base}).result().write("kernel/0", None).result()
    manifest.write(folder)
    assert whole.fault(folder) == "kernel is there in 0 of 1 parts"
    assert checkpoints.latest(tmp_path) is None


# -- What training does with them


@pytest.fixture(scope="module")
def registered():
    with toys.registered():
        yield


def toy_config(steps=4):
    config = toys.toy_config()
    config.train.batch_size, config.train.steps, config.train.sample_every = 4, steps, 0
    config.train.log_every, config.checkpoint.every = 1, 2
    return config


@pytest.fixture(scope="module")
def trained(registered, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(toy_config(), workdir)
    return workdir


def contents(workdir):
    return {path: path.read_bytes() for path in files_of(workdir)}


def test_a_refused_command_leaves_the_run_as_it_is(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    before = contents(workdir)
    config = toy_config(6)
    config.fusion.pooled *= 2
    with pytest.raises(InputError, match="does not fit this model"):
        loop.train(config, workdir, loop.Allowed(config_change=True))
    assert contents(workdir) == before
    assert run.load(workdir).step == 4


def break_all(workdir):
    for folder in (workdir / "checkpoints").iterdir():
        path = max(files_of(folder), key=lambda path: path.stat().st_size)
        path.write_bytes(path.read_bytes()[:-1])


def remove_folder(workdir):
    shutil.rmtree(workdir / "checkpoints")


def empty_folder(workdir):
    remove_folder(workdir)
    (workdir / "checkpoints").mkdir()


@pytest.mark.parametrize("lose", (break_all, remove_folder, empty_folder))
def test_a_run_whose_checkpoints_are_lost_does_not_begin_again(trained, tmp_path, lose):
    workdir = shutil.copytree(trained, tmp_path / "run")
    lose(workdir)
    before = contents(workdir)
    with pytest.raises(InputError, match="--start_afresh") as error:
        loop.train(toy_config(), workdir)
    one_line(error)
    assert contents(workdir) == before
    loop.train(toy_config(), workdir, loop.Allowed(start_afresh=True))
    assert everything(workdir, 4) == everything(trained, 4)


def test_starting_afresh_is_for_runs_without_a_whole_checkpoint(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    before = contents(workdir / "checkpoints")
    loop.train(toy_config(), workdir, loop.Allowed(start_afresh=True))
    assert contents(workdir / "checkpoints") == before


def test_a_run_that_never_had_a_whole_checkpoint_begins_by_itself(trained, tmp_path):
    """It was killed before its first save had finished."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "4")
    (workdir / "checkpoints" / "2" / manifest.NAME).unlink()
    (workdir / "newest_checkpoint.json").unlink()
    loop.train(toy_config(), workdir)
    assert everything(workdir, 4) == everything(trained, 4)


def test_a_position_that_is_none(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    folder = workdir / "checkpoints" / "4"
    for content in ({}, {"position": None, "skipped": {}}, {"position": -1, "skipped": {}}):
        (folder / "data" / "content.json").write_text(json.dumps(content), encoding="utf-8")
        manifest.write(folder)
        with pytest.raises(InputError, match="cannot be resumed") as error:
            loop.train(toy_config(6), workdir, loop.Allowed(config_change=True))
        one_line(error)
