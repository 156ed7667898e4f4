"""Notices, within seconds, that a process of the run has died, and ends the others.

A step that waits for a dead process waits for ever on some devices, and fails on others with an
error of some library's. So each process holds a connection to process 0: it breaks when either
dies, and the system's keep-alives break it when a machine or the network goes.
"""

import ipaddress
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import logging

from mmgen_jax.training.interrupts import EXIT_CODE, GUARD

# Seconds.
CONNECT = 5.0
ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
# How long process 0 listens for the others, at most.
WELCOME = 60.0
# Connections that have not said yet who they are; beyond it the oldest is dropped.
MOST_GREETERS = 64
# For the others to end of themselves.
GRACE = 5.0
# From an error of a collective to the broken connection that explains it.
EXPLAIN = 2.0

_ENDS = {
    "failed": "has failed; its output says why",
    "interrupted": "was interrupted where there was nothing to save",
    "died": "has died without a word (killed, out of memory, or cut off)",
}

Announce = Callable[[bytes], bytes]


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Watch:
    """A star of connections around process 0.

    When one breaks without a goodbye, or tells of a failure, one line is printed and this process
    exits with code 1 (143 where the other was interrupted), from a thread: nothing else may be able
    to run any more.

    Process 0 listens only until all others have come, on loopback alone where the coordinator of
    jax is there. Whoever connects has a few seconds to say the secret that jax's own channel has
    brought to the others; one thread hears all of them, so that strangers cost nothing that grows.

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
            server.setblocking(False)
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

    def close(
        self, failed: bool = False, explained: bool = True, interrupted: bool = False
    ) -> None:
        """Says goodbye, or that this process has failed, or was interrupted, to the others.

        Args:
          failed: this process ends, and the others must.
          explained: an error of its own made it end. False where the error may be but the echo of
            another's death: that is then waited for, and explains it.
          interrupted: somebody has stopped this process alone, and the others must end.
        """
        if not explained and self._noticed.wait(EXPLAIN):
            time.sleep(2 * GRACE)  # the thread that noticed ends the process
        self._leaving.set()
        self._tell("interrupted" if interrupted else "failed" if failed else "done")

    def linger(self) -> None:
        """Waits, on process 0, for the others to go: jax aborts those that outlive it."""
        deadline = time.monotonic() + 2 * GRACE
        for follower in self._followers if self._process == 0 else ():
            follower.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, server: socket.socket) -> None:
        """Welcomes the others, and then listens no more."""
        greeters, deadline = deque[_Greeter](), time.monotonic() + WELCOME
        with server, selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            while len(self._peers) < self._count - 1 and time.monotonic() < deadline:
                ready = {key.fileobj for key, _ in selector.select(timeout=1.0)}
                if server in ready:
                    _accept(server, greeters, selector)
                late = time.monotonic() - CONNECT
                for greeter in list(greeters):
                    said = greeter.hear() if greeter.peer in ready else None
                    if said is None and greeter.since > late:
                        continue  # it may still say more
                    greeters.remove(greeter)
                    selector.unregister(greeter.peer)
                    if said is None or not self._welcome(said, greeter.peer):
                        greeter.peer.close()  # a stranger
                while len(greeters) > MOST_GREETERS:
                    oldest = greeters.popleft()
                    selector.unregister(oldest.peer)
                    oldest.peer.close()
            for greeter in greeters:
                greeter.peer.close()

    def _welcome(self, said: bytes, peer: socket.socket) -> bool:
        """Follows a peer that has said the secret and its number; False for a stranger."""
        nonce, _, name = said.strip().partition(b" ")
        if not secrets.compare_digest(nonce, self._nonce.encode()) or not name.isdigit():
            return False
        number = int(name)
        if not 0 < number < self._count or number in self._peers:
            return False
        try:
            peer.settimeout(CONNECT)
            peer.sendall(b"welcome\n")
        except OSError:
            return False
        follower = threading.Thread(
            target=self._follow, args=(number, peer), daemon=True, name="watch"
        )
        with self._lock:
            self._peers[number] = peer
            self._followers.append(follower)
        follower.start()
        if len(self._peers) == self._count - 1:
            self._complete.set()
        return True

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
        word = next(_lines(peer), "died")
        if word != "done":
            kind, _, whose = word.partition(" ")  # process 0 passes on what it hears
            self._stop(kind, int(whose or number))

    def _stop(self, kind: str, number: int) -> None:
        self._noticed.set()
        self._tell(f"{kind} {number}")
        # Where one process fails, the others often do of themselves, and can say why.
        if kind in ("failed", "interrupted") and self._leaving.wait(GRACE):
            return
        if not self._leaving.is_set():
            _exit(
                f"process {number} of {self._count} {_ENDS[kind]}; this one stops. The same command"
                " goes on from the newest checkpoint",
                EXIT_CODE if kind == "interrupted" else 1,
            )

    def _tell(self, word: str) -> None:
        with self._lock:
            peers = list(self._peers.values())
        for peer in peers:
            try:
                peer.sendall(f"{word}\n".encode())
            except OSError:
                continue  # it has gone


def _exit(reason: str, code: int) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    GUARD.leave(code)


class _Greeter:
    """A connection that has not said yet who it is."""

    def __init__(self, peer: socket.socket):
        peer.setblocking(False)
        self.peer, self.since, self._said = peer, time.monotonic(), b""

    def hear(self) -> bytes | None:
        """What it has said, once that is a line, or can be none: at most 257 bytes."""
        try:
            # No more than a line: a peer says nothing else before it is welcomed.
            heard = self.peer.recv(257 - len(self._said))
        except BlockingIOError:
            return None
        except OSError:
            heard = b""
        self._said += heard
        ended = not heard or self._said.endswith(b"\n") or len(self._said) > 256
        return self._said if ended else None


def _accept(
    server: socket.socket, greeters: "deque[_Greeter]", selector: selectors.BaseSelector
) -> None:
    try:
        peer, _ = server.accept()
    except OSError:
        time.sleep(0.1)  # it has gone, or there are no file descriptors left
        return
    greeters.append(_Greeter(peer))
    selector.register(peer, selectors.EVENT_READ)


def _start(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True, name="watch").start()


def _listen() -> socket.socket:
    coordinator = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    if is_loopback(coordinator):
        host = coordinator.rpartition(":")[0].strip("[]")
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, 0), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _hosts() -> list[str]:
    """Where this machine may be reached by the others, likeliest first."""
    coordinator = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    hosts = [coordinator.rpartition(":")[0].strip("[]")]
    if is_loopback(coordinator):
        return hosts
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
