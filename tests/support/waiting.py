"""Waiting for facts: at once when they come true at once, and for as long as a busy machine needs."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
WHAT = "what is waited for"
PATIENCE_SECONDS = 60.0
"""No speed that a test asks for: only what never comes true costs it."""


def eventually(look: Callable[[], T], what: str = WHAT, timeout_seconds: float = PATIENCE_SECONDS) -> T:
    """The first true value of `look`; fails naming `what` when there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not in {timeout_seconds:g} s: {what}; last seen: {seen!r}"
        time.sleep(0.01)
    return seen


@contextmanager
def beside(work: Callable[[Event], None]) -> Iterator[None]:
    """Have a thread do that until the end of the block, of which the event tells it."""
    over = Event()
    thread = Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def quiet(look: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until `look` has given the same for so long; fails when it never does."""
    seen, since = look(), time.monotonic()

    def lasts() -> bool:
        nonlocal seen, since
        if (now := look()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    eventually(lasts, f"{what} for {seconds:g} s")


async def until(look: Callable[[], T], what: str = WHAT, timeout_seconds: float = PATIENCE_SECONDS) -> T:
    """The same in an event loop, whose other tasks get a turn in any case."""
    deadline = time.monotonic() + timeout_seconds
    await asyncio.sleep(0)
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not in {timeout_seconds:g} s: {what}; last seen: {seen!r}"
        await asyncio.sleep(0.01)
    return seen


async def all_hung_up() -> None:
    """Wait until no connection of this loop is open: what is cancelled hangs up and waits for no answer.

    Over TLS that answer takes a moment, and a loop that ends before leaves the connection open.
    """
    loop: Any = asyncio.get_running_loop()
    await until(lambda: all(one._sock is None for one in loop._transports.values()), "all have hung up")
