"""The control loop: what to look at (work queue), what is there (platform, sampler), what to do (pure).

Level-triggered: an event, a sample or a resync only says which RedisQueue to look at. Everything remembered
here is a cache or a history, and is rebuilt after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from typing import TYPE_CHECKING, Any, Literal

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.trouble import AWAY
from redisqueue_operator.apply.execute import execute
from redisqueue_operator.decide.canary import Rollout, trial
from redisqueue_operator.decide.look import LONG_AGO, Facts, Memory, Now
from redisqueue_operator.decide.plan import is_looked_at, plan_of
from redisqueue_operator.decide.queue_conflict import claimant_of
from redisqueue_operator.decide.remember import is_to_be_raised, remembered
from redisqueue_operator.decide.scaling import History, Policy, explain
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.interruptible import cancelled
from redisqueue_operator.loop.memory import Tracked, stand_in
from redisqueue_operator.loop.reports import Reports
from redisqueue_operator.loop.resync import Resync
from redisqueue_operator.loop.rows import row_of
from redisqueue_operator.loop.vitals import Vitals
from redisqueue_operator.loop.workqueue import WorkQueue
from redisqueue_operator.observe.facts import NOT_IN_FORCE
from redisqueue_operator.observe.redis.letters import LetterReasons
from redisqueue_operator.observe.redis.reading import Reading, has_work, settings_for
from redisqueue_operator.observe.redis.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.budget.shares import Budgets
    from redisqueue_operator.decide.look import Done, Plan
    from redisqueue_operator.decide.queue_conflict import Claimant
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.loop.rows import QueueRow
    from redisqueue_operator.observe.facts import Observation
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.observe.redis.letters import Letters
    from redisqueue_operator.platform import Platform
    from redisqueue_operator.serve.metrics import OperatorMetrics
    from redisqueue_operator.serve.page.history import PageHistory

log = logging.getLogger(__name__)

RESYNC_SECONDS = 300.0
AT_ONCE = 16


class Engine:
    """Runs the loop over any Platform.

    Args:
        platform: the world.
        clock: seconds, monotonic: for histories and intervals.
        wall: seconds since the epoch by the clock that dates the objects: for deadlines and for status.
        resync_seconds: how often every object is looked at whether or not anything was told.
        metrics: told of every reconcile; None tells nobody.
        page: told what is seen and changed, for plots; None keeps nothing.
        connect: makes the clients that read Redis.
        budgets: told what each RedisQueue wants, and asked what it may have; None limits nothing.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        resync_seconds: float = RESYNC_SECONDS,
        metrics: OperatorMetrics | None = None,
        page: PageHistory | None = None,
        connect: Connect = ConnectionSettings.connect_async,
        budgets: Budgets | None = None,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._wall = wall
        self._metrics = metrics
        self._page = page
        self._queue: WorkQueue[Key] = WorkQueue(clock=clock)
        self._tracked: dict[Key, Tracked] = {}
        self._claimants: dict[str, Claimant] = {}
        self._sampler: Sampler[Key] = Sampler(
            self._sampled, metrics.sampled if metrics else None, clock, connect=connect
        )
        self._reading = Reading(platform, self._sampler, clock)
        self._letters = LetterReasons(self._sampler, clock)
        self._reports = Reports(self._queue)
        self._resync = Resync(platform, self._look_at, resync_seconds, clock)
        self._budgets = budgets
        if budgets is not None:
            budgets.notify = self._queue.add
        self._running = False
        if metrics is not None:
            metrics.follow(self.vitals)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue or its children changed: look at it now; at a new one first."""
        self._queue.add(key, skip_backoff=True, urgent=key not in self._tracked)

    def _sampled(self, key: Key) -> None:
        """A sample of its queue says something else than the one before: where messages wait, look first."""
        self._queue.add(key, urgent=has_work(self._sampler.last(key)))

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
            told=self._sampler.told,
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
        if (tracked := self._tracked.get(key)) is None:
            return None
        memory = tracked.memory
        outcome, hindrance, seen = memory.outcome, memory.hindrance, memory.observation
        if tracked.rq is None or seen is None or seen.unseen or memory.decision is None:
            return [f"{outcome.reason}: {outcome.message or 'not looked at yet'}"]
        told = outcome.ok and outcome.reason not in NOT_IN_FORCE
        trouble = [] if told else [f"{outcome.reason}: {outcome.message}"]
        if hindrance is not None:
            trouble.append(f"{hindrance.reason}: {hindrance.message}")
        decided = explain(memory.decision, seen, Policy.of(tracked.rq.spec, self._wall()))
        return [*trouble, *decided, *trial.explained(memory.rollout)]

    async def letters(self, key: Key) -> Mapping[str, Letters]:
        """Why the latest letters of the queue were given up, by `SOURCES`: asked of Redis now."""
        return await self._letters.of(key)

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
            if self._budgets is not None and key not in self._tracked:
                self._budgets.expect([key])
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
            if self._budgets is not None:
                self._budgets.looked(key)
            self._reports.call_next(after=key)
            if self._metrics is not None:
                self._metrics.reconciled(outcome, self._clock() - started)

    async def _reconcile(self, key: Key) -> None:
        """Look, plan, do; where a step is refused, what else there is to do or to tell is done as well."""
        raw = await self._platform.get(key)
        if raw is None:
            await self._forget(key)
            return
        tracked = self._track(key, raw)
        if self._budgets is not None:
            self._budgets.begin(tracked.rq or stand_in(raw))
        failed: dict[str, Done] = {}
        crowded = self._reports.is_crowded(key)
        while True:
            facts = await self._look(key, tracked, raw, failed)
            now = Now(self._clock(), self._wall(), random.random(), crowded)  # noqa: S311
            plan = plan_of(facts, tracked.memory, now, failed)
            self._claim(facts, plan)
            done = await self._carry_out(key, tracked, plan, facts.rq, now)
            if not done.failed or done.failed in failed:
                break
            failed[done.failed] = done
            if isinstance(done.error, Conflict) and is_to_be_raised(tracked.memory, done, now.clock):
                raise done.error  # what was seen is not what there is
        for each in failed.values():
            if each.error is not None and is_to_be_raised(tracked.memory, each, self._clock()):
                raise each.error
            if each.error is not None:
                log.warning("%s: %s", key, each.hindrance.message if each.hindrance else each.error)

    def _claim(self, facts: Facts, plan: Plan) -> None:
        """What the queue has and wants of its budget, before anything is done about it."""
        observation, decision = facts.observation, plan.memory.decision
        if self._budgets is None:
            return
        if observation is None or observation.replicas is None or decision is None:
            self._budgets.hold(facts.rq)
        elif plan.memory.not_ours(self._clock()):
            self._budgets.hold(facts.rq, observation.replicas)
        else:
            grows = plan.scale is not None
            self._budgets.claim(facts.rq, observation, decision, grows=grows, at=self._wall())

    async def _carry_out(self, key: Key, tracked: Tracked, plan: Plan, rq: RedisQueue, now: Now) -> Done:
        if not plan.sampled:
            self._sampler.unwatch(key)
            tracked.settings, tracked.settings_at = None, LONG_AGO
        self._show(key, tracked, plan, now)
        with self._reports.writing() if plan.status is not None else contextlib.nullcontext():
            done = await execute(rq, plan, self._platform, self._sampler, now.clock)
        tracked.memory = remembered(plan, done, now)
        if plan.again < math.inf and not done.failed:
            self._queue.add(key, after_seconds=plan.again)
        if plan.untold:
            self._reports.wait(key)
        if done.returned:
            log.info("%s: %d messages of workers that had ended are pending again", key, done.returned)
            if self._metrics is not None:
                self._metrics.returned(key, done.returned)
        if plan.why and not done.failed:
            log.info("%s: deleted, %s", key, plan.why)
        if done.scaled is not None and plan.scale is not None and plan.scale.decision is not None:
            self._tell_scaled(key, plan.scale.decision, sum(done.scaled), plan.memory.observation)
        return done

    def _show(self, key: Key, tracked: Tracked, plan: Plan, now: Now) -> None:
        """Have metrics and page know what the status would be; of what is left alone they know nothing."""
        memory, shown = plan.memory, plan.shown
        if shown is None and not plan.sampled:
            if self._metrics is not None:
                self._metrics.observe(key, None, None)
            if self._page is not None:
                self._page.observe(key, None, None, (tracked.raw or {}).get("status") or {})
        if shown is None:
            return
        if self._metrics is not None:
            policy = Policy.of(tracked.rq.spec, now.wall) if tracked.rq is not None else None
            self._metrics.observe(
                key,
                memory.observation,
                memory.decision,
                shown["conditions"],
                limits=(policy.min_replicas, policy.max_replicas) if policy is not None else None,
            )
        if self._page is not None:
            self._page.observe(key, memory.observation, memory.decision, shown)

    def _tell_scaled(self, key: Key, decision: Decision, to: int, observation: Observation | None) -> None:
        log.info("%s: %d → %d (%s)", key, decision.from_replicas, to, decision.because)
        if self._page is not None:
            self._page.scaled(key, decision.from_replicas, to, decision.because)
        read = observation is not None and observation.queue is not None
        if self._metrics is not None and to > decision.from_replicas and read:
            self._metrics.reacted(self._sampler.age_of_news(key))

    async def _look(self, key: Key, tracked: Tracked, raw: dict[str, Any], failed: Collection[str]) -> Facts:
        """What there is to see of it."""
        rq = tracked.rq
        if rq is None:
            return Facts(raw, stand_in(raw), tracked.problem)
        if not is_looked_at(rq, tracked.memory, self._clock(), failed):
            return Facts(raw, rq)
        if not tracked.memory.yields(self._clock()):
            await self._reading.find(key, tracked)
        world = await self._platform.observe(rq)
        return Facts(
            raw,
            rq,
            fleet=world.fleet,
            children=world.children,
            observation=self._reading.observation(key, tracked, world.fleet),
            sample=self._sampler.last(key),
            claimants=self._claimants,
            settings_for=tracked.settings_at + settings_for(tracked) - self._clock(),
            ceiling=self._budgets.ceiling(rq) if self._budgets is not None else None,
        )

    def _track(self, key: Key, raw: dict[str, Any]) -> Tracked:
        """The memory of this object: a new one when the name was given to a new object."""
        tracked = self._tracked.get(key)
        uid = raw["metadata"]["uid"]
        if tracked is None or tracked.uid != uid:
            self._sampler.unwatch(key)
            status = raw.get("status") or {}
            memory = Memory(History.of_status(status, self._clock()), Rollout.of_status(status))
            self._drop(key)
            tracked = self._tracked[key] = Tracked(uid, memory)
        if tracked.take(raw):
            self._claimants.pop(uid, None)
            if tracked.rq is not None and not tracked.rq.deletion:  # it is here to stay
                self._claimants[uid] = claimant_of(tracked.rq)
        return tracked

    def _drop(self, key: Key) -> bool:
        """Forget the object that had this name; whether there was one."""
        if (tracked := self._tracked.pop(key, None)) is None:
            return False
        self._claimants.pop(tracked.uid, None)
        return True

    async def _forget(self, key: Key) -> None:
        self._sampler.unwatch(key)
        self._queue.forget(key)
        for told in (self._metrics, self._page):
            if told is not None:
                told.forget(key)
        self._reports.forget(key)
        if self._budgets is not None:
            self._budgets.forget(key)
        if self._drop(key):
            await self._platform.forget(key)
