"""Where each queue is read, with which login, and what was read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.loop.memory import SETTINGS_SECONDS, UNUSABLE_SETTINGS_SECONDS
from redisqueue_operator.observe.facts import Observation, Others
from redisqueue_operator.observe.redis.observed import others_of, queue_of, server_of, unreadable, workers_of
from redisqueue_operator.observe.redis.sampler import Watched
from redisqueue_operator.platform import SettingsUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.loop.memory import Tracked
    from redisqueue_operator.observe.redis.sampler import Sampler
    from redisqueue_operator.platform import Fleet, Platform

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
        if self._clock() - tracked.settings_at >= tracked.settings_for:
            age = 0.0
            try:
                tracked.settings, age = await self._platform.connection_settings(rq, fresh=tracked.refused)
                tracked.settings_error = None
            except (SettingsUnavailable, ValueError) as error:
                tracked.settings_error = error
            # As old as the Secrets they were made from, which another object may have had read long before.
            age = min(age, SETTINGS_SECONDS - UNUSABLE_SETTINGS_SECONDS)
            tracked.settings_at = self._clock() - age
        if tracked.settings_error is not None or tracked.settings is None:
            self._sampler.unwatch(key)
            return
        queue, scaling = rq.spec.queue, rq.spec.scaling
        scales_up = (
            scaling.mode in ("Auto", "UpOnly") and scaling.max_replicas > 0 and rq.spec.replicas is None
        )
        wake = scaling.wake == "Auto" and scales_up
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
        )
