"""A sample of the library → the plain data that decisions are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.fleet import FRESH_SECONDS
from redisqueue_operator.observe.facts import Others, QueueObservation, ServerObservation, WorkerObservation
from redisqueue_operator.observe.redis.errors import classify
from redisqueue_operator.platform import SettingsUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from redis_message_queue.server import ServerFacts
    from redis_message_queue.stats import QueueSample


def queue_of(sample: QueueSample) -> QueueObservation:
    """The queue's counters."""
    return QueueObservation(
        pending=sample.pending,
        delayed=sample.delayed,
        delayed_due=sample.delayed_due,
        next_due_seconds=sample.next_due_seconds,
        in_flight=sample.in_flight,
        expired=sample.expired,
        orphaned=sample.orphaned,
        failed=sample.failed,
        dead_letter=sample.dead_letter,
        claims_total=sample.claims_total,
        time_ms=sample.time_ms,
    )


def server_of(facts: ServerFacts | None) -> ServerObservation | None:
    """Whether messages are safe there; None when nobody asked yet."""
    return None if facts is None else ServerObservation(facts.concerns, facts.unknown)


def workers_of(sample: QueueSample, owner_uid: str) -> tuple[WorkerObservation, ...]:
    """The workers of one RedisQueue; others may consume from the same queue. All ages are by Redis' clock."""
    return tuple(
        WorkerObservation(
            id=worker.id,
            pod_uid=worker.pod_uid,
            slots=worker.slots,
            busy=worker.busy,
            oldest_start_age_seconds=(
                None if worker.oldest_start_ms is None else (sample.time_ms - worker.oldest_start_ms) / 1000
            ),
            draining=worker.draining,
            age_seconds=(sample.time_ms - worker.updated_ms) / 1000,
            retired=worker.retired,
            tripped=worker.tripped,
        )
        for worker in sample.workers
        if worker.owner_uid in ("", owner_uid)
    )


def others_of(sample: QueueSample, owner_uid: str, own_pods: Collection[str]) -> Others:
    """The workers of nobody and of other RedisQueues that go on claiming; `own_pods` are uids and names."""
    slots = busy = 0
    for worker in sample.workers:
        ours = worker.owner_uid == owner_uid or worker.pod_uid in own_pods or worker.id in own_pods
        leaves = worker.draining or worker.retired or worker.tripped
        if not ours and not leaves and sample.time_ms - worker.updated_ms < FRESH_SECONDS * 1000:
            slots, busy = slots + worker.slots, busy + worker.busy
    return Others(slots, busy)


def unreadable(error: Exception | None) -> tuple[str, str]:
    """Why there is no sample: a reason for conditions (empty: not sampled yet) and a message for people."""
    if error is None:
        return "", ""
    if isinstance(error, SettingsUnavailable):
        return error.reason, str(error)
    return classify(error)
