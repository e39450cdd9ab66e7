"""What was decided becomes a number of workers: retire the idle ones that go, write, give back who stays."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.apply.attempt import RETRY_SECONDS
from redisqueue_operator.apply.hindrance import hindrance_of
from redisqueue_operator.decide.canary import trial
from redisqueue_operator.decide.scaling import survivors, to_retire
from redisqueue_operator.loop.memory import LONG_AGO
from redisqueue_operator.platform import Conflict, PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.loop.memory import Tracked
    from redisqueue_operator.loop.reports import Reports
    from redisqueue_operator.loop.workqueue import WorkQueue
    from redisqueue_operator.observe.facts import Observation
    from redisqueue_operator.observe.redis.sampler import Sampler
    from redisqueue_operator.platform import Fleet, Platform
    from redisqueue_operator.serve.metrics import OperatorMetrics

log = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0


class Changes:
    """Carries decisions out; `clock` is the engine's."""

    def __init__(
        self,
        platform: Platform,
        sampler: Sampler[Key],
        queue: WorkQueue[Key],
        reports: Reports,
        *,
        clock: Callable[[], float],
        metrics: OperatorMetrics | None,
    ) -> None:
        self._platform = platform
        self._sampler = sampler
        self._queue = queue
        self._reports = reports
        self._clock = clock
        self._metrics = metrics

    def possible(self, tracked: Tracked, decision: Decision) -> Decision:
        """The decision, or that nothing changes while what was refused is not to be tried again yet."""
        if tracked.hindrance is None or not decision.changes or tracked.hindrance.until <= self._clock():
            return decision
        return decision.refused()

    async def carry_out(
        self,
        key: Key,
        tracked: Tracked,
        fleet: Fleet,
        observation: Observation,
        decision: Decision,
        raw: dict[str, Any],
    ) -> None:
        """Do what was decided, and report.

        What goes wrong here is told beside what was observed, not in its place.
        """
        if tracked.hindrance is not None and self._clock() < tracked.hindrance.until:
            await self._reports.report(key, tracked, raw)
            return
        try:
            changed = await self._change(key, tracked, fleet, observation, decision)
            if not changed:
                await self._recall(key, tracked, observation)
        except Exception as error:
            now = self._clock()
            told = not isinstance(error, PlatformError) or tracked.number.lasts(error, now)
            if isinstance(error, Conflict) and not told:
                raise
            tracked.decision = decision.refused()
            tracked.hindrance = hindrance_of(error, now) if told else None
            await self._reports.report(key, tracked, raw)
            if tracked.hindrance is None or tracked.hindrance.until <= self._clock():
                raise
            log.warning("%s: %s", key, tracked.hindrance.message)
            self._queue.add(key, after_seconds=RETRY_SECONDS)
            return
        tracked.hindrance = None
        tracked.number.succeeded()
        if not changed:
            await self._reports.report(key, tracked, raw)

    async def _change(
        self, key: Key, tracked: Tracked, fleet: Fleet, observation: Observation, decision: Decision
    ) -> bool:
        """Change the number of workers, if that was decided; whether it was changed."""
        if (
            decision.changes
            and tracked.rival is None
            and tracked.precedence.may_scale(tracked.outcome, self._clock())
            and (target := await self._scale(key, tracked, fleet, observation, decision)) is not None
        ):
            # The status waits for another turn: in a burst every queue gets workers before any gets a report.
            tracked.scaled, tracked.scaled_at = replace(decision, to_replicas=target), self._clock()
            tracked.status_looked_at = LONG_AGO
            self._queue.add(key)
            return True
        if tracked.outcome.ok and (split := trial.with_missing(tracked, fleet, decision)) is not None:
            assert tracked.rq is not None  # noqa: S101  (a parsed spec is why we are here)
            await self._platform.scale(tracked.rq, fleet, split, ())
            self._queue.add(key)
        return False

    async def _scale(
        self, key: Key, tracked: Tracked, fleet: Fleet, observation: Observation, decision: Decision
    ) -> int | None:
        """One write; the number written, if any.

        A shrink first has its idle victims refuse new messages: who claimed meanwhile stays.
        """
        target, victims = decision.to_replicas, decision.victims
        asked = to_retire(decision, observation) if target < decision.from_replicas else ()
        retired = await self._sampler.retire(key, asked) if asked else ()
        if not decision.drain_busy:
            refused = set(asked) - set(retired)
            victims = tuple(name for name in victims if name not in refused)
            target += len(refused)
        if target == decision.from_replicas:
            return None
        try:
            assert tracked.rq is not None  # noqa: S101  (a parsed spec is why we are here)
            split = trial.placed(tracked, fleet, target, victims)
            await self._platform.scale(tracked.rq, fleet, split, victims)
        except BaseException:
            if retired:
                await self._sampler.unretire(key, retired)
            raise
        log.info("%s: %d → %d (%s)", key, decision.from_replicas, target, decision.reason)
        if self._metrics is not None and target > decision.from_replicas and observation.queue is not None:
            self._metrics.reacted(self._sampler.age_of_news(key))
        return target

    async def _recall(self, key: Key, tracked: Tracked, observation: Observation) -> None:
        """Have workers claim again that were retired for a shrink which took others, once it has settled."""
        if not (names := survivors(observation)):
            return
        settles_in = tracked.scaled_at + SETTLE_SECONDS - self._clock()
        if settles_in > 0:
            self._queue.add(key, after_seconds=settles_in)
        else:
            await self._sampler.unretire(key, names)
