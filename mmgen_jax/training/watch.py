"""Notices, within seconds, that a process of the run has died, and ends the others.

A step that waits for a dead process waits for ever on some devices, and fails on others with an
error of some library's. So each process holds a connection to process 0: it breaks when either
dies, and the system's keep-alives break it when a machine or the network goes.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import logging

# Seconds.
CONNECT = 5.0
ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
# Where one process fails, the others often do of themselves, and can say why.
GRACE = 5.0
# From an error of a collective to the broken connection that explains it.
EXPLAIN = 2.0

Announce = Callable[[bytes], bytes]


class Watch:
    """A star of connections around process 0.

    When one breaks without a goodbye, or tells of a failure, one line is printed and this process
    exits with code 1, from a thread: nothing else may be able to run any more.

    Args:
      process: this one's number.
      count: of all processes, more than one.
      announce: sends process 0's bytes (at most 1,024) to all; called once by every process.
    """

    def __init__(self, process: int, count: int, announce: Announce):
        self._process, self._count = process, count
        self._peers: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._noticed, self._leaving = threading.Event(), threading.Event()
        self._complete, self._followers = threading.Event(), list[threading.Thread]()
        if process == 0:
            server = _listen()
            self._nonce = secrets.token_hex(16)
            where = [_hosts(), server.getsockname()[1], self._nonce]
            announce(json.dumps(where).encode())
            _start(self._serve, server)
            self._complete.wait(2 * CONNECT)
        else:
            hosts, port, self._nonce = json.loads(announce(b""))
            peer = self._connect(hosts, port)
            if peer is None:
                logging.warning("process %d cannot reach process 0 at %s", process, hosts)
            else:
                self._peers[0] = peer
                _start(self._follow, 0, peer)

    def close(self, failed: bool = False, explained: bool = True) -> None:
        """Says goodbye, or that this process has failed, to the others.

        Args:
          failed: this process ends, and the others must.
          explained: an error of its own made it end. False where the error may be but the echo of
            another's death: that is then waited for, and explains it.
        """
        if not explained and self._noticed.wait(EXPLAIN):
            time.sleep(2 * GRACE)  # the thread that noticed ends the process
        self._leaving.set()
        self._tell("failed" if failed else "done")

    def linger(self) -> None:
        """Waits, on process 0, for the others to go: jax aborts those that outlive it."""
        deadline = time.monotonic() + 2 * GRACE
        for follower in self._followers if self._process == 0 else ():
            follower.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, server: socket.socket) -> None:
        while True:
            peer, _ = server.accept()
            _start(self._greet, peer)

    def _greet(self, peer: socket.socket) -> None:
        peer.settimeout(CONNECT)
        try:
            nonce, number = _line(peer).split()
            if nonce != self._nonce:
                raise ValueError(nonce)
            peer.sendall(b"welcome\n")
        except (OSError, ValueError):
            peer.close()  # a stranger
            return
        with self._lock:
            self._peers[int(number)] = peer
            self._followers.append(threading.current_thread())
            if len(self._peers) == self._count - 1:
                self._complete.set()
        self._follow(int(number), peer)

    def _connect(self, hosts: list[str], port: int) -> socket.socket | None:
        for host in hosts:
            try:
                peer = socket.create_connection((host, port), CONNECT)
                peer.sendall(f"{self._nonce} {self._process}\n".encode())
                if _line(peer) == "welcome":
                    return peer
                peer.close()
            except OSError:
                continue
        return None

    def _follow(self, number: int, peer: socket.socket) -> None:
        """Reads what a peer says, to its end."""
        peer.settimeout(None)
        _keep_alive(peer)
        for word in _lines(peer):
            if word == "done":
                return
            if word == "failed":
                self._stop(f"process {number} of {self._count} has failed; its output says why")
            self._stop(word)
        self._stop(
            f"process {number} of {self._count} has died without a word"
            " (killed, out of memory, or cut off)"
        )

    def _stop(self, reason: str) -> None:
        self._noticed.set()
        self._tell(reason)
        if "failed" in reason and self._leaving.wait(GRACE):
            return
        if not self._leaving.is_set():
            _exit(f"{reason}; this one stops. The same command goes on from the newest checkpoint")

    def _tell(self, word: str) -> None:
        with self._lock:
            peers = list(self._peers.values())
        for peer in peers:
            try:
                peer.sendall(f"{word}\n".encode())
            except OSError:
                continue  # it has gone


def _exit(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


def _start(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True, name="watch").start()


def _listen() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _hosts() -> list[str]:
    """Where this machine may be reached by the others, likeliest first."""
    hosts = [os.environ.get("JAX_COORDINATOR_ADDRESS", "").rpartition(":")[0].strip("[]")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: asks which of its addresses the system would use.
            probe.connect(("192.0.2.1", 9))
            hosts.append(probe.getsockname()[0])
        except OSError:
            pass  # no route to anywhere
    hosts += [socket.gethostname(), "127.0.0.1"]
    return list(dict.fromkeys(filter(None, hosts)))


def _keep_alive(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in ALIVE.items():
        if hasattr(socket, name):  # not on every system
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _line(peer: socket.socket) -> str:
    """The first line, read byte by byte: what comes after it is for another reader."""
    line = b""
    while not line.endswith(b"\n"):
        byte = peer.recv(1)
        if not byte or len(line) > 256:
            raise OSError("not a line")
        line += byte
    return line.decode().strip()


def _lines(peer: socket.socket) -> Iterator[str]:
    """All lines until the connection ends, however it does."""
    with peer.makefile("r", encoding="utf-8", errors="replace") as file:
        try:
            for line in file:
                yield line.strip()
        except OSError:
            return
