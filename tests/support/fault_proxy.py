"""A TCP proxy that speaks enough of Redis' protocol to let one request, or one reply, go wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Sequence

Request = list[bytes]


class Fault(StrEnum):
    """What happens to one request. The first two keep it from the server, the others come after its work."""

    CUT_BEFORE = "the connection breaks before the request arrives"
    CUT_IN_REQUEST = "the connection breaks inside the request"
    CUT_AFTER = "the connection breaks instead of the reply"
    CUT_IN_REPLY = "the connection breaks inside the reply"
    HALF_CLOSE = "the server hears the end of the stream right behind the request"
    SILENCE = "the reply never comes, the connection stays"
    DELAY = "the reply comes late"
    DRIP = "the reply comes byte by byte"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply in the server's place, which never sees the request."""

    reply: bytes


Rule = Callable[[Request], Fault | Answer | Request | None]
"""Decides about each request: a fault, another answer, another request in its place, or None."""


def nothing(request: Request) -> None:
    """The rule of a healthy connection."""


def losing_replies_to(word: bytes) -> Rule:
    """The rule that loses the reply to every request that has this word."""
    return lambda request: Fault.CUT_AFTER if word in request else None


class At:
    """The rule that asks another one about the request of that number, counted from 0, and no other.

    Only requests with one of the `commands` count, when these are given.
    """

    def __init__(self, number: int, rule: Rule, commands: Sequence[bytes] = ()) -> None:
        self._number = number
        self._rule = rule
        self._commands = commands
        self._lock = threading.Lock()
        self.seen = 0
        self.at: Request | None = None

    def __call__(self, request: Request) -> Fault | Answer | Request | None:
        """Count the request."""
        if self._commands and request[0] not in self._commands:
            return None
        with self._lock:
            number, self.seen = self.seen, self.seen + 1
        if number != self._number:
            return None
        self.at = request
        return self._rule(request)


class FaultProxy:
    """Forwards loopback connections to `port`, each request as `rule` says; a context manager.

    One thread for each connection, one request at a time, so that a rule may do something of its own between
    the client's sending and the server's reading. `faults` counts what went wrong so far, `connections` who
    dialled.
    """

    def __init__(self, port: int, rule: Rule = nothing) -> None:
        self.rule = rule
        self.faults = 0
        self.connections = 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open: set[socket.socket] = set()

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def until_idle(self) -> None:
        """Wait until every connection has ended and what was sent over it has been done."""
        while self._open:
            time.sleep(0.001)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # Whoever hangs up first ends it.
        with client, contextlib.suppress(OSError, EOFError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with socket.create_connection(("127.0.0.1", self._server_port)) as server:
                requests, replies = client.makefile("rb"), server.makefile("rb")
                with requests, replies:
                    while self._pass_on(client, server, requests, replies):
                        continue
        self._open.discard(client)

    def _pass_on(
        self, client: socket.socket, server: socket.socket, requests: BinaryIO, replies: BinaryIO
    ) -> bool:
        """Serve one request; False when that broke the connection."""
        raw = _frame(requests)
        action = self.rule(_words(raw))
        if isinstance(action, list):
            raw, action = encoded(action), None
        if action is not None:
            self.faults += 1
        if isinstance(action, Answer):
            client.sendall(action.reply)
            return True
        if action is Fault.CUT_BEFORE:
            return False
        if action is Fault.CUT_IN_REQUEST:
            server.sendall(raw[: len(raw) // 2])
            return False
        server.sendall(raw)
        if action is Fault.HALF_CLOSE:
            server.shutdown(socket.SHUT_WR)
        return _deliver(_frame(replies), client, action)


def _deliver(reply: bytes, client: socket.socket, fault: Fault | None) -> bool:
    match fault:
        case Fault.CUT_AFTER:
            return False
        case Fault.CUT_IN_REPLY:
            client.sendall(reply[: len(reply) // 2])
            return False
        case Fault.SILENCE:
            client.recv(1)
            return False
        case Fault.DELAY:
            time.sleep(0.01)
        case Fault.DRIP:
            for at in range(len(reply)):
                client.sendall(reply[at : at + 1])
            return True
    client.sendall(reply)
    return True


def encoded(words: Sequence[bytes]) -> bytes:
    """A request as it goes over the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _frame(stream: BinaryIO) -> bytes:
    """The next whole request or reply. Raises EOFError at the end of the stream."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind, rest = line[:1], line[1:-2]
    if kind in b"$=!":
        return line if int(rest) < 0 else line + stream.read(int(rest) + 2)
    if kind in b"*~>%":
        items = max(0, int(rest)) * (2 if kind == b"%" else 1)
        return line + b"".join(_frame(stream) for _ in range(items))
    return line


def _words(raw: bytes) -> Request:
    """The words of a request."""
    words, at = [], raw.index(b"\r\n") + 2
    while at < len(raw):
        end = raw.index(b"\r\n", at)
        start, size = end + 2, int(raw[at + 1 : end])
        words.append(raw[start : start + size])
        at = start + size + 2
    return words
