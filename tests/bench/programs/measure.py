"""What a contestant's process measures of itself: messages per second, CPU time, round trips, wake-ups.

Runs in the environment of the contestant, so it needs the standard library and redis-py alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAYLOAD = "x" * 100
_idle_gap = random.Random(7)  # the same gaps for every contestant


class Sends:
    """Counts the requests that redis-py sends: a pipeline is one."""

    def __init__(self) -> None:
        import redis.asyncio.connection
        import redis.connection

        self.count = 0
        for kind in (redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection):
            self._watch(kind)

    def _watch(self, kind: Any) -> None:
        send = kind.send_packed_command

        def counting(*args: Any, **options: Any) -> Any:
            self.count += 1
            return send(*args, **options)

        kind.send_packed_command = counting


class Meter:
    """Reads all clocks at once; the difference of two readings is one measurement."""

    def __init__(self, url: str) -> None:
        import redis  # a start is not measured by this, and a worker imports it in its own way

        self._server = redis.Redis.from_url(url)
        self._server.ping()
        self.sends = Sends()
        self._began: tuple[float, float, float, int] | None = None

    def _read(self) -> tuple[float, float, float, int]:
        own, server = resource.getrusage(resource.RUSAGE_SELF), self._server.info("cpu")
        return (
            time.perf_counter(),
            own.ru_utime + own.ru_stime,
            server["used_cpu_user"] + server["used_cpu_sys"],
            self.sends.count,
        )

    def start(self) -> None:
        """Begin."""
        self._began = self._read()

    def stop(self, messages: int) -> dict[str, float]:
        """What `messages` have cost since `start`; the reading itself is left out."""
        ended, began = self._read(), self._began
        if began is None:
            raise RuntimeError("the meter was not started")
        seconds, client, server, sends = (after - before for before, after in zip(began, ended, strict=True))
        return {
            "per_second": messages / seconds,
            "client_us": client / messages * 1e6,
            "server_us": server / messages * 1e6,
            "round_trips": max(0, sends - 1) / messages,
            "messages": messages,
        }


def repeat(meter: Meter, seconds: float, step: Callable[[], int]) -> dict[str, float]:
    """Repeat `step`, which answers how many messages it handled, until the time or the work is over."""
    step()
    meter.start()
    end, messages = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        handled = step()
        messages += handled
        if not handled:
            break
    return meter.stop(messages)


async def repeat_async(meter: Meter, seconds: float, step: Callable[[], Awaitable[int]]) -> dict[str, float]:
    """As `repeat`."""
    await step()
    meter.start()
    end, messages = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        handled = await step()
        messages += handled
        if not handled:
            break
    return meter.stop(messages)


def finish(result: dict[str, Any]) -> None:
    """Hand over the result and end, whatever threads and loops are still there."""
    sys.stdout.flush()
    os.write(1, f"{json.dumps(result)}\n".encode())  # not print: celery takes standard output for itself
    os._exit(0)


class Counting:
    """A handler of tasks that ends the process after `total` of them; the first is not measured."""

    def __init__(self, meter: Meter, total: int) -> None:
        self._meter, self._left, self._total = meter, total, total

    def __call__(self, _: str) -> None:
        """Handle one task."""
        if self._left == self._total:
            self._meter.start()
        self._left -= 1
        if self._left == 0:
            finish(self._meter.stop(self._total - 1))


class Waking:
    """A handler of tasks that ends the process after `total` of them, with how long each was on its way.

    Its own thread sends them, at irregular times. Before that nothing happens for a while, and the requests
    that an idle consumer sends are counted.
    """

    IDLE_SECONDS = 2.0

    def __init__(self, meter: Meter, total: int, send: Callable[[str], None]) -> None:
        self._meter, self._total, self._send = meter, total, send
        self._delays: list[float] = []
        self._idle = 0.0
        threading.Thread(target=self._produce, daemon=True).start()

    def __call__(self, payload: str) -> None:
        """Handle one task: its payload says when it was sent."""
        self._delays.append((time.perf_counter() - float(payload)) * 1000)
        if len(self._delays) == self._total:
            finish({"delays_ms": self._delays, "idle_per_second": self._idle})

    def _produce(self) -> None:
        time.sleep(1.0)  # the consumer starts
        before = self._meter.sends.count
        time.sleep(self.IDLE_SECONDS)
        self._idle = (self._meter.sends.count - before) / self.IDLE_SECONDS
        for _ in range(self._total):
            self._send(repr(time.perf_counter()))
            time.sleep(_idle_gap.uniform(0.15, 0.45))
