"""What the launchers that fill tables share: nothing is done twice, nothing is mixed up."""

import json

import pytest

from mmgen_jax.errors import Failure, InputError
from tools import stages


def test_what_was_found_is_not_computed_again(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"speed": 2.5}

    path = tmp_path / "of" / "one.json"
    for _ in range(2):
        assert stages.once(path, {"size": "tiny"}, compute) == {"speed": 2.5}
    assert len(calls) == 1
    with pytest.raises(InputError, match=r"one\.json is of .*tiny.*allowed: another --workdir"):
        stages.once(path, {"size": "base"}, compute)


def test_a_launchers_report_is_read_and_its_failure_told(tmp_path, monkeypatch):
    script = tmp_path / "launch" / "count.py"
    script.parent.mkdir()
    script.write_text(
        "import sys, pathlib\n"
        "flags = dict(flag.split('=') for flag in sys.argv[1:])\n"
        "if flags['--to'] in '012': sys.exit(int(flags['--to']))\n"
        "pathlib.Path(flags['--out']).write_text('{\"to\": %s}' % flags['--to'])\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    out = tmp_path / "found" / "count.json"
    assert stages.reported("count.py", out, "--to=3") == {"to": 3}
    out.unlink()
    assert stages.reported("count.py", out, "--to=3") == {"to": 3}
    for code, kind in ((1, Failure), (2, InputError)):
        with pytest.raises(kind, match=rf"count\.py ended with {code}"):
            stages.reported("count.py", tmp_path / "found" / "none.json", f"--to={code}")
    assert not (tmp_path / "found" / "none.done.json").exists()
    assert json.loads((tmp_path / "found" / "count.done.json").read_text(encoding="utf-8"))[
        "found"
    ] == {"to": 3}
