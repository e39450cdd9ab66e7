"""Where each queue is read, with which login, and what was read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.observe.facts import (
    FRESH_SECONDS,
    Observation,
    Others,
    QueueObservation,
    ServerObservation,
    WorkerObservation,
)
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from redis_message_queue.server import ServerFacts
    from redis_message_queue.stats import QueueSample
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.loop.memory import Tracked
    from redisqueue_operator.observe.facts import Fleet
    from redisqueue_operator.observe.redis.sampler import Sampler
    from redisqueue_operator.platform import Platform


SETTINGS_SECONDS, UNUSABLE_SETTINGS_SECONDS = 60.0, 5.0
"""How long settings are taken for those of today's Secrets."""
# Reasons that another Secret may mend.
LOGIN_REASONS = ("AuthenticationFailed", "TLSFailed")


class Reading:
    """Keeps the sampler at the right places; `clock` is the engine's."""

    def __init__(self, platform: Platform, sampler: Sampler[Key], clock: Callable[[], float]) -> None:
        self._platform = platform
        self._sampler = sampler
        self._clock = clock

    async def find(self, key: Key, tracked: Tracked) -> None:
        """Have the queue sampled at the right place with today's credentials."""
        assert tracked.rq is not None  # noqa: S101  (a parsed spec is why we are here)
        rq, last = tracked.rq, self._sampler.last(key)
        tracked.refused = isinstance(last, Exception) and unreadable(last)[0] in LOGIN_REASONS
        if self._clock() - tracked.settings_at >= settings_for(tracked):
            age = 0.0
            try:
                tracked.settings, age = await self._platform.settings(rq, fresh=tracked.refused)
                tracked.settings_error = None
            except (SettingsUnavailable, ValueError) as error:
                tracked.settings, tracked.settings_error = None, error
            # As old as the Secrets they were made from, which another object may have had read long before.
            age = min(age, SETTINGS_SECONDS - UNUSABLE_SETTINGS_SECONDS)
            tracked.settings_at = self._clock() - age
        if tracked.settings is None:
            self._sampler.unwatch(key)
            return
        queue, scaling = rq.spec.queue, rq.spec.scaling
        most = max(scaling.max_replicas, *(each.max_replicas or 0 for each in scaling.schedules), 0)
        scales_up = scaling.mode in ("Auto", "UpOnly") and most > 0 and rq.spec.replicas is None
        # What is deleted waits for one more sample: it does not rest.
        wake = scaling.wake == "Auto" and scales_up and not rq.deletion
        keys = QueueKeys(queue.name, queue.key_separator)
        self._sampler.watch(key, Watched(keys, tracked.settings, wake))

    def observation(self, key: Key, tracked: Tracked, fleet: Fleet) -> Observation:
        """What one decision is made from."""
        seen = tracked.settings_error or self._sampler.last(key)
        reason, message = (
            unreadable(seen) if seen is None or isinstance(seen, Exception) else ("Connected", "")
        )
        sampled = None if seen is None or isinstance(seen, Exception) else seen
        shared = sampled and tracked.rq and tracked.rq.spec.queue.sharing == "Shared"
        own = {name for pod in fleet.pods for name in (pod.uid, pod.name)}
        return Observation(
            queue=queue_of(sampled) if sampled else None,
            redis_reason=reason,
            redis_message=message,
            workers=workers_of(sampled, tracked.uid) if sampled else (),
            pods=fleet.pods,
            replicas=fleet.replicas,
            ready_replicas=fleet.ready_replicas,
            active_replica_sets=fleet.active_replica_sets,
            canaries=fleet.split.canary,
            server=server_of(self._sampler.server(key)),
            others=others_of(sampled, tracked.uid, own) if sampled and shared else Others(),
            replica_failure=fleet.replica_failure,
            overdue=fleet.overdue,
            unmade_seconds=self._unmade_seconds(tracked, fleet),
            unseen=fleet.unseen,
        )

    def _unmade_seconds(self, tracked: Tracked, fleet: Fleet) -> float:
        """How long already pods are missing and none comes."""
        now, made = self._clock(), (fleet.replicas, len(fleet.pods))
        if made != tracked.pods_made:
            tracked.pods_made, tracked.pods_made_at = made, now
        return now - tracked.pods_made_at if len(fleet.pods) < (fleet.replicas or 0) else 0.0


def settings_for(tracked: Tracked) -> float:
    """Seconds from `settings_at` until they are asked for again: a Secret may have changed."""
    usable = tracked.settings is not None and not tracked.refused
    return SETTINGS_SECONDS if usable else UNUSABLE_SETTINGS_SECONDS


def has_work(seen: QueueSample | Exception | None) -> bool:
    """Whether messages wait for somebody."""
    return seen is not None and not isinstance(seen, Exception) and seen.pending + seen.delayed_due > 0


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
