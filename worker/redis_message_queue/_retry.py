"""Which errors are worth repeating a call for, how often and how far apart."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

import redis.exceptions
import tenacity

from redis_message_queue._clock import moment
from redis_message_queue._core import script_failure
from redis_message_queue._effects import Flow, pause
from redis_message_queue._patience import is_over_in
from redis_message_queue.exceptions import LuaScriptError, RetryBudgetExhaustedError
from redis_message_queue.trouble import described, is_elsewhere, is_refusal, is_unreachable_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis_message_queue._clock import Moment
    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

T = TypeVar("T")
logger = logging.getLogger(__name__)

_RETRYABLE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.NoScriptError,
)
_FINAL = (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError)


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
class RetryPolicy:
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
    action: Callable[[], Flow[T]],
    failure: Exception,
    began: Moment,
    policy: RetryPolicy,
    interrupts: Sequence[BaseGracefulInterruptHandler] = (),
    worth: Callable[[BaseException], bool] = is_retryable,
) -> Flow[T]:
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
        if tenacious.stop(state) or is_over_in(pause_seconds):
            raise RetryBudgetExhaustedError(
                f"{what} gave up after {attempts} attempts: {described(failure)}"
            ) from failure
        yield from pause(pause_seconds, interrupted if interrupts else None)
        state.prepare_for_next_attempt()
        try:
            return (yield from action())
        except Exception as error:
            failure = error
