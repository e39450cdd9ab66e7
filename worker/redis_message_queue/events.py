"""What the library reports to an `on_event` callback, and how: of a queue, and of the gateway it waits on."""

from __future__ import annotations

import functools
import hashlib
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue._callbacks import report_callback_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue._flavour import Flavour
    from redis_message_queue._flow import Flow


class EventOperation(StrEnum):
    """What happened."""

    PUBLISH = "publish"
    PUBLISH_DEDUP_HIT = "publish_dedup_hit"
    CLAIM = "claim"
    CLAIM_EMPTY = "claim_empty"
    CLAIM_RECLAIM = "claim_reclaim"
    ACK = "ack"
    NACK = "nack"
    DLQ = "dlq"
    COMPLETED = "completed"
    FAILED = "failed"
    LEASE_RENEW = "lease_renew"
    LEASE_RENEW_FAILED = "lease_renew_failed"
    HEARTBEAT_STOP_TIMEOUT = "heartbeat_stop_timeout"
    STALE_LEASE_ACK = "stale_lease_ack"
    STALE_LEASE_NACK = "stale_lease_nack"
    CLEANUP_FAILED = "cleanup_failed"
    TRIM_FAILED = "trim_failed"
    RETRY_ATTEMPT = "retry_attempt"
    RETRY_EXHAUSTED = "retry_exhausted"
    DRAIN = "drain"


class EventOutcome(StrEnum):
    """How it ended; START is the beginning of what takes a while (a drain)."""

    SUCCESS = "success"
    FAILURE = "failure"
    SKIPPED = "skipped"
    START = "start"


@dataclass(frozen=True)
class QueueEvent:
    """One fact about one queue.

    `queue` is the queue's name, `destination_queue` a Redis key, `duration_ms` milliseconds, `error` the
    exception object itself (it may hold secrets of the handler: mind what is logged). Deliveries are counted
    under a limit only. The last two fields belong to a drain: its time limit, and the claims whose outcome is
    not known at that moment.
    """

    queue: str
    operation: EventOperation
    outcome: EventOutcome
    message_id: str | None = None
    claim_id: str | None = None
    lease_token_hash: str | None = None
    destination_queue: str | None = None
    exception_type: str | None = None
    duration_ms: float | None = None
    error: BaseException | None = None
    delivery_count: int | None = None
    max_delivery_count: int | None = None
    timeout_seconds: float | None = None
    pending_claim_ids: tuple[str, ...] | None = None


def hash_lease_token(token: str | None) -> str | None:
    """The first 16 hex digits of the token's SHA-256: enough to correlate, useless to settle with."""
    return None if token is None else hashlib.sha256(token.encode()).hexdigest()[:16]


class Emit(Protocol):
    """Report one event; fields are those of `QueueEvent`."""

    def __call__(self, operation: EventOperation, outcome: EventOutcome, **fields: object) -> Flow[None]: ...


def nothing(*_: object, **__: object) -> Flow[None]:
    """A flow that does nothing."""
    return
    yield  # pragma: no cover - makes it a flow


class Reporter:
    """Tells the callbacks of one queue what happened; what they do stays with them, except an exit."""

    def __init__(self, queue: str, on_event: Callable[..., Any] | None, flavour: Flavour) -> None:
        self._queue = queue
        self._flavour = flavour
        self.on_event = on_event

    def emit(self, operation: EventOperation, outcome: EventOutcome, **fields: Any) -> Flow[None]:
        """Tell `on_event`, if there is one."""
        if self.on_event is None:
            return
        error = fields.get("error")
        if error is not None:
            fields.setdefault("exception_type", type(error).__name__)
        event = QueueEvent(self._queue, operation, outcome, **fields)
        yield from self.guarded("on_event", functools.partial(self._flavour.call_event, self.on_event, event))

    def guarded(self, name: str, action: Callable[[], Any]) -> Flow[None]:
        """Call a callback, and report what it raises."""
        try:
            yield action
        except BaseException as error:
            if self._flavour.aborts(error):
                raise
            report_callback_failure(name, error)


@dataclass(frozen=True, slots=True)
class EventSink:
    """Where events go, whether the queue wants its waits to end, and where its delayed messages are."""

    emit: Emit = nothing
    stopped: Callable[[], bool] = lambda: False
    delayed: str | None = None


# Of the call in progress; outside any queue's call one that ignores everything. A context variable, so that
# queues sharing a gateway, threads and tasks never mix up, and nothing has to be registered or forgotten.
event_sink: ContextVar[EventSink] = ContextVar("redis_message_queue_event_sink", default=EventSink())  # noqa: B039 - frozen
