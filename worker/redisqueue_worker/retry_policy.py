"""How a handler ended, as plain data, and what becomes of its message. Pure.

An exception is the handler's own code: its text, its class, its causes and notes may raise, lie, or be as
large as they like. So it is made harmless once, where the handler ran; nothing but this goes on to the
consumer loop, through a process slot's pipe or into a log line.
"""

from __future__ import annotations

import asyncio
import random
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue.messages import Claim, Outcome, Settlement
from redisqueue_worker.exceptions import (
    LONGEST_DELAY_SECONDS,
    DeadLetter,
    InvalidPayload,
    Retry,
    UnknownType,
    checked_delay,
)
from redisqueue_worker.logs import formatted, text_of, type_name

if TYPE_CHECKING:
    from redisqueue_worker.context import Context

LONGEST_REASON = 200
# A dead letter's reason is the handler's own words.
LONGEST_TEXT = 1000


class HandlerTimeout(Exception):
    """The handler ran longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"ran for {seconds:.1f} s")


class FailureKind(StrEnum):
    """What kind of end it was."""

    RETRY = "retry"  # the handler wants the message again
    DEAD_LETTER = "dead letter"  # the handler never wants it again
    INVALID_PAYLOAD = "invalid payload"
    UNKNOWN_TYPE = "unknown type"  # to this version of the worker
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"  # an async handler, by the worker or by itself
    UNWANTED = "unwanted"  # somebody has cancelled the message
    ERROR = "error"


class Failure(NamedTuple):
    """What a handler raised.

    Attributes:
        text: why, in a few words.
        detail: the traceback, of what nobody asked for.
        delay_seconds: what a RETRY asked for; None for the worker's own backoff.
    """

    kind: FailureKind
    text: str
    detail: str = ""
    delay_seconds: float | None = None


def failure_of(error: BaseException) -> Failure:
    """What `error` says. Never raises."""
    try:
        return _known(error) or _failed(error)
    except BaseException as problem:  # an attribute of the exception is its own code
        return _failed(problem)


def unless_unwanted(failure: Failure | None, context: Context) -> Failure | None:
    """How a handler ended: by its cancellation, if it failed since or returned having looked."""
    has_looked = context.has_seen_cancellation
    if context.cancelled and (failure or has_looked):
        return Failure(FailureKind.UNWANTED, "cancelled")
    return failure


def _known(error: BaseException) -> Failure | None:
    """What the exceptions that the worker knows mean; None for all others."""
    kind = type(error)  # `isinstance` would also believe what `__class__` pretends
    if issubclass(kind, Retry):
        return Failure(FailureKind.RETRY, "retry", delay_seconds=checked_delay(error.delay_seconds))  # type: ignore[attr-defined]
    if issubclass(kind, DeadLetter):
        return Failure(FailureKind.DEAD_LETTER, text_of(error.reason, LONGEST_TEXT))  # type: ignore[attr-defined]
    if issubclass(kind, UnknownType):
        return Failure(FailureKind.UNKNOWN_TYPE, text_of(error, LONGEST_TEXT))
    if issubclass(kind, InvalidPayload):
        return Failure(FailureKind.INVALID_PAYLOAD, text_of(error, LONGEST_TEXT))
    if issubclass(kind, HandlerTimeout):
        return Failure(FailureKind.TIMEOUT, text_of(error))
    if issubclass(kind, asyncio.CancelledError):
        return _failed(error, FailureKind.CANCELLED)
    return None


def _failed(error: BaseException, kind: FailureKind = FailureKind.ERROR) -> Failure:
    text = f"{type_name(error)}: {text_of(error, LONGEST_REASON)}"
    short = text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
    return Failure(kind, short, formatted(error))


# What is kept beside a dead letter: enough for a traceback's end, small enough for thousands of them.
MAX_DETAIL_CHARACTERS = 4000


class RetryPolicy(NamedTuple):
    """How failures are repeated.

    Attributes:
        max_attempts: failures of the handler before a message becomes a dead letter; with 1 the first one
            is final and the message goes to the failed ones. What ended with its worker is no attempt.
    """

    max_attempts: int = 3
    initial_seconds: float = 1.0
    max_seconds: float = 300.0

    def delay_seconds(self, attempt: int) -> float:
        """How long to wait after the `attempt`-th failure: doubled each time, up to a quarter of jitter."""
        base = doubled(self.initial_seconds, attempt, self.max_seconds)
        return min(base + spread(base / 4), LONGEST_DELAY_SECONDS)

    def settlement(self, claim: Claim, failure: Failure | None) -> Settlement:
        """What becomes of `claim` after its handler returned (`failure` is None) or failed."""
        if failure is None:
            return Settlement(claim, Outcome.DONE)
        match failure:
            case Failure(kind=FailureKind.RETRY, delay_seconds=delay):
                returned = claim.delivery_count - claim.lost_leases
                chosen = self.delay_seconds(returned) if delay is None else delay
                return Settlement(claim, Outcome.RETRY, delay_seconds=chosen, reason=failure.text)
            case Failure(kind=FailureKind.UNWANTED):
                return Settlement(claim, Outcome.CANCELLED, reason=failure.text)
            case Failure(kind=FailureKind.DEAD_LETTER):
                return Settlement(claim, Outcome.DEAD, reason=failure.text)
            case Failure(kind=FailureKind.INVALID_PAYLOAD):
                return Settlement(claim, Outcome.DEAD, reason=f"invalid payload: {failure.text}")
        reason = f"timeout: {failure.text}" if failure.kind is FailureKind.TIMEOUT else failure.text
        detail = failure.detail[-MAX_DETAIL_CHARACTERS:]
        if self.max_attempts == 1 and failure.kind is not FailureKind.UNKNOWN_TYPE:
            return Settlement(claim, Outcome.FAILED, reason=reason, detail=detail, failed=True)
        attempt = claim.failures + 1
        if attempt >= self.max_attempts:
            spent = f"{reason} (attempt {attempt} of {self.max_attempts})"
            return Settlement(claim, Outcome.DEAD, reason=spent, detail=detail, failed=True)
        delay = self.delay_seconds(attempt)
        return Settlement(claim, Outcome.RETRY, delay_seconds=delay, reason=reason, failed=True)


def doubled(first_seconds: float, attempt: int, most_seconds: float) -> float:
    """Exponential backoff: `first_seconds` after the first failure, twice as much after each further one."""
    return min(most_seconds, first_seconds * 2.0 ** min(max(0, attempt - 1), 1000))


def spread(most_seconds: float) -> float:
    """Any time from 0 to `most_seconds`, so that those that failed together do not try again together."""
    return random.uniform(0, most_seconds)  # noqa: S311  (spreads load, hides nothing)
