"""Pausing, and repeating a call that failed, or found no room."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, TypeVar

import tenacity

from redis_message_queue._clock import Moment, deadline_passes_within, moment, note_failure
from redis_message_queue.asyncio import _io
from redis_message_queue.exceptions import QueueBackpressureError, RetryBudgetExhaustedError
from redis_message_queue.operations import PENDING_FULL
from redis_message_queue.trouble import described, is_retryable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
    from redis_message_queue.options import GatewayOptions

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Who waits looks so often whether it is to stop.
_STEP_SECONDS = 0.05


async def pause(seconds: float, stopped: Callable[[], bool] | None) -> None:
    """Sleep, but wake within 50 ms once `stopped` says so."""
    if stopped is None:
        await _io.sleep(seconds)
        return
    while seconds > 0 and not stopped():
        step = min(_STEP_SECONDS, seconds)
        await _io.sleep(step)
        seconds -= step


async def repeated(
    what: str,
    action: Callable[[], Awaitable[T]],
    failure: Exception,
    began: Moment,
    chosen: GatewayOptions,
    interrupts: Sequence[BaseGracefulInterruptHandler] = (),
    worth: Callable[[BaseException], bool] = is_retryable,
) -> T:
    """Perform `action` again after its first failure, while its error is `worth` it and the budget lasts.

    Raises RetryBudgetExhaustedError from the last error; an interrupt lets the original error through.
    `began` is when the first attempt did.
    """
    if chosen.retry_budget_seconds == 0 or not worth(failure):
        raise failure
    tenacious = chosen.retrying()
    state = tenacity.RetryCallState(tenacious, None, (), {})
    state.start_time = 0.0

    def interrupted() -> bool:
        return any(handler.is_interrupted() for handler in interrupts)

    while True:
        state.set_exception((type(failure), failure, failure.__traceback__))
        state.outcome_timestamp = moment().since(began)  # tenacity's own clock may be frozen
        if interrupted() or not worth(failure):
            raise failure
        note_failure(failure)
        attempts = state.attempt_number
        logger.warning("%s: attempt %d failed: %s", what, attempts, described(failure))
        pause_seconds = min(tenacious.wait(state), chosen.retry_max_delay_seconds)
        if tenacious.stop(state) or deadline_passes_within(pause_seconds):
            raise RetryBudgetExhaustedError(
                f"{what} gave up after {attempts} attempts: {described(failure)}"
            ) from failure
        await pause(pause_seconds, interrupted if interrupts else None)
        state.prepare_for_next_attempt()
        try:
            return await action()
        except Exception as error:
            failure = error


async def until_room(
    queue: str, attempt: Callable[[], Awaitable[T]], chosen: GatewayOptions, stopped: Callable[[], bool]
) -> T:
    """What `attempt`, a publish to the list `queue`, answers; while that is full, wait as the policy says.

    The deadline belongs to the whole publish call and is tested after each attempt. Raises
    QueueBackpressureError when the list stayed full.
    """
    cap, timeout = chosen.max_pending_length, chosen.pending_overload_block_timeout_seconds
    if chosen.pending_overload_policy != "block":
        reply = await attempt()
        if reply == PENDING_FULL:
            raise QueueBackpressureError(
                f"{queue} is at its limit, max_pending_length={cap}: publish again later, or let"
                " 'pending_overload_policy' wait for room"
            )
        return reply
    began = _io.now()
    delay, longest = 0.01, min(0.5, timeout / 10)
    while True:
        reply = await attempt()
        if reply != PENDING_FULL:
            return reply
        if stopped():
            raise QueueBackpressureError(f"{queue} is full and this process is shutting down")
        remaining = timeout - _io.now().since(began)
        if remaining <= 0:
            raise QueueBackpressureError(f"{queue} stayed at max_pending_length={cap} for {timeout} s")
        jitter = 0.8 + 0.4 * random.random()  # noqa: S311 - spreads waiters, protects nothing
        await pause(min(min(delay, longest) * jitter, remaining), stopped)
        delay *= 2
