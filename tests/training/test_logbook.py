"""metrics.jsonl, TensorBoard events and the progress line."""

import itertools
import json
import resource
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from mmgen_jax.errors import Failure
from mmgen_jax.training import logbook
from mmgen_jax.training.logbook import Logbook, NoLogbook


def lines(workdir):
    return [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def events(workdir):
    """Reads the TensorBoard events: length, its checksum, the event, its checksum."""
    for path in sorted((workdir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            payload = content[12 : 12 + length]
            assert masked_crc32c(payload) == int.from_bytes(
                content[12 + length : 16 + length], "little"
            )
            yield Event.FromString(payload)
            content = content[16 + length :]


def test_lines(tmp_path):
    with Logbook(tmp_path, None, 4) as log:
        log.log(1, {"loss": np.float32(0.1), "count": 3})
        log.log(2, {"loss": float("nan"), "peak": float("inf")})
        # On the disk while the run goes on, so that its death loses nothing.
        assert lines(tmp_path) == [
            {"step": 1, "loss": float(np.float32(0.1)), "count": 3},
            {"step": 2, "loss": None, "peak": None},
        ]
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert all(line.startswith('{"step": ') for line in text.splitlines())
    assert "NaN" not in text


def test_cut_back_on_resume(tmp_path):
    with Logbook(tmp_path, None, 4) as log:
        for step in (0, 10, 20, 30):
            log.log(step, {"loss": step})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 1')
    with Logbook(tmp_path, 20, 4) as log:
        assert [line["step"] for line in lines(tmp_path)] == [0, 10, 20]
        log.log(25, {"loss": 25})
    assert [line["step"] for line in lines(tmp_path)] == [0, 10, 20, 25]
    restarts = [e.step for e in events(tmp_path) if e.session_log.status == SessionLog.START]
    assert restarts == [0, 21]


def test_whole_last_line_without_its_newline_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}', encoding="utf-8")
    with Logbook(tmp_path, 10, 20) as log:
        log.log(11, {})
    assert [line["step"] for line in lines(tmp_path)] == [1, 11]


def test_a_fresh_start_keeps_no_old_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n', encoding="utf-8")
    with Logbook(tmp_path, None, 20):
        assert lines(tmp_path) == []


def test_tensorboard(tmp_path):
    picture = np.full((5, 7, 3), 200, np.uint8)
    with Logbook(tmp_path, None, 4) as log:
        log.log(3, {"loss": 0.5})
        log.image(3, "samples", picture)
    values = {v.tag: (e.step, v) for e in events(tmp_path) for v in e.summary.value}
    step, loss = values["loss"]
    assert (step, loss.simple_value) == (3, 0.5)
    step, image = values["samples"]
    assert (step, image.image.height, image.image.width) == (3, 5, 7)


def test_plain_lines(tmp_path, capsys, monkeypatch):
    clock = SimpleNamespace(
        monotonic=itertools.count(0, 10).__next__, time=time.time, time_ns=time.time_ns
    )
    monkeypatch.setattr(logbook, "time", clock)
    with Logbook(tmp_path, None, 2000) as log:
        rates = {"images_per_second": 540.2, "images_per_second_per_device": 270.1}
        log.advance(50)
        log.log(100, {"loss": 0.12345, **rates})
        log.log(100, {"fid": 20.0})
        log.log(200, {"loss": 0.1})
    assert capsys.readouterr().err.splitlines() == [
        "step 100/2000 loss 0.1235 images/s 540.2 eta 3m",
        "step 100/2000 fid 20 eta 3m",
        "step 200/2000 loss 0.1 eta 3m",
    ]


def test_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Logbook(tmp_path, 1000, 2000) as log:
        log.advance(1500)
        log.log(1500, {"loss": 0.125})
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "75%" in bar and "1500/2000" in bar and "loss 0.125" in bar
    assert "step 1500/2000 loss" not in bar


def test_a_full_disk_is_a_failure_and_no_hang(tmp_path):
    """Though a hundred events wait, and the files cannot be closed in good order."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(Failure) as failure, Logbook(tmp_path, None, 200) as log:
        log.log(1, {"loss": 0.5})
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
        try:
            for step in range(2, 102):
                log.log(step, {f"metric_{name}": 0.5 for name in range(20)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "metrics.jsonl: File too large" in str(failure.value) and "\n" not in str(failure.value)
    with Logbook(tmp_path, 1, 200):
        assert [line["step"] for line in lines(tmp_path)] == [1]


def test_a_process_that_does_not_write_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with NoLogbook() as log:
        log.advance(1)
        log.log(1, {"loss": 0.5})
        log.image(1, "samples", np.zeros((2, 2, 3), np.uint8))
        log.sync()
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12s"), (59.6, "1m"), (185.0, "3m"), (7500.0, "2h05m")]
)
def test_duration(seconds, text):
    assert logbook._duration(seconds) == text
