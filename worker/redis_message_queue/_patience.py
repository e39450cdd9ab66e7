"""A call that ends in time whatever its client is still trying: resolving a name, connecting, repeating.

Nothing stops a thread that waits for a socket. So such a call runs in a thread of its own, which nobody waits
for any longer; there it sends nothing more. Under asyncio it is cancelled.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import inspect
import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from redis_message_queue import _clock
from redis_message_queue._clock import monotonic
from redis_message_queue._fork import ForgottenAtFork
from redis_message_queue.exceptions import RetryBudgetExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

# So many calls of a process may hang: with Redis away, more would only wait for the same.
MOST_AT_ONCE = 64
_ends: contextvars.ContextVar[float] = contextvars.ContextVar(
    "redis_message_queue_patience", default=math.inf
)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """What is called in here, also in threads that it starts, is over after that time."""
    before = _ends.set(min(_ends.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _ends.reset(before)


def is_over_in(seconds: float) -> bool:
    """Whether nobody waits any longer by then."""
    ends = _ends.get()
    return ends != math.inf and monotonic() + seconds >= ends


def check() -> None:
    """Before anything is sent: raise RetryBudgetExhaustedError if nobody waits for it any longer."""
    if is_over_in(0.0):
        raise RetryBudgetExhaustedError("nobody waits for this call any longer: it is not sent")


class Impatient(Exception):
    """The time is over, and the call has not ended."""


class _Threads(ForgottenAtFork):
    """Those that may hang. A child of a fork has none of them."""

    def forget(self) -> None:
        self.free = threading.BoundedSemaphore(MOST_AT_ONCE)


_threads = _Threads()


def in_thread(seconds: float, action: Callable[[], T]) -> T:
    """Call `action`. Raises Impatient when it takes longer, RuntimeError when no thread can be started."""
    ends, free = monotonic() + seconds, _threads.free
    if not free.acquire(timeout=seconds):
        raise Impatient
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            free.release()

    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(work,), name="redis-message-queue-publish", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:
        free.release()
        raise
    concurrent.futures.wait((outcome,), max(0.0, ends - monotonic()))
    if not outcome.done():
        raise Impatient
    return outcome.result()


async def in_task(seconds: float, action: Callable[[], Any]) -> Any:
    """Await what `action` gives. Raises Impatient when it takes longer, and cancels it."""
    try:
        async with _clock.timeout(seconds) as limit:
            result = action()
            return await result if inspect.isawaitable(result) else result
    except TimeoutError:
        if limit.expired():
            raise Impatient from None
        raise
