"""The words between a worker and the process of one of its slots."""

from __future__ import annotations

import traceback
from typing import NamedTuple

from redisqueue_worker.outcomes import DeadLetter, Retry
from redisqueue_worker.payload import InvalidPayload


class Work(NamedTuple):
    """To the process: handle this. It answers with Extended, as often as it likes, and then Ended."""

    payload: str | bytes
    id: str | None
    delivery_count: int
    remaining_seconds: float | None


class News(NamedTuple):
    """To the process: what changed for the message that it has in hand."""

    draining: bool
    lease_lost: bool


class Ready(NamedTuple):
    """From the process, its first word: the handler is there, or `problem` says why not."""

    problem: Exception | None = None


class Extended(NamedTuple):
    """From the process: the handler moved its deadline."""

    seconds: float


class Failure(NamedTuple):
    """What the handler raised, without the exception itself, which need not survive a pipe.

    Attributes:
        ours: the class is one that the worker gives a meaning to, not one of the handler's own.
    """

    name: str
    text: str
    detail: str = ""
    delay_seconds: float | None = None
    ours: bool = True


class Ended(NamedTuple):
    """From the process: the handler returned, or raised. `worn` says why the process wants to be replaced."""

    failure: Failure | None
    worn: str


def described(error: BaseException) -> Failure:
    """`error` as it goes through the pipe."""
    match error:
        case Retry(delay_seconds=delay):
            return Failure(Retry.__name__, "", delay_seconds=delay)
        case DeadLetter(reason=reason):
            return Failure(DeadLetter.__name__, reason)
        case InvalidPayload():
            return Failure(InvalidPayload.__name__, str(error))
    return Failure(type(error).__name__, str(error), "".join(traceback.format_exception(error)), ours=False)


class _RemoteTraceback(Exception):
    """Shows where in its own process a handler raised."""


def rebuilt(failure: Failure) -> BaseException:
    """An exception that means what the handler raised on the other side of the pipe."""
    if failure.ours:
        match failure.name:
            case Retry.__name__:
                return Retry(failure.delay_seconds)
            case DeadLetter.__name__:
                return DeadLetter(failure.text)
            case InvalidPayload.__name__:
                return InvalidPayload(failure.text)
    # Not the class itself, which only the handler's process knows: its name and text are what gets told.
    error: BaseException = type(failure.name, (Exception,), {})(failure.text)
    error.__cause__ = _RemoteTraceback(f"\n{failure.detail}")
    return error
