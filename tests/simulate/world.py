"""Producers, Redis, a Deployment and its pods. Whoever scales sees the same world and has the same levers.

Assumptions, the same for every scaler:

- The cluster has room. A pod is ready two to four seconds after it was asked for (its image is on the node).
- A waiting message is claimed at once by the worker that has been idle for longest.
- A pod that is asked to go (SIGTERM) claims nothing more and finishes what it runs, until its grace ends.
- A message whose handler was cut off is delivered again, and done from the start: at once with our drain, and
  when its lease has run out where the process was killed.
- A process that dies is started again: at once, then after 10, 20, 40 … 300 s, as a kubelet does
  (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy).
- What the queue's limits let begin, begins as soon as they do; all workers together keep to them.
- While Redis is away nothing is published, claimed or settled; handlers go on, and their leases are renewed
  as soon as it is back.
- A pod that a ResourceQuota refuses is asked for again 5 ms later, then twice as late each time and up to
  1000 s, and at once when the number or a pod of this Deployment changes: so a ReplicaSet's controller does
  (https://pkg.go.dev/k8s.io/client-go/util/workqueue#DefaultTypedControllerRateLimiter).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulate.redis_model import MAX_ATTEMPTS, VISIBILITY_TIMEOUT_SECONDS, Message, RedisModel

from redisqueue_operator.decide.scaling.limits import NO_LIMITS, Limits

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from tests.simulate.timeline import Timeline

START_UP_SECONDS = (2.0, 4.0)
EXIT_SECONDS = 0.3
HEARTBEATS = 4
CALM_SECONDS = 600.0
ON_ITS_WAY_SECONDS = 0.2
"""More than a write takes that anybody here makes."""


@dataclass(frozen=True, slots=True)
class Grace:
    """How long a pod may take to go; then it hands back what it runs, or is killed in the middle of it."""

    seconds: float
    hands_back: bool


@dataclass(slots=True)
class Quota:
    """A ResourceQuota of `pods`: who asks first has them, until they are gone.

    https://kubernetes.io/docs/concepts/policy/resource-quotas/
    """

    pods: int
    used: int = 0
    refused: int = 0

    def take(self) -> bool:
        """Whether there may be one more."""
        if self.used >= self.pods:
            self.refused += 1
            return False
        self.used += 1
        return True


@dataclass(eq=False)
class Pod:
    name: str
    created: float
    slots: int
    running: dict[Message, float] = field(default_factory=dict)
    """Message → when its handler started."""
    ready_since: float | None = None
    terminating: bool = False
    retired: bool = False
    crashes: int = 0
    crashed_at: float | None = None
    busy_at_crash: int = 0
    run: int = 0
    """Counts the processes of this pod, so that what a dead one had planned does not happen."""

    @property
    def ready(self) -> bool:
        return self.ready_since is not None

    @property
    def claims(self) -> bool:
        """Whether it takes another message."""
        return self.ready and not self.terminating and not self.retired and len(self.running) < self.slots


class World:
    """Everything but the scaler.

    Attributes:
        replicas: what the Deployment asks for.
        waits: of each finished message, the seconds from its arrival to its end less its own handling.
        interrupted: how many handlers were cut off by the removal of their pod.
        busy_removed: how many pods were asked to go while they worked, but those whose work began only when
            the number was on its way: nobody could know.
        writes: (time, replicas) of each change.
    """

    def __init__(
        self,
        timeline: Timeline,
        random_: random.Random,
        grace: Grace,
        slots: int = 1,
        limits: Limits = NO_LIMITS,
        quota: Quota | None = None,
    ) -> None:
        self.timeline = timeline
        self.redis = RedisModel(limits)
        self.pods: list[Pod] = []
        self.replicas = 0
        self.waits: list[float] = []
        self.interrupted = 0
        self.busy_removed = 0
        self.writes: list[tuple[float, int]] = []
        self.on_pods: Callable[[], None] = _nobody
        self.on_publish: Callable[[], None] = _nobody
        self._random = random_
        self._grace = grace
        self._slots = slots
        self._names = itertools.count()
        self._idle: deque[Pod] = deque()
        self._unsettled: list[tuple[Pod, Message]] = []
        self._pod_seconds = 0.0
        self._begins_at = 0.0
        self._quota = quota
        self._refusals = 0
        self._asks_again_at = math.inf

    @property
    def live(self) -> int:
        """Pods that exist and are to stay."""
        return sum(not pod.terminating for pod in self.pods)

    # What others do.

    def publish(self, messages: Iterable[Message]) -> None:
        """Have these arrive, each at its time."""
        for message in messages:
            self.timeline.at(message.arrived, functools.partial(self._arrive, message))

    def outage(self, start: float, end: float) -> None:
        """Redis is away between these times."""
        self.timeline.at(start, lambda: setattr(self.redis, "up", False))
        self.timeline.at(end, self._redis_is_back)

    def scale(self, replicas: int, first: tuple[str, ...] = ()) -> None:
        """Write the number of replicas; pods named in `first` have a lower deletion cost than the others."""
        if replicas == self.replicas:
            return
        self.replicas = replicas
        self.writes.append((self.timeline.now, replicas))
        live = [pod for pod in self.pods if not pod.terminating]
        self._fill()
        if len(live) > replicas:
            live.sort(key=lambda pod: self._rank(pod, first))
            for pod in live[: len(live) - replicas]:
                self._terminate(pod)
        self.on_pods()

    def retire(self, names: Iterable[str]) -> tuple[str, ...]:
        """Ask pods to claim nothing more; those that are idle obey."""
        asked = [pod for pod in self.pods if pod.name in set(names) and not pod.running]
        for pod in asked:
            pod.retired = True
        return tuple(pod.name for pod in asked)

    def unretire(self, names: Iterable[str]) -> None:
        """Take that back."""
        for pod in self.pods:
            if pod.retired and pod.name in set(names):
                pod.retired = False
                self._offer(pod)
        self._dispatch()

    def pod_seconds(self) -> float:
        """Seconds that pods existed so far, from the request to the end."""
        return self._pod_seconds + sum(self.timeline.now - pod.created for pod in self.pods)

    # What follows from it.

    def _rank(self, pod: Pod, first: tuple[str, ...]) -> tuple[float, ...]:
        """The order in which a ReplicaSet removes pods: those not ready, by cost, the young ones first.

        Ages count by powers of two, and chance decides among equals.
        https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-down-a-replicaset
        """
        age = math.floor(math.log2(max(1.0, self.timeline.now - (pod.ready_since or self.timeline.now))))
        return pod.ready, pod.name not in first, age, self._random.random()

    def _fill(self) -> None:
        """Create what is missing, as far as the quota lets."""
        for _ in range(self.replicas - self.live):
            if self._quota is not None and not self._quota.take():
                self._ask_again()
                return
            self._create()
        self._refusals, self._asks_again_at = 0, math.inf

    def _ask_again(self) -> None:
        self._asks_again_at = at = self.timeline.now + min(1000.0, 0.005 * 2 ** min(self._refusals, 20))
        self._refusals += 1

        def ask() -> None:
            if self._asks_again_at == at:
                self._fill()

        self.timeline.at(at, ask)

    def _create(self) -> None:
        pod = Pod(f"pod-{next(self._names)}", self.timeline.now, self._slots)
        self.pods.append(pod)
        self._start(pod, self._random.uniform(*START_UP_SECONDS))

    def _start(self, pod: Pod, seconds: float) -> None:
        run = pod.run

        def ready() -> None:
            if pod.terminating or pod.run != run:
                return
            pod.ready_since, pod.crashed_at = self.timeline.now, None
            self._offer(pod)
            self._fill()
            self.on_pods()
            self._dispatch()

        self.timeline.after(seconds, ready)

    def _offer(self, pod: Pod) -> None:
        self._idle.extend([pod] * (pod.slots - len(pod.running)))

    def _terminate(self, pod: Pod) -> None:
        pod.terminating = True
        if not pod.running:
            self._end_soon(pod)
            return
        self.busy_removed += min(pod.running.values()) < self.timeline.now - ON_ITS_WAY_SECONDS
        self.timeline.after(self._grace.seconds, lambda: self._cut_off(pod))

    def _cut_off(self, pod: Pod) -> None:
        if pod not in self.pods:
            return
        self.interrupted += len(pod.running)
        self._lose(pod, hand_back=self._grace.hands_back)
        self._end(pod)

    def _lose(self, pod: Pod, *, hand_back: bool) -> None:
        for message, started in pod.running.items():
            if hand_back and self.redis.up:
                self.redis.give_back(message)
            else:
                self._let_expire(message, started)
        pod.running.clear()
        pod.run += 1
        self._unsettled = [(holder, message) for holder, message in self._unsettled if holder is not pod]
        self._dispatch()

    def _let_expire(self, message: Message, started: float) -> None:
        held = (self.timeline.now - started) % (VISIBILITY_TIMEOUT_SECONDS / HEARTBEATS)

        def expire() -> None:
            self.redis.expire(message)
            self._dispatch()

        self.timeline.after(VISIBILITY_TIMEOUT_SECONDS - held, expire)

    def _end_soon(self, pod: Pod) -> None:
        self.timeline.after(EXIT_SECONDS, lambda: self._end(pod))

    def _end(self, pod: Pod) -> None:
        if pod in self.pods:
            self.pods.remove(pod)
            self._pod_seconds += self.timeline.now - pod.created
            if self._quota is not None:
                self._quota.used -= 1
                self._fill()
            self.on_pods()

    def _arrive(self, message: Message) -> None:
        if not self.redis.up:
            self.timeline.after(1.0, lambda: self._arrive(message))
            return
        self.redis.pending.append(message)
        self._dispatch()
        self.on_publish()

    def _dispatch(self) -> None:
        while self.redis.up and self._idle:
            pod = self._idle[0]
            if not pod.claims:
                self._idle.popleft()
                continue
            message = self.redis.claim(self.timeline.now)
            if message is None:
                self._wait_for_the_limit()
                return
            self._idle.popleft()
            pod.running[message] = self.timeline.now
            run = pod.run
            self.timeline.after(message.handling_seconds, functools.partial(self._handled, pod, message, run))

    def _wait_for_the_limit(self) -> None:
        """A worker sleeps until the next message may begin: a claim says when that is."""
        now, at = self.timeline.now, self.redis.begins_at(self.timeline.now)
        if not now < at < math.inf or self._begins_at > now:
            return
        self._begins_at = at
        self.timeline.at(at, self._dispatch)

    def _handled(self, pod: Pod, message: Message, run: int) -> None:
        if pod.run != run:
            return
        if message.fails == "kills":
            self._crash(pod)
        elif not self.redis.up:
            self._unsettled.append((pod, message))
        else:
            self._settle(pod, message)

    def _settle(self, pod: Pod, message: Message) -> None:
        del pod.running[message]
        now = self.timeline.now
        if not message.fails:
            self.redis.done(message)
            self.waits.append(now - message.arrived - message.handling_seconds)
        elif message.deliveries >= MAX_ATTEMPTS:
            self.redis.bury(message)
        else:
            due = now + 2 ** (message.deliveries - 1) * self._random.uniform(1.0, 1.25)
            self.redis.retry(message, due)
            self.timeline.at(due, self._dispatch)
        if pod.terminating and not pod.running:
            self._end_soon(pod)
        elif pod.claims:
            self._idle.append(pod)
        self._dispatch()

    def _crash(self, pod: Pod) -> None:
        now = self.timeline.now
        calm = pod.ready_since is not None and now - pod.ready_since > CALM_SECONDS
        pod.busy_at_crash, pod.crashes = len(pod.running), 1 if calm else pod.crashes + 1
        pod.ready_since, pod.crashed_at = None, now
        self._lose(pod, hand_back=False)
        if pod.terminating:
            self._end_soon(pod)
            return
        pause = 0.0 if pod.crashes == 1 else min(300.0, 10.0 * 2 ** (pod.crashes - 2))
        self._start(pod, pause + 1.0)
        self.on_pods()

    def _redis_is_back(self) -> None:
        self.redis.up = True
        unsettled, self._unsettled = self._unsettled, []
        for pod, message in unsettled:
            if message in pod.running:
                self._settle(pod, message)
        self._dispatch()


def _nobody() -> None:
    """Nobody is told."""
