"""A run that starts from another one's parameters: what fits is taken, the rest is named."""

import functools
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

from mmgen_jax.errors import InputError
from mmgen_jax.pretrained import dit_weights
from mmgen_jax.pretrained.dit import DiT
from mmgen_jax.training import loop, run
from tests import folders, toys
from tests.pretrained import dit_recipe
from tests.runs import everything
from tests.tiny import tiny_config


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def config_of(folder, names=("label",)):
    """Colours by name, through the toy family."""
    config = toys.toy_config()
    config.data.name, config.data.path = "folder", str(folder)
    config.data.split, config.eval.split = "all", "all"
    config.modalities.names = names
    config.modalities.text.depth = 1
    config.train.steps = config.checkpoint.every = 2
    config.train.batch_size, config.train.sample_every = 4, 0
    config.optimizer.generator.learning_rate = 0.1
    return config


def paint(folder, *labels):
    lines = []
    for number, label in enumerate(2 * labels):
        folders.paint(folder / f"{number}.png", colour=10 + number)
        lines.append({"file_name": f"{number}.png", "label": label, "text": f"a {label} one"})
    folders.write(folder, *lines)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The directory of a run on red, green and blue."""
    top = tmp_path_factory.mktemp("before")
    loop.train(config_of(paint(top / "data", "red", "green", "blue")), top / "run")
    return top / "run"


def start_from(before, workdir, config, capsys):
    """(parameters at the start, those at the end of `before`, what was said)."""
    config.train.init_from = str(before)
    started = []
    go = loop.Loop.run

    def note(self, state, *others):
        started.append(jax.device_get((state.averaged, state.params)))
        return go(self, state, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "run", note)
        loop.train(config, workdir)
    ((averaged, params),) = started
    jax.tree.map(np.testing.assert_array_equal, averaged, params)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("from step")]
    assert len(said) == 1
    return params, jax.device_get(run.load(before).params), said[0]


def same(ours, theirs):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, ours, theirs)))


def test_all_is_taken_where_all_fits(before, tmp_path, capsys):
    config = config_of(paint(tmp_path / "data", "green", "red"))  # of the same classes
    ours, theirs, said = start_from(before, tmp_path / "run", config, capsys)
    assert same(ours, theirs)
    assert said.startswith(f"from step 2 of {before}: ")
    assert said.endswith(" arrays taken, 100.0% of the parameters")
    assert "fresh" not in said
    # The optimizer is new: the first step is that of a fresh run.
    assert run.load(tmp_path / "run").step == 2


def test_other_classes_are_learned_anew_and_the_rest_is_taken(before, tmp_path, capsys):
    config = config_of(paint(tmp_path / "data", "red", "green", "violet"))  # as many, but others
    ours, theirs, said = start_from(before, tmp_path / "run", config, capsys)
    for group in ("generator", "critic"):
        assert same(ours[group], theirs[group])
    encoder, old = ours["encoders"]["label"], theirs["encoders"]["label"]
    assert not same(encoder["embed"], old["embed"])
    assert same(encoder["ExpertHead_0"], old["ExpertHead_0"])
    assert not same(ours["recovery"]["label"]["logits"], theirs["recovery"]["label"]["logits"])
    assert "as in any fresh run: encoders/label/embed, recovery/label/logits" in said


def test_another_size_or_modality_is_initialised(before, tmp_path, capsys):
    config = config_of(paint(tmp_path / "data", "red", "green", "blue"), ("label", "text"))
    config.fusion.pooled = 8  # 4 before
    ours, theirs, said = start_from(before, tmp_path / "run", config, capsys)
    assert not same(ours["generator"]["kernel"].shape, theirs["generator"]["kernel"].shape)
    assert same(ours["critic"], theirs["critic"])
    assert same(ours["encoders"]["label"]["embed"], theirs["encoders"]["label"]["embed"])
    for fresh in ("encoders/text", "recovery/text", "generator/kernel", "encoders/fusion/mark"):
        assert fresh in said
    assert "critic" not in said


def test_a_run_that_resumes_needs_its_origin_no_more(before, tmp_path):
    origin = shutil.copytree(before, tmp_path / "origin")
    config = config_of(paint(tmp_path / "data", "red", "green", "blue"))
    config.train.init_from = str(origin)
    config.train.steps = 4
    loop.train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    shutil.rmtree(origin)
    loop.train(config, tmp_path / "run")
    assert everything(tmp_path / "run", 4) == everything(tmp_path / "whole", 4)


def test_a_certain_checkpoint_can_be_named(before, tmp_path, capsys):
    config = config_of(paint(tmp_path / "data", "red", "green", "blue"))
    _, _, said = start_from(before, tmp_path / "a", config, capsys)
    config.train.init_from = str(before / "checkpoints" / "2")
    loop.train(config, tmp_path / "b")
    assert said in capsys.readouterr().err
    config.train.init_from = str(before / "checkpoints" / "7")
    with pytest.raises(InputError, match="7"):
        loop.train(config, tmp_path / "c")


def test_what_is_no_run_is_refused_before_anything_is_written(before, tmp_path):
    empty = shutil.copytree(before, tmp_path / "empty")
    shutil.rmtree(empty / "checkpoints")
    config = config_of(paint(tmp_path / "data", "red", "green", "blue"))
    for origin, words in ((tmp_path / "nowhere", "is no run; allowed"), (empty, "no whole check")):
        config.train.init_from = str(origin)
        with pytest.raises(InputError, match=rf"config\.train\.init_from = .*{words}"):
            loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_begins_with_a_published_dits_weights(tmp_path):
    sizes = dict(patch_size=4, width=16, depth=2)
    file = tmp_path / "dit.safetensors"
    safetensors.numpy.save_file(dit_recipe.state_dict(**sizes, channel=3, learn_sigma=True), file)
    config = tiny_config(("label",))
    flow = config.generator.flow
    flow.update(architecture="dit", learn_sigma=True, weights=str(file), num_heads=2, **sizes)
    config.train.batch_size, config.train.steps = 4, 1
    config.optimizer.generator.learning_rate = 1e-30  # nothing moves
    loop.train(config, tmp_path / "run")
    network = DiT(**sizes, num_heads=2, dtype=np.dtype("float32"), learn_sigma=True)
    expected, _ = dit_weights.load(file, network, 3)
    found = run.load(tmp_path / "run").params["generator"]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)  # the average is computed
    jax.tree.map(close, found["dit"], expected)
    assert found["pooled"]["kernel"].any()
    flow.depth = 3
    with pytest.raises(InputError, match="keys are not those that a DiT of patch 4"):
        loop.train(config, tmp_path / "deeper")
