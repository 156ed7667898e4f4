"""SIGTERM and Ctrl-C during training."""

import os
import signal

import jax
import pytest

from mmgen_jax.training.interrupts import Interrupted, Interrupts, Stopped


@pytest.mark.parametrize("name", ("SIGTERM", "SIGINT"))
def test_first_signal_is_a_request(name, capfd):
    with Interrupts() as interrupts:
        assert interrupts.requested is None
        os.kill(os.getpid(), getattr(signal, name))
        assert interrupts.requested == name
    assert f"{name}: saving" in capfd.readouterr().err


def test_second_ctrl_c_stops_at_once():
    with pytest.raises(Stopped) as stop, Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.value.code == 143


def test_an_error_of_a_compiler_after_a_signal_is_its_echo(capfd):
    error = jax.errors.JaxRuntimeError("INTERNAL: ptxas exited with non-zero error code 15")
    with pytest.raises(Stopped) as stop, Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        raise error
    assert stop.value.code == 143
    said = capfd.readouterr().err.strip().splitlines()
    assert said[-1].startswith("SIGTERM: stopped without saving") and "ptxas" in said[-1]
    with pytest.raises(jax.errors.JaxRuntimeError), Interrupts():
        raise error


def test_signals_are_others_until_it_begins():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("before"))
    try:
        with Interrupts(begin=False) as interrupts:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (heard, interrupts.requested) == (["before"], None)
            for _ in range(2):
                interrupts.begin()
            os.kill(os.getpid(), signal.SIGTERM)
            assert (heard, interrupts.requested) == (["before"], "SIGTERM")
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["before", "before"]
    finally:
        signal.signal(signal.SIGTERM, before)


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
