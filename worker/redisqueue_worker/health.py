"""Probes and metrics over HTTP. None of them asks Redis: an outage of Redis must not restart workers."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

GRACE_SECONDS = 15.0
# A call to Redis may take as long as its timeouts and retries allow; this bounds even that.
AWAY_GRACE_SECONDS = 120.0
# By then somebody has mended what makes Redis refuse, or nobody will: others may try, with another start.
HOPELESS_SECONDS = 900.0
# Whoever was let in before a hand-over has its answer by then.
LAST_ANSWER_SECONDS = 0.05
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, str]
"""Status, body, content type."""


class Pulse:
    """The heartbeat of one loop: `beat` in each round, `away` around a call that waits for Redis."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._due = clock() + GRACE_SECONDS

    def beat(self) -> None:
        self._due = self._clock() + GRACE_SECONDS

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Within it the loop waits for Redis, which is not the loop's fault."""
        self._due = self._clock() + AWAY_GRACE_SECONDS
        try:
            yield
        finally:
            self.beat()

    @property
    def late_seconds(self) -> float:
        """How long the loop is overdue; 0 while it is healthy."""
        return max(0.0, self._clock() - self._due)


class RefusalPulse(Pulse):
    """The pulse of results that Redis refuses: it stops when none was taken for so long that none will be."""

    def __init__(self, refused_since: Callable[[], float | None], clock: Callable[[], float] = monotonic):
        super().__init__(clock)
        self._refused_since = refused_since

    @property
    def late_seconds(self) -> float:
        """How long it is hopeless; 0 while Redis takes any result, refuses none, or is away."""
        since = self._refused_since()
        return 0.0 if since is None else max(0.0, self._clock() - since - HOPELESS_SECONDS)


def stalled(pulses: Mapping[str, Pulse]) -> list[str]:
    """The names of the loops that stopped beating."""
    return [name for name, pulse in pulses.items() if pulse.late_seconds > 0]


def listening(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: an address, IPv4 or IPv6; empty or `::` for all of both, or of IPv4 where there is no IPv6.

    Raises OSError when the port is taken or the address is not this machine's.
    """
    if host not in ("", "::"):
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise  # else the kernel knows IPv6, and no interface has it
    return socket.create_server(("", port))


class HealthServer:
    """Serves /livez, /readyz and /metrics until `close`.

    Args:
        host: the address to listen at, IPv4 or IPv6, as `listening` takes it.
        port: TCP port; 0 takes a free one, see `port`.
        live: names of stalled loops; empty is healthy.
        ready: whether the worker has started and is not draining.
        listener: what a predecessor handed over, already listening there.

    Raises OSError when the port is taken or the address is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Callable[[], list[str]],
        ready: Callable[[], bool],
        registry: CollectorRegistry,
        listener: socket.socket | None = None,
    ) -> None:
        self._live = live
        self._ready = ready
        self._registry = registry
        socket_ = listener or listening(host, port)
        # Not bound by the base class, which would ask DNS for this host's full name.
        self._server = _Server((host, port), partial(_Probe, self._answer), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = socket_
        self.port = int(socket_.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def _answer(self, path: str) -> Answer:
        match path:
            case "/livez":
                late = self._live()
                return (503, f"stalled: {', '.join(late)}\n", _TEXT) if late else (200, "ok\n", _TEXT)
            case "/readyz":
                return (200, "ok\n", _TEXT) if self._ready() else (503, "not started, or draining\n", _TEXT)
            case "/metrics":
                return 200, generate_latest(self._registry).decode(), CONTENT_TYPE_LATEST
        return 404, "paths: /livez /readyz /metrics\n", _TEXT

    def hand_over(self) -> int:
        """Answer nobody any more; the listening socket's descriptor, for a successor that does."""
        descriptor = os.dup(self._server.fileno())
        self._server.shutdown()
        time.sleep(LAST_ANSWER_SECONDS)
        return descriptor

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Probe(BaseHTTPRequestHandler):
    timeout = 5

    def __init__(self, answer: Callable[[str], Answer], *about: Any) -> None:
        self._answer = answer
        super().__init__(*about)  # which handles the request

    def do_GET(self) -> None:
        status, body, content_type = self._answer(self.path.partition("?")[0])
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Probes come every few seconds: they are not worth a line each."""
