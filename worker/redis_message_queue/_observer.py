"""How a gateway reports to the queue that is waiting on it.

A context variable carries it, so that queues sharing a gateway, threads and tasks never mix up, and nothing
has to be registered or forgotten.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue._effects import Flow
    from redis_message_queue.events import EventOperation, EventOutcome


class Emit(Protocol):
    """Report one event; fields are those of `QueueEvent`."""

    def __call__(self, operation: EventOperation, outcome: EventOutcome, **fields: object) -> Flow[None]: ...


def nothing(*_: object, **__: object) -> Flow[None]:
    """A flow that does nothing."""
    return
    yield  # pragma: no cover - makes it a flow


@dataclass(frozen=True, slots=True)
class Observer:
    """Where events go, whether the queue wants its waits to end, and where its delayed messages are."""

    emit: Emit = nothing
    stopped: Callable[[], bool] = lambda: False
    delayed: str | None = None


_current: ContextVar[Observer] = ContextVar("redis_message_queue_observer", default=Observer())  # noqa: B039 - frozen


def current() -> Observer:
    """The observer of the call in progress; outside any queue's call one that ignores everything."""
    return _current.get()


class observed_by(AbstractContextManager[None]):  # noqa: N801 - reads as the function it could be
    """Make `observer` current for a block."""

    __slots__ = ("_observer", "_token")

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __enter__(self) -> None:
        self._token = _current.set(self._observer)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
