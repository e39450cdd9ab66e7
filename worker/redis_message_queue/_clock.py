"""The clock that bounds every wait, and calls that end in time.

It is one that tools which freeze time in tests leave alone: freezegun stops `time.monotonic` for the whole
process, and with it the timers of an event loop. A wait measured by that clock never ends, and a lease seems
to last for ever, or to have ended long ago.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import math
import queue
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from redis_message_queue._local_state import ForgottenAtFork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from redis_message_queue.exceptions import RetryBudgetExhaustedError

T = TypeVar("T")
Job: TypeAlias = "Callable[[], Callable[[], object]]"

# So far apart the two clocks are only when a tool has replaced one, below the level of Python.
_FROZEN_SECONDS = 1.0

monotonic: Callable[[], float]
"""Seconds on a clock that only goes forward; the same as `time.monotonic()` where nobody replaced that."""
if hasattr(time, "clock_gettime"):
    # On macOS CLOCK_MONOTONIC goes on while the machine sleeps, unlike time.monotonic.
    monotonic = functools.partial(time.clock_gettime, getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC))
else:
    monotonic = functools.partial(time.monotonic)


class Moment(NamedTuple):
    """A moment on two clocks: the one nobody freezes, and the one that tests may move by a patch."""

    real: float
    told: float

    def since(self, earlier: Moment) -> float:
        """Seconds since an earlier moment, by the clock that went on further."""
        return max(self.real - earlier.real, self.told - earlier.told)


def moment() -> Moment:
    """The moment as `time.monotonic` tells it."""
    return Moment(monotonic(), time.monotonic())


def since_told(told: float) -> float:
    """The time on this clock of a reading of `time.monotonic` that somebody else took."""
    return monotonic() - max(0.0, time.monotonic() - told)


def _loop_stands_still() -> bool:
    """Whether the timers of the event loop may never fire; not when a test has them fire by a patch."""
    if asyncio.sleep is not asyncio.tasks.sleep:
        return False
    replaced = not isinstance(time.monotonic, BuiltinFunctionType)
    return replaced or abs(time.monotonic() - monotonic()) > _FROZEN_SECONDS


@contextmanager
def _alarm(seconds: float, ring: Callable[[], object]) -> Iterator[None]:
    """Have the event loop call `ring` after that time, whatever its own clock says, unless left before."""
    loop = asyncio.get_running_loop()
    waiting = True

    def ring_if_waiting() -> None:
        if waiting:
            ring()

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(ring_if_waiting)
        except RuntimeError:  # the loop was closed meanwhile
            return

    timer = threading.Timer(seconds, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        waiting = False
        timer.cancel()


async def sleep(seconds: float) -> None:
    """As `asyncio.sleep`, also where the clock of the event loop stands still."""
    if seconds <= 0 or not _loop_stands_still():
        await asyncio.sleep(seconds)
        return
    over = asyncio.Event()
    with _alarm(seconds, over.set):
        await over.wait()


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """As `asyncio.timeout`, also where the clock of the event loop stands still."""
    async with asyncio.timeout(seconds) as limit:
        if not _loop_stands_still():
            yield limit
            return
        with _alarm(seconds, lambda: limit.reschedule(asyncio.get_running_loop().time())):
            yield limit


# -- calls that end in time, whatever the client is still trying: resolving a name, connecting, repeating --
#
# Nothing stops a thread that waits for a socket. So such a call runs in a thread of its own, which nobody
# waits for any longer; there it sends nothing more. Under asyncio it is cancelled.

# So many calls of a process may hang: with Redis away, more would only wait for the same.
MOST_AT_ONCE = 64
_IDLE_SECONDS = 1.0
NEVER = math.inf
_NAME = "redis-message-queue-publish"
_PUBLISH = "publish gave up after 'publish_timeout_seconds'; the message may be enqueued or not"
deadline_at: contextvars.ContextVar[float] = contextvars.ContextVar(
    "redis_message_queue_deadline", default=NEVER
)

# The last error of what is repeated in here: who gives up first tells it as the cause.
_failures: contextvars.ContextVar[list[BaseException] | None] = contextvars.ContextVar(
    "redis_message_queue_failures", default=None
)


def note_failure(error: BaseException) -> None:
    """What is repeated has failed with this, and may fail no more before somebody gives up."""
    if (failures := _failures.get()) is not None:
        failures[:] = [error]


@contextmanager
def _failures_noted() -> Iterator[list[BaseException]]:
    failures: list[BaseException] = []
    before = _failures.set(failures)
    try:
        yield failures
    finally:
        _failures.reset(before)


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
        from redis_message_queue.exceptions import RetryBudgetExhaustedError  # noqa: PLC0415 - see there

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


def in_thread(seconds: float, action: Callable[[], T], what: str = _PUBLISH) -> T:
    """Call `action`. Raises RetryBudgetExhaustedError when it takes longer than that, telling `what` gave up.

    RuntimeError when no thread can be started.
    """
    ends, free = monotonic() + seconds, _threads.free
    if not free.acquire(timeout=seconds):
        raise _given_up(seconds, what)
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> Callable[[], object]:
        try:
            result: tuple[T | None, BaseException | None] = context.run(action), None
        except BaseException as error:
            result = None, error
        free.release()
        return functools.partial(outcome.put, result)

    with deadline(ends - monotonic()), _failures_noted() as failures:
        context = contextvars.copy_context()
    try:
        _threads.give(work)
    except RuntimeError:
        free.release()
        raise
    try:
        value, error = outcome.get(timeout=max(0.0, ends - monotonic()))
    except queue.Empty:
        raise _given_up(seconds, what) from (failures[0] if failures else None)
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


async def in_task(seconds: float, action: Callable[[], Any], what: str = _PUBLISH) -> Any:
    """Await what `action` gives. Raises RetryBudgetExhaustedError when it takes longer, and cancels it.

    The error tells `what` gave up.
    """
    with _failures_noted() as failures:
        try:
            with deadline(seconds):
                async with timeout(seconds) as limit:
                    result = action()
                    return await result if inspect.isawaitable(result) else result
        except TimeoutError:
            if limit.expired():
                raise _given_up(seconds, what) from (failures[0] if failures else None)
            raise


def _given_up(seconds: float, what: str) -> RetryBudgetExhaustedError:
    from redis_message_queue.exceptions import RetryBudgetExhaustedError  # noqa: PLC0415

    name, _, rest = what.partition("; ")
    return RetryBudgetExhaustedError(
        f"{name} {seconds:g}: Redis, or the way to it, does not answer{'; ' if rest else ''}{rest}"
    )
