"""Protocols are generators: they yield actions to be called, and are sent the results or thrown the errors.

So every loop, deadline and "which error may be repeated" exists once, whichever way the I/O is done. Here is
what drives them in a thread and in a task, and what they wait with and repeat by.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import redis.exceptions
import tenacity

from redis_message_queue import _clock
from redis_message_queue._clock import Moment, moment
from redis_message_queue._deadline import deadline_passes_within
from redis_message_queue.exceptions import LuaScriptError, RetryBudgetExhaustedError
from redis_message_queue.operations import script_failure
from redis_message_queue.trouble import described, is_elsewhere, is_refusal, is_unreachable_cluster

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

T = TypeVar("T")
logger = logging.getLogger(__name__)
_STEP_SECONDS = 0.05
_RETRYABLE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.NoScriptError,
)
_FINAL = (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError)


class Sleep:
    """Do nothing for that long."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> None:
        """In a thread."""
        time.sleep(self.seconds)

    def on_loop(self) -> Awaitable[None]:
        """In a task."""
        return _clock.sleep(self.seconds)


class Now:
    """Read the clocks that `Sleep` follows."""

    __slots__ = ()

    def __call__(self) -> Moment:
        """In a thread."""
        return Moment(_clock.monotonic(), time.monotonic())

    def on_loop(self) -> Moment:
        """In a task."""
        return Moment(_clock.monotonic(), asyncio.get_running_loop().time())


# What to call; under asyncio an awaitable result is awaited.
Action = Callable[[], Any]
Flow = Generator[Action, Any, T]


def run(flow: Flow[T]) -> T:
    """Run a flow in the calling thread."""
    try:
        action = next(flow)
        while True:
            try:
                result = action()
            except BaseException as error:
                action = flow.throw(error)
            else:
                action = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(flow: Flow[T]) -> T:
    """Run a flow in the current task."""
    try:
        action = next(flow)
        while True:
            try:
                if isinstance(action, Now):
                    result: Any = action.on_loop()
                else:
                    result = action.on_loop() if isinstance(action, Sleep) else action()
                    if inspect.isawaitable(result):
                        result = await result
            except BaseException as error:
                action = flow.throw(error)
            else:
                action = flow.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def within_thread(seconds: float | None, action: Callable[[], T]) -> T | None:
    """Call `action`; None if it takes longer than that, and then it goes on in a thread of its own."""
    if seconds is None or seconds <= 0:
        return action()
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="redis-message-queue-drain", daemon=True).start()
    concurrent.futures.wait((outcome,), seconds)
    return outcome.result() if outcome.done() else None


async def within_task(seconds: float | None, action: Callable[[], Any]) -> Any:
    """Await what `action` gives; None if it takes longer than that, and then it is cancelled."""
    result = action()
    if not inspect.isawaitable(result):
        return result
    if seconds is None or seconds <= 0:
        return await result
    try:
        async with _clock.timeout(seconds) as limit:
            return await result
    except TimeoutError:
        if limit.expired():
            return None
        raise


def pause(seconds: float, stopped: Callable[[], bool] | None) -> Flow[None]:
    """Sleep, but wake within 50 ms once `stopped` says so."""
    if stopped is None:
        yield Sleep(seconds)
        return
    while seconds > 0 and not stopped():
        step = min(_STEP_SECONDS, seconds)
        yield Sleep(step)
        seconds -= step


# -- repeating --


def is_retryable(error: BaseException) -> bool:
    """True if the same call may succeed later without anybody changing anything."""
    if isinstance(error, _FINAL):
        return False
    if isinstance(error, redis.exceptions.ClusterError) and str(error).startswith("TTL exhausted"):
        return True
    return isinstance(error, _RETRYABLE) or is_refusal(error) or is_unreachable_cluster(error)


def is_final(error: BaseException) -> bool:
    """True if the server refuses this very call: again it will refuse it, another one perhaps not."""
    refused = isinstance(error, redis.exceptions.ResponseError)
    return refused and not is_retryable(error) and not is_elsewhere(error)


def raise_translated(error: redis.exceptions.ResponseError) -> NoReturn:
    """Raise the library's error for a refusal by one of its scripts, any other error unchanged."""
    text = None if isinstance(error, LuaScriptError) else script_failure(error)
    if text is None:
        raise error
    raise LuaScriptError(text) from error


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Budget and spacing of the repeats of one idempotent call; a budget of 0 means one attempt."""

    budget_seconds: int = 120
    initial_delay_seconds: float = 0.01
    max_delay_seconds: float = 5.0

    def build(self) -> tenacity.Retrying:
        """Compose tenacity's parts. Costs more than a round trip, so it is done after a first failure."""
        return tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.budget_seconds),
            wait=tenacity.wait_exponential(multiplier=self.initial_delay_seconds, max=self.max_delay_seconds)
            + tenacity.wait_random(0, 0.1),
        )


def repeated(
    what: str,
    action: Action,
    failure: Exception,
    began: Moment,
    policy: RetryBudget,
    interrupts: Sequence[BaseGracefulInterruptHandler] = (),
    worth: Callable[[BaseException], bool] = is_retryable,
) -> Flow[Any]:
    """Perform `action` again after its first failure, while its error is `worth` it and the budget lasts.

    Raises RetryBudgetExhaustedError from the last error; an interrupt lets the original error through.
    `began` is when the first attempt did.
    """
    if policy.budget_seconds == 0 or not worth(failure):
        raise failure
    tenacious = policy.build()
    state = tenacity.RetryCallState(tenacious, None, (), {})
    state.start_time = 0.0

    def interrupted() -> bool:
        return any(handler.is_interrupted() for handler in interrupts)

    while True:
        state.set_exception((type(failure), failure, failure.__traceback__))
        state.outcome_timestamp = moment().since(began)  # tenacity's own clock may be frozen
        if interrupted() or not worth(failure):
            raise failure
        attempts = state.attempt_number
        logger.warning("%s: attempt %d failed: %s", what, attempts, described(failure))
        pause_seconds = min(tenacious.wait(state), policy.max_delay_seconds)
        if tenacious.stop(state) or deadline_passes_within(pause_seconds):
            raise RetryBudgetExhaustedError(
                f"{what} gave up after {attempts} attempts: {described(failure)}"
            ) from failure
        yield from pause(pause_seconds, interrupted if interrupts else None)
        state.prepare_for_next_attempt()
        try:
            return (yield action)
        except Exception as error:
            failure = error


# -- finishing under asyncio --


async def finish(coroutine: Coroutine[Any, Any, None], *, swallowed_cancellations: int | None = None) -> None:
    """Run `coroutine` to its end in a task of its own; its error wins over a cancellation of the caller.

    By default a cancellation waits for the end and is raised then. With `swallowed_cancellations` that many
    are ignored, and the next one stops the waiting at once (the work goes on) by raising CancelledError.
    """
    work = asyncio.create_task(_error_of(coroutine))
    cancellations = 0
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            cancellations += 1
            if swallowed_cancellations is not None and cancellations > swallowed_cancellations:
                raise
    error = work.result()
    if error is not None:
        raise error
    if cancellations and swallowed_cancellations is None:
        raise asyncio.CancelledError


async def _error_of(coroutine: Coroutine[Any, Any, None]) -> BaseException | None:
    """Keep even an exit as a value: raised inside a task it would tear the event loop down first."""
    try:
        await coroutine
    except BaseException as error:
        return error
    return None
