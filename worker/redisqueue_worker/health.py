"""Probes and metrics over HTTP. None of them asks Redis: an outage of Redis must not restart workers."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redisqueue_worker.probes import Answer

GRACE_SECONDS = 15.0
# A call to Redis may take as long as its timeouts and retries allow; this bounds even that.
AWAY_GRACE_SECONDS = 120.0
# By then somebody has mended what makes Redis refuse, or nobody will: others may try, with another start.
HOPELESS_SECONDS = 900.0
# Whoever was let in before a hand-over has its answer by then.
LAST_ANSWER_SECONDS = 0.05
# How often the server looks whether it has ended.
LOOK_SECONDS = 0.5
_TEXT = "text/plain; charset=utf-8"


class Pulse:
    """The heartbeat of one loop: `beat` in each round, `away` around a call that waits for Redis."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._due = clock() + GRACE_SECONDS

    def beat(self) -> None:
        self._due = self._clock() + GRACE_SECONDS

    def away(self) -> Pulse:
        """For a `with` block in which the loop waits for Redis, which is not the loop's fault."""
        return self

    def __enter__(self) -> None:
        self._due = self._clock() + AWAY_GRACE_SECONDS

    def __exit__(self, *_problem: object) -> None:
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
    """Serves /livez, /readyz and /metrics until `close`; what that needs is imported when somebody connects.

    Args:
        host: the address to listen at, IPv4 or IPv6, as `listening` takes it.
        port: TCP port; 0 takes a free one, see `port`.
        live: names of stalled loops; empty is healthy.
        ready: whether the worker has started and is not draining.
        page: makes the page of metrics, once: a function that gives its text and content type.
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
        page: Callable[[], Callable[[], tuple[str, str]]],
        listener: socket.socket | None = None,
    ) -> None:
        self._live = live
        self._ready = ready
        self._page = page
        self._making = threading.Lock()
        self._made: Callable[[], tuple[str, str]] | None = None
        self._listener = listener or listening(host, port)
        self.port = int(self._listener.getsockname()[1])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not selector.select(LOOK_SECONDS):
                if self._ended.is_set():
                    return
        from redisqueue_worker.probes import serve  # noqa: PLC0415  (it takes long)

        serve(self._listener, self._answer, self._ended, LOOK_SECONDS)

    def _answer(self, path: str) -> Answer:
        match path:
            case "/livez":
                late = self._live()
                return (503, f"stalled: {', '.join(late)}\n", _TEXT) if late else (200, "ok\n", _TEXT)
            case "/readyz":
                return (200, "ok\n", _TEXT) if self._ready() else (503, "not started, or draining\n", _TEXT)
            case "/metrics":
                with self._making:
                    self._made = self._made or self._page()
                return 200, *self._made()
        return 404, "paths: /livez /readyz /metrics\n", _TEXT

    def hand_over(self) -> int:
        """Answer nobody any more; the listening socket's descriptor, for a successor that does."""
        descriptor = os.dup(self._listener.fileno())
        self._end()
        time.sleep(LAST_ANSWER_SECONDS)
        return descriptor

    def close(self) -> None:
        self._end()
        self._listener.close()

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()
