"""Our operator in the simulated world: `decide` is called as the engine calls it.

- A sample of Redis every 0.2 s (one queue) or every second (many), with the jitter of `sampler`; the first
  message of a queue that sleeps is sampled at once (the blocking pop).
- A decision when a sample has news, when a pod changed, and when the last decision asked for another look.
- A shrink first has its idle victims refuse messages. Who claimed since the sample stays.
- A write takes `WRITE_SECONDS`; nothing else is decided about the queue meanwhile.
- Redis unreadable: the samples say so, and so do decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.support.observations import pod as seen_pod
from tests.support.observations import queue as seen_queue
from tests.support.observations import seen

from redisqueue_operator.decide.plan import SETTLE_SECONDS
from redisqueue_operator.decide.scaling import History, decide, survivors, to_retire
from redisqueue_operator.observe.facts import WorkerObservation

if TYPE_CHECKING:
    import random

    from tests.simulate.timeline import Timeline
    from tests.simulate.world import Pod, World

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.budget.shares import Budgets
    from redisqueue_operator.decide.scaling import Decision, Policy
    from redisqueue_operator.observe.facts import Observation, QueueObservation

WAKE_SECONDS, WRITE_SECONDS = 0.005, 0.05
REPORT_AGE_SECONDS = 0.5
Sample = tuple["QueueObservation | None", tuple[WorkerObservation, ...]]


@dataclass(frozen=True, slots=True)
class Share:
    """The part that a queue has in RedisQueueBudgets."""

    budgets: Budgets
    queue: RedisQueue


PolicyAt = Callable[[float], "Policy"]
"""What holds at a simulated second."""


def always(policy: Policy) -> PolicyAt:
    """The same at all times."""
    return lambda _: policy


class Operator:
    """Scales the world by `policy`, from the samples that it takes every `sample_seconds`.

    With a `share` within what its budget leaves it.
    """

    def __init__(
        self,
        timeline: Timeline,
        world: World,
        policy: PolicyAt,
        random_: random.Random,
        sample_seconds: float = 0.2,
        share: Share | None = None,
    ) -> None:
        self._timeline = timeline
        self._world = world
        self._policy = policy
        self._random = random_
        self._sample_seconds = sample_seconds
        self._share = share
        self._history = History.fresh(timeline.now)
        self._sample: Sample | None = None
        self._news: object = None
        self._looks_at = math.inf
        self._writing = self._asleep = False
        self._scaled_at = -math.inf
        world.on_pods = self.notify
        world.on_publish = self._wake
        timeline.after(0.0, self._sample_for_ever)

    # When to look.

    def _sample_for_ever(self) -> None:
        self._take_sample()
        self._timeline.after(self._sample_seconds * self._random.uniform(0.9, 1.1), self._sample_for_ever)

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._timeline.after(WAKE_SECONDS, self._take_sample)

    def notify(self) -> None:
        """Something changed: look soon."""
        self._look_after(0.01)

    def _look_after(self, seconds: float) -> None:
        at = self._timeline.now + seconds
        if at >= self._looks_at or not math.isfinite(at):
            return
        self._looks_at = at

        def look() -> None:
            if self._looks_at <= self._timeline.now:
                self._looks_at = math.inf
                self._decide()

        self._timeline.at(at, look)

    # What to see.

    def _take_sample(self) -> None:
        redis, now = self._world.redis, self._timeline.now
        if redis.up:
            next_due = redis.next_due()
            queue = seen_queue(
                len(redis.pending),
                in_flight=len(redis.in_flight),
                expired=len(redis.expired),
                delayed=redis.delayed(),
                due=redis.due(now),
                next_due=None if next_due is None else next_due - now,
                dead_letter=redis.dead_letters,
                claims=redis.claims,
                at=1000.0 + now,
            )
            workers = tuple(report for pod in self._world.pods for report in self._reports(pod))
            self._asleep = not (queue.pending or queue.in_flight or workers)
            counts = (queue.pending, queue.delayed, queue.delayed_due, queue.in_flight, queue.expired)
            news = (*counts, queue.claims_total, [(w.id, w.busy, w.draining, w.retired) for w in workers])
            self._sample = queue, workers
        else:
            self._sample, news = (None, ()), None
        if news != self._news or self._news is None:
            self._news = news
            self._look_after(0.0)

    def _reports(self, pod: Pod) -> tuple[WorkerObservation, ...]:
        now = self._timeline.now
        if pod.ready:
            oldest = now - min(pod.running.values()) if pod.running else None
            busy, age = len(pod.running), REPORT_AGE_SECONDS
        elif pod.crashed_at is not None:  # its last words stay in Redis until it reports again
            oldest, busy, age = None, pod.busy_at_crash, now - pod.crashed_at
        else:
            return ()
        return (
            WorkerObservation(
                pod.name, f"uid-{pod.name}", pod.slots, busy, oldest, pod.terminating, age, pod.retired
            ),
        )

    def _observation(self) -> Observation:
        queue, workers = self._sample or (None, ())
        now = self._timeline.now
        pods = [
            seen_pod(
                pod.name,
                ready=pod.ready and not pod.terminating,
                terminating=pod.terminating,
                age=now - pod.created,
                failing="CrashLoopBackOff" if pod.crashed_at is not None and pod.crashes > 1 else "",
            )
            for pod in self._world.pods
        ]
        return seen(queue, pods, workers, replicas=self._world.replicas)

    # What to do.

    def _decide(self) -> None:
        if self._writing or self._sample is None:
            return
        observation = self._observation()
        share, policy = self._share, self._policy(self._timeline.now)
        if share is not None:
            policy = replace(policy, ceiling=share.budgets.ceiling(share.queue))
        decision, self._history = decide(observation, policy, self._history, self._timeline.now)
        if share is not None:
            share.budgets.claim(share.queue, observation, decision, grows=decision.changes)
            share.budgets.looked(share.queue.key)
        self._look_after(max(0.05, decision.recheck_after_seconds))
        if decision.changes:
            self._scale(decision, observation)
        elif names := survivors(observation):
            settles_in = self._scaled_at + SETTLE_SECONDS - self._timeline.now
            if settles_in > 0:
                self._look_after(settles_in)
            elif self._world.redis.up:
                self._world.unretire(names)

    def _scale(self, decision: Decision, observation: Observation) -> None:
        target, victims = decision.to_replicas, decision.victims
        asked = to_retire(decision, observation) if target < decision.from_replicas else ()
        if asked and not self._world.redis.up:
            return
        refused = set(asked) - set(self._world.retire(asked))
        if not decision.drain_busy:
            victims = tuple(name for name in victims if name not in refused)
            target += len(refused)
        if target == decision.from_replicas:
            return
        self._writing = True

        def write() -> None:
            self._writing, self._scaled_at = False, self._timeline.now
            self._world.scale(target, victims)
            self.notify()

        self._timeline.after(WRITE_SECONDS, write)
