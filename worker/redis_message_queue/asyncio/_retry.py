"""Pausing, and repeating a call that failed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import tenacity

from redis_message_queue._clock import Moment, deadline_passes_within, moment, note_failure
from redis_message_queue.asyncio import _io
from redis_message_queue.exceptions import RetryBudgetExhaustedError
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
