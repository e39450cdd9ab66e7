"""Clients that cut commands off or lose their replies by plan, and one loop that drives both faces."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CUT = "cut"  # the command never arrives
LOST = "lost"  # the server does it, the reply is lost
Fault = str | Callable[[], None]
_SPARED = {"INFO"}  # asked about the server, once: not what a plan is about


def _next_fault(plan: deque[Fault], command: object) -> Fault:
    return plan.popleft() if plan and command not in _SPARED else ""


def _lost(fault: Fault) -> Exception:
    """The reply is lost; if the fault is a function, that happens meanwhile."""
    if callable(fault):
        fault()
    return redis.TimeoutError("the reply was lost")


def _put_back(plan: deque[Fault], fault: Fault) -> None:
    """The server knew the script not yet: nothing was done, and the same command follows once more."""
    if fault or plan:
        plan.appendleft(fault)


class FaultyRedis(redis.Redis):
    """Meets one planned fault with each command; none where the plan says "", or is empty."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.plan: deque[Fault] = deque()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run the command as the plan says."""
        fault = _next_fault(self.plan, args[0])
        if fault == CUT:
            raise redis.ConnectionError("cut on the way there")
        try:
            reply = super().execute_command(*args, **options)
        except NoScriptError:
            _put_back(self.plan, fault)
            raise
        if fault:
            raise _lost(fault)
        return reply


class AsyncFaultyRedis(redis.asyncio.Redis):
    """As `FaultyRedis`, for asyncio."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.plan: deque[Fault] = deque()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run the command as the plan says."""
        fault = _next_fault(self.plan, args[0])
        if fault == CUT:
            raise redis.ConnectionError("cut on the way there")
        try:
            reply = await super().execute_command(*args, **options)
        except NoScriptError:
            _put_back(self.plan, fault)
            raise
        if fault:
            raise _lost(fault)
        return reply


class Wire:
    """Clients of both faces, in bytes and in text, and the loop for those of asyncio."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.plain = redis.Redis.from_url(url)
        self._clients = {
            (face, decode): kind.from_url(url, decode_responses=decode)
            for face, kind in enumerate((FaultyRedis, AsyncFaultyRedis))
            for decode in (False, True)
        }

    def client(self, face: int, decode: bool) -> FaultyRedis | AsyncFaultyRedis:
        """The client of a face: 0 for threads, 1 for asyncio."""
        return self._clients[face, decode]

    def wait(self, value: Any) -> Any:
        """The value itself, or what it is awaited to."""
        return self.loop.run_until_complete(value) if inspect.isawaitable(value) else value

    @contextmanager
    def faults(self, client: FaultyRedis | AsyncFaultyRedis, plan: Sequence[Fault]) -> Iterator[None]:
        """Meet these faults within the block, all of them."""
        client.plan.extend(plan)
        try:
            yield
            assert not client.plan, f"fewer commands than faults: {client.plan} left of {plan}"
        finally:
            client.plan.clear()

    def close(self) -> None:
        """Close every client and the loop."""
        self.plain.close()
        for client in self._clients.values():
            self.wait(client.aclose() if isinstance(client, redis.asyncio.Redis) else client.close())
        self.loop.close()
