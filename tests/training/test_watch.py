"""Process 0 listens where it must, as long as it must, and strangers cost it nothing."""

import json
import socket
import threading

import pytest

from mmgen_jax.training import watch
from mmgen_jax.training.watch import Watch

STRANGERS = 300


def watches(monkeypatch, address, before=lambda *_: None):
    """Connects two processes' watches; `before` is called while process 0 listens."""
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", address)
    announced, said = threading.Event(), []

    def tell(message):
        said.append(message)
        announced.set()
        return message

    def hear(_):
        announced.wait(30)
        return said[0]

    made = {}
    main = threading.Thread(target=lambda: made.update(main=Watch(0, 2, tell)))
    main.start()
    announced.wait(30)
    hosts, port, nonce = json.loads(said[0])
    found = before(hosts, port, nonce)
    made["other"] = Watch(1, 2, hear)
    main.join()
    return made["main"], made["other"], hosts, port, found


def part(*ours):
    """Says goodbye, and closes what they leave to the end of the process."""
    for each in ours:
        each.close()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(30)
    for each in ours:
        for peer in each._peers.values():
            peer.close()


def refused(host, port):
    for _ in range(300):
        try:
            socket.create_connection((host, port), 0.1).close()
        except (ConnectionRefusedError, ConnectionResetError):  # reset: it had just been closed
            return True
    return False


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("10.0.0.1:1", False),
        ("host-0:1", False),
        ("[fd00::1]:1", False),
        ("", False),
    ],
)
def test_loopback(address, local):
    assert watch.is_loopback(address) == local


def test_with_a_loopback_coordinator_it_listens_on_loopback(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1234")
    with watch._listen() as server:
        assert server.getsockname()[0] == "127.0.0.1"
    assert watch._hosts() == ["127.0.0.1"]
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "10.0.0.1:1234")
    with watch._listen() as server:
        assert server.getsockname()[0] in ("::", "0.0.0.0")
    assert watch._hosts()[0] == "10.0.0.1"


def test_strangers_cost_no_threads_and_keep_nobody_out(monkeypatch):
    """Silent ones, ones that say little by little, or the wrong thing."""

    def crowd(hosts, port, _):
        before, strangers = threading.active_count(), []
        for number in range(STRANGERS):
            stranger = socket.create_connection((hosts[0], port), 10)
            if number % 3:
                stranger.sendall(b"GET / HTTP/1.1\r\n" if number % 3 == 1 else b"x")
            strangers.append(stranger)
        return strangers, threading.active_count() - before

    main, other, hosts, port, (strangers, threads) = watches(monkeypatch, "127.0.0.1:1", crowd)
    try:
        assert threads == 0
        assert set(main._peers) == {1} and set(other._peers) == {0}
        assert refused(hosts[0], port), "when all have come, nobody listens"
    finally:
        for stranger in strangers:
            stranger.close()
        part(main, other)


def test_who_names_no_process_of_the_run_is_a_stranger(monkeypatch):
    def talk(hosts, port, nonce):
        heard = []
        for said in (f"{nonce} 0", f"{nonce} 2", f"{nonce} -1", f"{nonce} x", "x 1", "x" * 9999):
            with socket.create_connection((hosts[0], port), 10) as peer:
                peer.sendall(said.encode() + b"\n")
                try:
                    heard.append(peer.recv(16))
                except ConnectionResetError:
                    heard.append(b"")
        return heard

    main, other, *_, heard = watches(monkeypatch, "127.0.0.1:1", talk)
    assert heard == [b""] * 6
    assert set(main._peers) == {1}
    part(main, other)


@pytest.mark.parametrize(
    ("end", "words", "code"),
    [
        (lambda other: other.close(failed=True), "process 1 of 2 has failed; its output", 1),
        (lambda other: other.close(failed=True, interrupted=True), "1 of 2 was interrupted", 143),
        (lambda other: other._peers[0].shutdown(socket.SHUT_RDWR), "1 of 2 has died", 1),
    ],
)
def test_how_one_ends_is_said_by_the_others(monkeypatch, end, words, code):
    said, heard = [], threading.Event()

    def leave(reason, code):
        said.append((reason, code))
        heard.set()

    monkeypatch.setattr(watch, "GRACE", 0.1)
    monkeypatch.setattr(watch, "_exit", leave)
    main, other, *_ = watches(monkeypatch, "127.0.0.1:1")
    other._leaving.set()  # what follows is only to be said by the other side
    end(other)
    assert heard.wait(30)
    part(main, other)
    ((reason, found),) = said
    assert words in reason and "goes on from the newest checkpoint" in reason
    assert found == code
