"""The control loop: what to look at (work queue), what is there (platform, sampler), what to do (pure).

Level-triggered: an event, a sample or a resync only says which RedisQueue to look at. Everything remembered
here is a cache or a history, and is rebuilt after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.trouble import AWAY
from redisqueue_operator.apply.changes import Changes
from redisqueue_operator.decide.canary import Rollout, Stage, trial
from redisqueue_operator.decide.finalizer import is_held, may_go, refused, shall_be_held, workers_vanished
from redisqueue_operator.decide.queue_conflict import claimant_of, conflict_message, owners_of, rival_of
from redisqueue_operator.decide.scaling import (
    Decision,
    History,
    Policy,
    decide,
    explain,
)
from redisqueue_operator.decide.status.conditions import unmade_in_seconds
from redisqueue_operator.decide.version_skew import ANSWER_SECONDS, FOREIGN
from redisqueue_operator.interruptible import cancelled
from redisqueue_operator.loop.memory import (
    LONG_AGO,
    NO_SPEC,
    Tracked,
    stand_in,
)
from redisqueue_operator.loop.reports import Reports
from redisqueue_operator.loop.resync import Resync
from redisqueue_operator.loop.rows import row_of
from redisqueue_operator.loop.vitals import Vitals
from redisqueue_operator.loop.workqueue import WorkQueue
from redisqueue_operator.observe.facts import NOT_IN_FORCE, ApplyOutcome, Observation
from redisqueue_operator.observe.redis.reading import Reading
from redisqueue_operator.observe.redis.sampler import Sampler
from redisqueue_operator.platform import Conflict, PlatformError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.apply.attempt import Attempt
    from redisqueue_operator.decide.queue_conflict import Claimant
    from redisqueue_operator.loop.rows import QueueRow
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.platform import Platform
    from redisqueue_operator.serve.metrics import OperatorMetrics

T = TypeVar("T")
log = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
AT_ONCE = 16
DELETION_LOOK_SECONDS = 0.5


class Engine:
    """Runs the loop over any Platform.

    Args:
        platform: the world.
        clock: seconds, monotonic: for histories and intervals.
        wall: seconds since the epoch by the clock that dates the objects: for deadlines and for status.
        resync_seconds: how often every object is looked at whether or not anything was told.
        metrics: told of every reconcile; None tells nobody.
        connect: makes the clients that read Redis.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        resync_seconds: float = RESYNC_SECONDS,
        metrics: OperatorMetrics | None = None,
        connect: Connect = ConnectionSettings.connect_async,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._wall = wall
        self._metrics = metrics
        self._queue: WorkQueue[Key] = WorkQueue(clock=clock)
        self._tracked: dict[Key, Tracked] = {}
        self._sampler: Sampler[Key] = Sampler(
            self._queue.add, metrics.sampled if metrics else None, clock, connect=connect
        )
        self._reading = Reading(platform, self._sampler, clock)
        self._reports = Reports(platform, self._queue, clock=clock, wall=wall, metrics=metrics)
        self._changes = Changes(
            platform, self._sampler, self._queue, self._reports, clock=clock, metrics=metrics
        )
        self._resync = Resync(platform, self._look_at, resync_seconds, clock)
        self._running = False
        if metrics is not None:
            metrics.follow(self.vitals)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue or its children changed: look at it now."""
        self._queue.add(key, skip_backoff=True)

    def resync_soon(self) -> None:
        """Something may have been missed: list everything again."""
        self._resync.soon()

    def vitals(self) -> Vitals:
        """How this loop does; all zero while it does not run."""
        if not self._running:
            return Vitals()
        return Vitals(
            depth=self._queue.waiting(),
            endpoints=self._sampler.endpoints,
            sleepers=self._sampler.sleepers,
            loop_age_seconds=self._queue.stuck_seconds(),
            resync_age_seconds=self._clock() - self._resync.tried_at,
            sample_age_seconds=self._sampler.silent_seconds(),
        )

    def snapshot(self) -> list[QueueRow]:
        """What was last seen and decided, by namespace and name."""
        return [
            row_of(key, tracked)
            for key, tracked in sorted(self._tracked.items(), key=lambda item: str(item[0]))
        ]

    def explain(self, key: Key) -> list[str] | None:
        """The last decision with all it was made from, line by line; None when the key is not known."""
        tracked = self._tracked.get(key)
        if tracked is None:
            return None
        if tracked.rq is None or tracked.observation is None or tracked.decision is None:
            return [f"{tracked.outcome.reason}: {tracked.outcome.message or 'not looked at yet'}"]
        told = tracked.outcome.ok and tracked.outcome.reason not in NOT_IN_FORCE
        trouble = [] if told else [f"{tracked.outcome.reason}: {tracked.outcome.message}"]
        if tracked.hindrance is not None:
            trouble.append(f"{tracked.hindrance.reason}: {tracked.hindrance.message}")
        decided = explain(tracked.decision, tracked.observation, Policy.of(tracked.rq.spec))
        return [*trouble, *decided, *trial.explained(tracked)]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises what no retry can mend."""
        self._running = True
        tasks = [asyncio.create_task(self._work(), name=f"reconcile {n}") for n in range(AT_ONCE)]
        tasks.append(asyncio.create_task(self._resync.run(), name="resync"))
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._running = False
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
            await self._sampler.close()

    def _look_at(self, present: Iterable[Key]) -> None:
        """All that there is, and all that is remembered and may be gone."""
        for key in {*present, *self._tracked}:
            self._queue.add(key)

    async def _work(self) -> None:
        await self._resync.first()
        while not cancelled():
            key = await self._queue.get()
            started = self._clock()
            outcome: Literal["ok", "conflict", "error"] = "ok"
            try:
                await self._reconcile(key)
            except Conflict as conflict:
                outcome = "conflict"
                log.debug("%s: %s; again in %.2f s", key, conflict, self._queue.failed(key))
            except Exception as error:
                outcome = "error"
                known = isinstance(error, (*AWAY, PlatformError))
                seconds = self._queue.failed(key)
                log.warning("%s: %s; again in %.1f s", key, error, seconds, exc_info=None if known else error)
            else:
                self._queue.done(key)
            if self._metrics is not None:
                self._metrics.reconciled(outcome, self._clock() - started)

    async def _reconcile(self, key: Key) -> None:
        raw = await self._platform.get(key)
        if raw is None:
            await self._forget(key)
            return
        tracked = self._track(key, raw)
        rq = tracked.rq
        if rq is None or (rq.deletion and not is_held(rq)):
            await self._without_spec(key, tracked, raw)
            return
        if is_held(rq) == shall_be_held(rq):
            if not rq.deletion:
                tracked.finalizer.succeeded()
        elif await self._hold(key, tracked, rq, shall_be_held(rq)):
            self._queue.add(key)
            return
        tracked.outcome = self._with_finalizer(tracked, rq, await self._apply(key, tracked, rq))
        if self._yields(key, tracked, raw):
            return
        if tracked.outcome.reason == FOREIGN and tracked.precedence.may_scale(tracked.outcome, self._clock()):
            await self._platform.take_over(rq)
            self._queue.add(key)
            return
        fleet = trial.seen_as(await self._platform.observe(rq), tracked)
        await self._reading.find(key, tracked)
        observation = self._reading.observation(key, tracked, fleet)
        decision, tracked.history = decide(observation, Policy.of(rq.spec), tracked.history, self._clock())
        decision = self._changes.possible(tracked, decision)
        tracked.observation, tracked.decision = observation, decision
        self._recheck(key, tracked, decision)
        if rq.deletion and await self._let_go(key, tracked, rq, observation):
            return
        if tracked.outcome.ok and trial.look(tracked, fleet, self._sampler.last(key), self._wall()):
            # It is written down before anything is done about it.
            tracked.status_looked_at = LONG_AGO
            self._queue.add(key)
            await self._reports.report(key, tracked, raw)
            return
        await self._changes.carry_out(key, tracked, fleet, observation, decision, raw)

    def _track(self, key: Key, raw: dict[str, Any]) -> Tracked:
        """The memory of this object: a new one when the name was given to a new object."""
        tracked = self._tracked.get(key)
        uid = raw["metadata"]["uid"]
        if tracked is None or tracked.uid != uid:
            self._sampler.unwatch(key)
            tracked = self._tracked[key] = Tracked(uid, History.fresh(self._clock()))
            tracked.rollout = Rollout.of_status(raw.get("status") or {})
        tracked.take(raw)
        return tracked

    async def _apply(self, key: Key, tracked: Tracked, rq: RedisQueue) -> ApplyOutcome:
        """Make the children what the spec says, unless somebody has the older right to the queue."""
        choose = trial.chooser(tracked)
        tracked.rival = self._rival(key, tracked, rq)
        if tracked.rival is not None:
            return ApplyOutcome(False, "Conflict", conflict_message(tracked.rival))
        if rq.deletion:  # what runs may go on; nothing new is made for an object that leaves
            return ApplyOutcome(True, "Deleting", "The queue is emptied first, as deletionPolicy says.")
        done = await self._attempt(key, tracked.children, lambda: self._platform.apply(rq, choose))
        if not isinstance(done, PlatformError):
            return done
        if isinstance(done, Conflict):
            text = f"Something else changes the children all the time: {done}"
            return ApplyOutcome(False, "ApplyConflict", text)
        return ApplyOutcome(False, "ApplyRefused", str(done))

    async def _attempt(
        self, key: Key, attempt: Attempt, write: Callable[[], Awaitable[T]]
    ) -> T | PlatformError:
        """The answer to a write, or why there is none for now: that hides nothing of what is observed."""
        now = self._clock()
        if attempt.error is None or attempt.until <= now:
            try:
                answer = await write()
            except PlatformError as error:
                if not attempt.lasts(error, now):
                    raise
                log.warning("%s: %s", key, error)
            else:
                attempt.succeeded()
                return answer
        assert attempt.error is not None  # noqa: S101  (else it was raised)
        self._queue.add(key, after_seconds=max(0.05, attempt.until - now))
        return attempt.error

    async def _hold(self, key: Key, tracked: Tracked, rq: RedisQueue, held: bool) -> bool:
        """Put our finalizer on, or take it off; whether that was done."""
        done = await self._attempt(key, tracked.finalizer, lambda: self._platform.hold(rq, held))
        return not isinstance(done, PlatformError)

    def _with_finalizer(self, tracked: Tracked, rq: RedisQueue, outcome: ApplyOutcome) -> ApplyOutcome:
        """The outcome, or that the finalizer is refused, where all else is well."""
        words = tracked.finalizer.error
        return refused(rq, words) if words is not None and outcome.ok else outcome

    def _yields(self, key: Key, tracked: Tracked, raw: dict[str, Any]) -> bool:
        """Whether a newer operator is at work on this object: then nothing of it is read or written."""
        tracked.precedence = tracked.precedence.after(tracked.outcome, raw.get("status"), self._clock())
        if not tracked.precedence.may_scale(tracked.outcome, self._clock()):
            self._queue.add(key, after_seconds=ANSWER_SECONDS)
        seconds = tracked.precedence.yields_until - self._clock()
        if seconds > 0:
            self._sampler.unwatch(key)
            self._queue.add(key, after_seconds=seconds)
        return seconds > 0

    def _rival(self, key: Key, tracked: Tracked, rq: RedisQueue) -> Claimant | None:
        sample = self._sampler.last(key)
        if sample is None or isinstance(sample, Exception):
            return tracked.rival  # unknown: as it was
        pods = {pod.uid for pod in tracked.observation.pods} if tracked.observation else set()
        owners = owners_of(sample, rq.uid, pods)
        if tracked.rival is None and owners <= {rq.uid}:
            return None
        known = {
            each.uid: claimant_of(each.rq)
            for each in self._tracked.values()
            if each.rq is not None and not each.rq.deletion
        }
        return rival_of(claimant_of(rq), owners, known, tracked.rival)

    async def _without_spec(self, key: Key, tracked: Tracked, raw: dict[str, Any]) -> None:
        """A spec that says nothing usable, or an object on its way out: touch nothing that runs."""
        self._sampler.unwatch(key)
        tracked.settings, tracked.settings_at = None, LONG_AGO
        if tracked.rq is not None:
            return
        tracked.outcome = replace(NO_SPEC, message=tracked.problem)
        tracked.decision = tracked.observation = None
        identity = stand_in(raw)
        if identity.deletion and is_held(identity):
            if await self._hold(key, tracked, identity, False):
                return
            tracked.outcome = replace(refused(identity, tracked.finalizer.error), ok=False)
        await self._reports.report(key, tracked, raw)

    async def _let_go(self, key: Key, tracked: Tracked, rq: RedisQueue, observation: Observation) -> bool:
        """End the wait of a deletion when its queue has been emptied, or cannot be."""
        if tracked.deletion_seen_ms is None:
            tracked.deletion_seen_ms = observation.queue.time_ms if observation.queue else 0
        why = may_go(rq, observation, tracked.deletion_seen_ms, self._wall())
        if not why:
            self._queue.add(key, after_seconds=DELETION_LOOK_SECONDS)
            return False
        event = workers_vanished(observation)
        if event is not None and tracked.finalizer.error is None:
            await self._reports.tell(rq, event)  # a namespace that ends takes none
        if await self._hold(key, tracked, rq, False):
            log.info("%s: deleted, %s", key, why)
            return True
        tracked.outcome = self._with_finalizer(tracked, rq, tracked.outcome)
        return False

    def _recheck(self, key: Key, tracked: Tracked, decision: Decision) -> None:
        """Time alone can change the answer, and so can a Secret."""
        settings = tracked.settings_at + tracked.settings_for - self._clock()
        looks = trial.LOOK_SECONDS if tracked.stage is Stage.CANARY else math.inf
        hindered = tracked.hindrance.until - self._clock() if tracked.hindrance else math.inf
        again = min(tracked.outcome.again_after_seconds, looks, hindered)
        unmade = unmade_in_seconds(tracked.observation) if tracked.observation else math.inf
        soonest = min(decision.recheck_after_seconds, settings, again, unmade)
        self._queue.add(key, after_seconds=max(0.05, soonest))

    async def _forget(self, key: Key) -> None:
        self._sampler.unwatch(key)
        self._queue.forget(key)
        if self._metrics is not None:
            self._metrics.forget(key)
        if self._tracked.pop(key, None) is not None:
            await self._platform.forget(key)
