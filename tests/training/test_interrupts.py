"""SIGTERM and Ctrl-C during training."""

import os
import signal

import pytest

from mmgen_jax.training.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("name", ("SIGTERM", "SIGINT"))
def test_first_signal_is_a_request(name, capfd):
    with Interrupts() as interrupts:
        assert interrupts.requested is None
        os.kill(os.getpid(), getattr(signal, name))
        assert interrupts.requested == name
    assert f"{name}: saving" in capfd.readouterr().err


def test_second_ctrl_c_stops_at_once():
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)


def test_old_handlers_come_back():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("before"))
    ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(RuntimeError), Interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError
        assert not heard
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["before"]
        assert signal.getsignal(signal.SIGINT) is ctrl_c
    finally:
        signal.signal(signal.SIGTERM, before)


def test_exit_code():
    with pytest.raises(SystemExit) as exit_:
        raise Interrupted("SIGTERM")
    assert exit_.value.code == 143
    assert exit_.value.signal_name == "SIGTERM"
