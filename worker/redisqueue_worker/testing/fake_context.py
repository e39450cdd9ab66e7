"""A context without a worker and without Redis: it keeps what a handler asks of it."""

from __future__ import annotations

import copy
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from redis_message_queue.enqueue import EnqueueOptions, Receipt, entry
from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.context import Context
from redisqueue_worker.exceptions import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_LIMITS = PayloadLimits()


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A message that a handler put on a queue, by `enqueue` or `publish`.

    Attributes:
        payload: a copy of what the handler gave, neither text nor JSON yet; a shallow one, or none, where
            there can be no deep one (of a lock, say).
        message_id: None for one that was published, of which the handler learns no id either.
    """

    payload: object
    queue: str
    message_id: str | None = None
    priority: str = "normal"
    limit_key: str | None = None
    delay_seconds: float | None = None
    at: datetime | None = None
    deduplication_key: str | None = None
    deduplication_seconds: int | None = None
    at_front: bool = False


class _Recorder:
    """Takes messages as a queue does, refuses what that refuses, and sends nothing."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.enqueued: list[Enqueued] = []
        self._holders: dict[tuple[str, str], str | None] = {}
        self._lock = threading.Lock()

    def publish(self, payload: str | dict[str, Any], *, queue: str | None = None, **options: Any) -> bool:
        _LIMITS.text(payload)
        return bool(self._take(payload, queue, None, **options))

    def enqueue(
        self, payload: object, *, queue: str | None = None, message_id: str | None = None, **options: Any
    ) -> Receipt:
        name = queue or self.queue
        made = entry(payload, _LIMITS, QueueKeys(name), options["deduplication_key"], message_id)
        return self._take(payload, name, made.message_id, **options)

    def _take(
        self,
        payload: object,
        queue: str | None,
        message_id: str | None,
        *,
        deduplication_key: str | None,
        **options: Any,
    ) -> Receipt:
        chosen = EnqueueOptions(**options)
        chosen.check_keys(deduplication_key)
        message = Enqueued(
            _copied(payload),
            queue or self.queue,
            message_id,
            deduplication_key=deduplication_key,
            **options,
        )
        with self._lock:
            holder = (message.queue, deduplication_key)
            if deduplication_key is not None and holder in self._holders:
                return Receipt(message_id or "", enqueued=False, first_id=self._holders[holder])
            if deduplication_key is not None:
                self._holders[message.queue, deduplication_key] = message_id
            self.enqueued.append(message)
        return Receipt(message_id or "")


def _copied(payload: object) -> object:
    """A copy, as deep as there can be one: an object may hold more than what a queue writes of it."""
    for make in (copy.deepcopy, copy.copy):
        with suppress(Exception):  # the object's own code
            return make(payload)
    return payload


class ContextFacts(TypedDict, total=False):
    """What a context can be told; see `FakeContext`."""

    message_id: str | None
    queue: str
    deliveries: int
    enqueued_at: datetime | None
    trace: Mapping[str, str] | None
    timeout_seconds: float | None
    draining: bool
    lease_lost: bool
    cancelled: bool


class FakeContext(Context):
    """The second argument of a handler, for a call of it in a test.

    It has all that the worker's has. What the handler enqueues and publishes is checked as a queue does, kept
    in `enqueued`, and sent nowhere; a deduplication key that is taken makes a duplicate.

    Args:
        message_id: None for a message that was published without one.
        queue: the name of the queue that the message came from.
        deliveries: how often it was handed out, this time included.
        enqueued_at: when it was published, if its producer told.
        trace: the W3C trace fields that its producer sent along.
        timeout_seconds: the handler's timeout; from now on, for the deadline. None: there is no deadline.
        draining: whether the worker is about to stop.
        lease_lost: whether the message belongs to somebody else by now.
        cancelled: whether somebody has cancelled the message.

    Attributes:
        extended: the seconds of each `extend`.

    Raises ValueError for a fact that cannot be.
    """

    def __init__(
        self,
        *,
        message_id: str | None = "message-1",
        queue: str = "tests",
        deliveries: int = 1,
        enqueued_at: datetime | None = None,
        trace: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        draining: bool = False,
        lease_lost: bool = False,
        cancelled: bool = False,
    ) -> None:
        at_least_one("deliveries", deliveries)
        if timeout_seconds is not None and not checked_seconds("timeout_seconds", timeout_seconds):
            raise ValueError("timeout_seconds: 0 must be above 0; leave it out for no timeout")
        self._drain = threading.Event()
        self._recorder = _Recorder(queue)
        super().__init__(
            id=message_id,
            delivery_count=deliveries,
            timeout_seconds=timeout_seconds,
            draining=self._drain,
            publisher=self._recorder,
            payload="",
        )
        self._enqueued_at = enqueued_at and with_zone(enqueued_at)
        self._trace = dict(trace or {})
        self.extended: list[float] = []
        if draining:
            self.mark_draining()
        if lease_lost:
            self.mark_lease_lost()
        if cancelled:
            self.mark_cancelled()

    @property
    def enqueued(self) -> tuple[Enqueued, ...]:
        """What the handler enqueued and published so far, duplicates left out."""
        return tuple(self._recorder.enqueued)

    @property
    def enqueued_at(self) -> datetime | None:
        """As it was told."""
        return self._enqueued_at

    @property
    def trace(self) -> dict[str, str]:
        """As it was told."""
        return self._trace

    def extend(self, seconds: float) -> None:
        """As the worker's; also kept in `extended`."""
        super().extend(seconds)
        self.extended.append(float(seconds))

    def share(self, other: FakeContext) -> None:
        """Keep what is enqueued together with another one's."""
        self._recorder = self._publisher = other._recorder

    def mark_draining(self) -> None:
        """From now on the worker is about to stop."""
        self._drain.set()


def at_least_one(name: str, value: int) -> None:
    """Raise ValueError naming what is no whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: {value!r} must be a whole number, 1 or more")


def with_zone(moment: datetime) -> datetime:
    """The moment, if it has a time zone. Raises ValueError."""
    if moment.utcoffset() is None:
        raise ValueError(f"enqueued_at: {moment} must have a time zone, as datetime.now(UTC) has")
    return moment
