"""How a handler ended, as plain data.

An exception is the handler's own code: its text, its class, its causes and notes may raise, lie, or be as
large as they like. So it is made harmless once, where the handler ran; nothing but this goes on to the claim
loop, through a process slot's pipe or into a log line.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import NamedTuple

from redisqueue_worker.outcomes import DeadLetter, Retry, checked_delay
from redisqueue_worker.payload import InvalidPayload
from redisqueue_worker.texts import text_of, type_name
from redisqueue_worker.tracebacks import formatted

LONGEST_REASON = 200
# A dead letter's reason is the handler's own words.
LONGEST_TEXT = 1000


class HandlerTimeout(Exception):
    """The handler ran longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"ran for {seconds:.1f} s")


class Cause(StrEnum):
    """What kind of end it was."""

    RETRY = "retry"  # the handler wants the message again
    DEAD_LETTER = "dead letter"  # the handler never wants it again
    INVALID_PAYLOAD = "invalid payload"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"  # an async handler, by the worker or by itself
    ERROR = "error"


class Failure(NamedTuple):
    """What a handler raised.

    Attributes:
        text: why, in a few words.
        detail: the traceback, of what nobody asked for.
        delay_seconds: what a RETRY asked for; None for the worker's own backoff.
    """

    cause: Cause
    text: str
    detail: str = ""
    delay_seconds: float | None = None


def failure_of(error: BaseException) -> Failure:
    """What `error` says. Never raises."""
    try:
        return _known(error) or _failed(error)
    except BaseException as problem:  # an attribute of the exception is its own code
        return _failed(problem)


def _known(error: BaseException) -> Failure | None:
    """What the exceptions that the worker knows mean; None for all others."""
    kind = type(error)  # `isinstance` would also believe what `__class__` pretends
    if issubclass(kind, Retry):
        return Failure(Cause.RETRY, "retry", delay_seconds=checked_delay(error.delay_seconds))  # type: ignore[attr-defined]
    if issubclass(kind, DeadLetter):
        return Failure(Cause.DEAD_LETTER, text_of(error.reason, LONGEST_TEXT))  # type: ignore[attr-defined]
    if issubclass(kind, InvalidPayload):
        return Failure(Cause.INVALID_PAYLOAD, text_of(error, LONGEST_TEXT))
    if issubclass(kind, HandlerTimeout):
        return Failure(Cause.TIMEOUT, text_of(error))
    if issubclass(kind, asyncio.CancelledError):
        return _failed(error, Cause.CANCELLED)
    return None


def _failed(error: BaseException, cause: Cause = Cause.ERROR) -> Failure:
    text = f"{type_name(error)}: {text_of(error, LONGEST_REASON)}"
    short = text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
    return Failure(cause, short, formatted(error))
