"""One tiny run for the tests of all launchers."""

import fcntl
import functools

import pytest

from mmgen_jax.training import loop, run
from tests import toys
from tests.tiny import tiny_config


@pytest.fixture(scope="session")
def trained(request, tmp_path_factory):
    """The directory of a run with all four modalities; not to be changed, but copied.

    All workers of a session share it: whoever needs it first trains it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if hasattr(request.config, "workerinput") else base
    workdir, done = base / "trained", base / "trained.done"
    with (base / "trained.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _train(workdir)
            done.touch()
    return workdir


def _train(workdir):
    config = tiny_config()
    config.train.steps, config.checkpoint.every = 2, 1
    # Two steps that show: what is drawn must differ with what is asked for.
    config.train.ema_decay = 0.0
    config.optimizer.generator.update(name="adamw", learning_rate=0.02, warmup_steps=0)
    loop.train(config, workdir)


@pytest.fixture(scope="module")
def loaded_once():
    """Within a module that changes no run that it has loaded, each is loaded once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(run, "load", functools.cache(run.load))
        yield


@pytest.fixture(scope="module")
def recipe(request, tmp_path_factory):
    """The flag that names the module's RECIPE, of toys; within, they are registered."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.py"
    path.write_text(request.module.RECIPE, encoding="utf-8")
    with toys.registered():
        yield f"--config={path}"
