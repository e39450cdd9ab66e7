"""Fifty queues of three priorities that share forty workers: by a RedisQueueBudget, and by a ResourceQuota.

The shares are those of `budget.shares` and `decide.budget`, called as the engine
calls them and shared out as often. A pod of KEDA's that does not fit is refused; see `world` for when it is
asked for again. All have one message a slot as their target, so that whatever waits needs a worker.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.simulate.keda import DEFAULT_GRACE, Keda, Settings
from tests.simulate.ours import Operator, Share, always
from tests.simulate.play import TAIL_SECONDS, percentile
from tests.simulate.redis_model import Message
from tests.simulate.scalers import OUR_GRACE, TUNED
from tests.simulate.timeline import Timeline
from tests.simulate.world import Grace, Quota, World

from redisqueue_operator.api import parse
from redisqueue_operator.budget.resource import parse as parse_budget
from redisqueue_operator.budget.shares import PAUSE_SECONDS, Budgets
from redisqueue_operator.decide.scaling import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redisqueue_operator.api.model import Key, RedisQueue

WORKERS = 40
MOST_REPLICAS = 20
SECONDS = 1800.0
SAMPLE_SECONDS = 1.0
MEASURE_SECONDS = 0.5
TEAM = {"team": "fleet"}


@dataclass(frozen=True, slots=True)
class Class:
    """Queues of one priority: how many, how large their bursts are, and how far apart on average."""

    name: str
    priority: int
    queues: int
    burst: tuple[int, int]
    apart_seconds: float


CLASSES = (
    Class("high", 100, 10, (10, 40), 240.0),
    Class("middle", 10, 15, (10, 40), 240.0),
    Class("low", 0, 25, (20, 80), 360.0),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One queue and what comes to it, in the order of arrival."""

    name: str
    of: Class
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class FleetScaler:
    """Who scales all queues; without `settings` this project."""

    name: str
    text: str
    grace: Grace
    settings: Settings | None = None
    scale_down: Mapping[str, int] = field(default_factory=dict)
    """`spec.scaling.scaleDown` of this project's queues, where it is not the defaults."""


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """What one scaler made of the fleet. Times in seconds, in the order of `CLASSES`."""

    scaler: str
    messages: int
    p50: tuple[float, ...]
    p99: tuple[float, ...]
    utilisation: float
    """Of what the budget has and somebody needs: the part that works, from 0 to 1."""
    vacant_seconds: float
    """The longest time that workers of the budget did not exist although a queue needed more."""
    busy_removed: int
    """As in `world.World`."""
    most_workers: int
    """The most that were asked for at a time, or were let exist by the quota."""
    unfinished: int


def members(seed: int, seconds: float = SECONDS) -> tuple[Member, ...]:
    """The queues and their messages, none of which arrives after so many seconds."""
    return tuple(
        Member(f"{of.name}-{n:02}", of, tuple(_bursts(random.Random(f"{seed} {of.name} {n}"), of, seconds)))
        for of in CLASSES
        for n in range(of.queues)
    )


def _bursts(random_: random.Random, of: Class, seconds: float) -> Iterable[Message]:
    at = 0.0
    while (at := at + random_.expovariate(1 / of.apart_seconds)) < seconds:
        for _ in range(random_.randint(*of.burst)):
            yield Message(at, random_.uniform(2.0, 8.0))


def play_fleet(fleet: Sequence[Member], scaler: FleetScaler, seed: int) -> FleetOutcome:
    """Let the scaler work on the fleet. The same arguments give the same outcome."""
    timeline = Timeline()
    quota = Quota(WORKERS) if scaler.settings is not None else None
    worlds = [
        World(timeline, random.Random(f"world {seed} {each.name}"), scaler.grace, quota=quota)
        for each in fleet
    ]
    for each, world in zip(fleet, worlds, strict=True):
        world.publish(Message(message.arrived, message.handling_seconds) for message in each.messages)
    if scaler.settings is None:
        _share(timeline, fleet, worlds, scaler, seed)
    else:
        for each, world in zip(fleet, worlds, strict=True):
            Keda(timeline, world, scaler.settings, random.Random(f"scaler {seed} {each.name}"))
    gauge = _Gauge(timeline, worlds)
    timeline.run(max(each.messages[-1].arrived for each in fleet if each.messages))
    until = timeline.now + TAIL_SECONDS
    while timeline.now < until and any(world.redis.unfinished() for world in worlds):
        timeline.run(timeline.now + 10)
    return _outcome(fleet, worlds, scaler, gauge)


def _share(
    timeline: Timeline, fleet: Sequence[Member], worlds: Sequence[World], scaler: FleetScaler, seed: int
) -> None:
    """Our operator over all queues, with one budget."""
    budgets = Budgets(lambda: timeline.now)
    budgets.put(parse_budget(_budget()))
    operators: dict[Key, Operator] = {}
    for each, world in zip(fleet, worlds, strict=True):
        rq = _redis_queue(each, scaler)
        chance = random.Random(f"scaler {seed} {each.name}")
        share = Share(budgets, rq)
        operators[rq.key] = Operator(
            timeline, world, always(Policy.of(rq.spec)), chance, sample_seconds=SAMPLE_SECONDS, share=share
        )
    told: set[Key] = set()
    budgets.notify = told.add

    def share_out() -> None:
        budgets.share_out()
        for key in sorted(told, key=str):  # in an order that is the same in every process
            operators[key].notify()
        told.clear()
        timeline.after(PAUSE_SECONDS, share_out)

    share_out()


