"""Where a run may lie, whatever a person calls that folder."""

from pathlib import Path

import pytest

from mmgen_jax.errors import InputError
from mmgen_jax.training import arrays, checkpoints, loop, run, whole
from tests import toys


@pytest.fixture(scope="module", autouse=True)
def registered():
    with toys.registered():
        yield


def toy_config(steps):
    config = toys.toy_config()
    config.train.batch_size, config.train.steps = 4, steps
    config.train.log_every, config.train.sample_every = 1, 0
    config.checkpoint.every = 1
    return config


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder that is reached by a link: `..` is not where the link lies."""
    (tmp_path / "disk" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "sub")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["link/../run", "disk/sub/../../link/../run", "/{}/disk/run"])
def test_a_run_lies_where_the_system_says_and_goes_on(place, name):
    workdir = Path(name.format(place))
    loop.train(toy_config(steps=2), workdir)
    assert {path.name for path in place.iterdir()} == {"disk", "link"}
    assert whole.whole_steps(place / "disk" / "run") == [1, 2]
    assert checkpoints.latest(workdir) == 2
    loop.train(toy_config(steps=3), workdir, loop.Allowed(config_change=True))
    assert run.load(workdir).step == run.load(place / "disk" / "run").step == 3


def test_names_without_dots_stay_as_a_person_has_given_them(place):
    for name in ("link/run", "run", ".", str(place / "link"), "...", "a..b"):
        assert arrays.plain(Path(name)) == Path(name)
    assert arrays.plain(Path("link/../link")) == place / "disk" / "link"
    assert arrays.place("link") == place / "link"


def test_checkpoints_may_lie_on_another_disk(place):
    Path("run").mkdir()
    Path("big").mkdir()
    Path("run/checkpoints").symlink_to("../big")
    loop.train(toy_config(steps=1), Path("link/../../run"))
    assert run.load(Path("run")).step == 1
    assert (place / "big" / "1").is_dir()


def test_a_place_is_refused_by_the_name_that_it_really_has(place):
    (place / "a\\b" / "sub").mkdir(parents=True)
    (place / "other").symlink_to(place / "a\\b" / "sub")
    with pytest.raises(InputError, match="a backslash"):
        arrays.place("other/../run")
    assert arrays.place("a\\b/../run") == place / "run"
    assert arrays.place("other/run") == place / "other" / "run"
