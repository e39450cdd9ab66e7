"""What a task does otherwise than a thread: the same names as in `redis_message_queue._io`.

All other modules of this package are the source of the sync face.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio

from redis_message_queue import _clock, client_checks
from redis_message_queue._callbacks import WrongHandlerError, call_awaited, call_either
from redis_message_queue._clock import Moment
from redis_message_queue.validation import check_async_callable, check_types

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from redis_message_queue._timer import AsyncLeaseHeartbeat
    from redis_message_queue.asyncio._processing import Processing

T = TypeVar("T")
OTHER_PACKAGE = "redis_message_queue"
_EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit, WrongHandlerError)

caller = asyncio.current_task
in_time = _clock.in_task
call_event = call_awaited
call_plain = call_key = call_either
call_handler = partial(call_awaited, name="the handler", error=WrongHandlerError)
check_event_callback = check_async_callable
check_face = partial(client_checks.check_face, asyncio=True, name="client")
check_client = partial(client_checks.check_client, asyncio=True)
sleep = _clock.sleep


def check_callback(name: str, value: Any) -> None:
    """Raise TypeError for what is no callable; it may be of either kind."""
    check_types(**{name: value})


def is_unprobed(client: Any) -> bool:
    """Whether it is still to be found out if the server is a node of a cluster."""
    return isinstance(client, redis.asyncio.Redis)


def now() -> Moment:
    """Read the clocks that `sleep` follows."""
    return Moment(_clock.monotonic(), asyncio.get_running_loop().time())


def aborts(error: BaseException) -> bool:
    """True for what ends the work without settling it: an exit, or a cancellation from outside."""
    if isinstance(error, _EXITS):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def awaited(value: Any) -> Awaitable[Any]:
    """What a gateway or a callback of the user's returned, which need not be awaitable."""
    return value if type(value) is CoroutineType or inspect.isawaitable(value) else _given(value)


async def _given(value: T) -> T:
    return value


async def within(seconds: float | None, action: Callable[[], Any]) -> Any:
    """Await what `action` gives; None if it takes longer than that, and then it is cancelled."""
    result = awaited(action())
    if seconds is None or seconds <= 0:
        return await result
    try:
        async with _clock.timeout(seconds) as limit:
            return await result
    except TimeoutError:
        if limit.expired():
            return None
        raise


async def fail(message: Processing, error: BaseException) -> None:
    """Settle a failure; the handler's error must win over a cancellation that arrives meanwhile."""
    began = time.monotonic()
    try:
        await finished(message.fail(error), swallowed_cancellations=1)
    except asyncio.CancelledError as cancelled:
        await message.cleanup_failed(cancelled, began)


async def stop_heartbeat(heartbeat: AsyncLeaseHeartbeat, message: Processing, *, cancellable: bool) -> None:
    """End the renewals, cancelling one on its way; a cancellation is raised only if it is `cancellable`."""
    try:
        stopped = await heartbeat.stop()
    except asyncio.CancelledError:
        if cancellable:
            raise
        return
    if not stopped:
        await message.heartbeat_stuck()


async def finished(coroutine: Coroutine[Any, Any, T], *, swallowed_cancellations: int | None = None) -> T:
    """Run `coroutine` to its end in a task of its own; its error wins over a cancellation of the caller.

    By default a cancellation waits for the end and is raised then. With `swallowed_cancellations` that many
    are ignored, and the next one stops the waiting at once (the work goes on) by raising CancelledError.
    """
    work = asyncio.create_task(_outcome_of(coroutine))
    cancellations = 0
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            cancellations += 1
            if swallowed_cancellations is not None and cancellations > swallowed_cancellations:
                raise
    result, error = work.result()
    if error is not None:
        raise error
    if cancellations and swallowed_cancellations is None:
        raise asyncio.CancelledError
    return result  # type: ignore[return-value]


async def _outcome_of(coroutine: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """Keep even an exit as a value: raised inside a task it would tear the event loop down first."""
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error
