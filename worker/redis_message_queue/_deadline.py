"""A call that ends in time whatever its client is still trying: resolving a name, connecting, repeating.

Nothing stops a thread that waits for a socket. So such a call runs in a thread of its own, which nobody waits
for any longer; there it sends nothing more. Under asyncio it is cancelled.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import math
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from redis_message_queue import _clock
from redis_message_queue._clock import monotonic
from redis_message_queue._fork import ForgottenAtFork
from redis_message_queue.exceptions import RetryBudgetExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Job: TypeAlias = "Callable[[], Callable[[], object]]"

# So many calls of a process may hang: with Redis away, more would only wait for the same.
MOST_AT_ONCE = 64
_IDLE_SECONDS = 1.0
NEVER = math.inf
_NAME = "redis-message-queue-publish"
deadline_at: contextvars.ContextVar[float] = contextvars.ContextVar(
    "redis_message_queue_deadline", default=NEVER
)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """What is called in here, also in threads that it starts, is over after that time."""
    before = deadline_at.set(min(deadline_at.get(), monotonic() + seconds))
    try:
        yield
    finally:
        deadline_at.reset(before)


def deadline_passes_within(seconds: float) -> bool:
    """Whether nobody waits any longer by then."""
    ends = deadline_at.get()
    return ends is not NEVER and monotonic() + seconds >= ends


def check_deadline() -> None:
    """Before anything is sent: raise RetryBudgetExhaustedError if nobody waits for it any longer."""
    if deadline_at.get() is not NEVER and deadline_passes_within(0.0):
        raise RetryBudgetExhaustedError("nobody waits for this call any longer: it is not sent")


class _Threads(ForgottenAtFork):
    """Those that may hang; who is through waits a moment for the next call. A child of a fork has none."""

    def forget(self) -> None:
        self.free = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._idle: list[queue.SimpleQueue[Job]] = []

    def give(self, job: Job) -> None:
        """Have a thread do `job`, and then what that returns; neither may raise.

        Raises RuntimeError when no thread can be started.
        """
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name=_NAME, daemon=True).start()
        inbox.put(job)

    def _serve(self, inbox: queue.SimpleQueue[Job]) -> None:
        idle = self._idle
        while True:
            try:
                job = inbox.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                try:
                    idle.remove(inbox)
                except ValueError:  # somebody has just taken it, and its job comes
                    continue
                return
            tell = job()
            del job  # it holds what it published
            idle.append(inbox)  # first, so that who is told and calls again finds it
            tell()
            del tell


_threads = _Threads()


def in_thread(seconds: float, action: Callable[[], T]) -> T:
    """Call `action`. Raises RetryBudgetExhaustedError when it takes longer than that.

    RuntimeError when no thread can be started.
    """
    ends, free = monotonic() + seconds, _threads.free
    if not free.acquire(timeout=seconds):
        raise _given_up(seconds)
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> Callable[[], object]:
        try:
            result: tuple[T | None, BaseException | None] = context.run(action), None
        except BaseException as error:
            result = None, error
        free.release()
        return functools.partial(outcome.put, result)

    with deadline(ends - monotonic()):
        context = contextvars.copy_context()
    try:
        _threads.give(work)
    except RuntimeError:
        free.release()
        raise
    try:
        value, error = outcome.get(timeout=max(0.0, ends - monotonic()))
    except queue.Empty:
        raise _given_up(seconds) from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


async def in_task(seconds: float, action: Callable[[], Any]) -> Any:
    """Await what `action` gives. Raises RetryBudgetExhaustedError when it takes longer, and cancels it."""
    try:
        with deadline(seconds):
            async with _clock.timeout(seconds) as limit:
                result = action()
                return await result if inspect.isawaitable(result) else result
    except TimeoutError:
        if limit.expired():
            raise _given_up(seconds) from None
        raise


def _given_up(seconds: float) -> RetryBudgetExhaustedError:
    return RetryBudgetExhaustedError(
        f"publish gave up after 'publish_timeout_seconds' {seconds:g}: Redis, or the way to it, does not"
        " answer; the message may be enqueued or not"
    )