def _budget() -> dict[str, object]:
    metadata = {"namespace": "default", "name": "fleet", "generation": 1}
    return {"metadata": metadata, "spec": {"selector": {"matchLabels": TEAM}, "maxReplicas": WORKERS}}


def _redis_queue(member: Member, scaler: FleetScaler) -> RedisQueue:
    scaling = {
        "maxReplicas": MOST_REPLICAS,
        "backlogPerSlot": 1,
        "priority": member.of.priority,
        "scaleDown": dict(scaler.scale_down),
    }
    metadata = {"namespace": "default", "name": member.name, "uid": member.name, "generation": 1}
    return parse(
        {
            "metadata": {**metadata, "labels": TEAM},
            "spec": {"redis": {"url": "redis://r"}, "worker": {"handler": "a:b"}, "scaling": scaling},
        }
    )


class _Gauge:
    """Looks at all queues twice a second."""

    def __init__(self, timeline: Timeline, worlds: Sequence[World]) -> None:
        self.busy = self.needed = 0
        self.vacant_seconds = 0.0
        self.most_pods = 0
        self._vacant_since: float | None = None
        self._timeline = timeline
        self._worlds = worlds
        timeline.after(MEASURE_SECONDS, self._look)

    def _look(self) -> None:
        self._timeline.after(MEASURE_SECONDS, self._look)
        needs = [
            min(MOST_REPLICAS, len(each.redis.pending) + len(each.redis.in_flight)) for each in self._worlds
        ]
        needed, pods = min(WORKERS, sum(needs)), sum(len(each.pods) for each in self._worlds)
        running = sum(len(pod.running) for each in self._worlds for pod in each.pods)
        self.needed += needed
        self.busy += min(running, needed)
        self.most_pods = max(self.most_pods, pods)
        short = any(need > each.live for need, each in zip(needs, self._worlds, strict=True))
        if not short or pods >= WORKERS:
            self._vacant_since = None
        elif self._vacant_since is None:
            self._vacant_since = self._timeline.now
        else:
            self.vacant_seconds = max(self.vacant_seconds, self._timeline.now - self._vacant_since)


def _outcome(
    fleet: Sequence[Member], worlds: Sequence[World], scaler: FleetScaler, gauge: _Gauge
) -> FleetOutcome:
    waits: dict[str, list[float]] = {of.name: [] for of in CLASSES}
    unfinished = 0
    for each, world in zip(fleet, worlds, strict=True):
        left = world.redis.unfinished()
        unfinished += len(left)
        waits[each.of.name] += world.waits
        waits[each.of.name] += [world.timeline.now - message.arrived for message in left]
    ordered = [sorted(each) for each in waits.values()]
    return FleetOutcome(
        scaler=scaler.name,
        messages=sum(len(each.messages) for each in fleet),
        p50=tuple(percentile(each, 50) for each in ordered),
        p99=tuple(percentile(each, 99) for each in ordered),
        utilisation=gauge.busy / gauge.needed,
        vacant_seconds=gauge.vacant_seconds,
        busy_removed=sum(each.busy_removed for each in worlds),
        most_workers=_most_replicas(worlds) if scaler.settings is None else gauge.most_pods,
        unfinished=unfinished,
    )


def _most_replicas(worlds: Sequence[World]) -> int:
    """The largest sum of what all asked for at a time, after all writes of one moment."""
    rows = [[(at, n, replicas) for at, replicas in world.writes] for n, world in enumerate(worlds)]
    now, most, last = dict.fromkeys(range(len(worlds)), 0), 0, 0.0
    for at, n, replicas in heapq.merge(*rows):
        if at != last:
            most, last = max(most, sum(now.values())), at
        now[n] = replicas
    return max(most, sum(now.values()))


SHORT_WINDOWS = {"stabilizationSeconds": 10, "idleSeconds": 5, "minRunSeconds": 5}
FLEET_SCALERS = (
    FleetScaler("RedisQueue", f"one RedisQueueBudget, maxReplicas {WORKERS}; the other defaults", OUR_GRACE),
    FleetScaler(
        "RedisQueue, short windows",
        "the same, and scaleDown: stabilizationSeconds 10, idleSeconds 5, minRunSeconds 5",
        OUR_GRACE,
        scale_down=SHORT_WINDOWS,
    ),
    FleetScaler(
        "KEDA",
        f"a ResourceQuota of {WORKERS} pods; its defaults",
        DEFAULT_GRACE,
        Settings(max_replicas=MOST_REPLICAS, list_length=1),
    ),
    FleetScaler(
        "KEDA best",
        "the same ResourceQuota; settings as of KEDA best in operator/README.md",
        Grace(315.0, hands_back=False),
        replace(TUNED, counts_in_flight=True, list_length=1),
    ),
)
