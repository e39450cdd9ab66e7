"""A toy queue and a toy cluster under `decide`: a burst, a trickle and an outage from start to end."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.observations import Story, pod, queue, seen, worker

from redisqueue_operator.decide.scaling import Policy

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import Observation

TICK = 0.2
"""Seconds between two samples."""
START_UP = 2.0
HANDLING = 0.5


@dataclass
class Pod:
    name: str
    created: float
    busy_until: float | None = None
    leaving: bool = False


@dataclass
class World:
    """Pods take two seconds to start and half a second for a message; a deleted busy pod finishes first."""

    policy: Policy = field(default_factory=Policy)
    now: float = 0.0
    pending: int = 0
    done: int = 0
    claims: int = 0
    killed_while_busy: int = 0
    reachable: bool = True
    replicas: int = 0
    pods: list[Pod] = field(default_factory=list)
    writes: list[tuple[float, int, int]] = field(default_factory=list)
    story: Story = field(init=False)

    def __post_init__(self) -> None:
        self.story = Story(self.policy)

    def run(self, seconds: float, arrivals_per_second: float = 0.0) -> None:
        """Let time pass, tick by tick: messages arrive, workers work, the operator decides."""
        due = 0.0
        for _ in range(round(seconds / TICK)):
            due += arrivals_per_second * TICK
            self.pending, due = self.pending + int(due), due - int(due)
            self._work()
            self._scale()
            self.now += TICK

    def _work(self) -> None:
        for each in list(self.pods):
            if each.busy_until is not None and each.busy_until <= self.now:
                each.busy_until, self.done = None, self.done + 1
            if each.leaving and each.busy_until is None:
                self.pods.remove(each)
            elif self._ready(each) and each.busy_until is None and self.pending:
                self.pending, self.claims = self.pending - 1, self.claims + 1
                each.busy_until = self.now + HANDLING

    def _ready(self, each: Pod) -> bool:
        return not each.leaving and self.now - each.created >= START_UP

    def _scale(self) -> None:
        decision = self.story.at(self.now, self._observe())
        if not decision.changes:
            return
        self.writes.append((self.now, decision.from_replicas, decision.to_replicas))
        self.replicas = decision.to_replicas
        live = [each for each in self.pods if not each.leaving]
        for name in range(self.replicas - len(live)):
            self.pods.append(Pod(f"p{len(self.writes)}-{name}", self.now))
        for each in live:
            if each.name in decision.victims:
                self.killed_while_busy += each.busy_until is not None
                each.leaving = True

    def _observe(self) -> Observation:
        in_flight = sum(each.busy_until is not None for each in self.pods)
        observation = seen(
            queue(self.pending, in_flight=in_flight, claims=self.claims, at=1000.0 + self.now),
            [
                pod(
                    each.name,
                    ready=self._ready(each),
                    age=self.now - each.created,
                    terminating=each.leaving,
                )
                for each in self.pods
            ],
            [
                worker(each.name, int(each.busy_until is not None), draining=each.leaving)
                for each in self.pods
                if self.now - each.created >= START_UP
            ],
            replicas=self.replicas,
        )
        return observation if self.reachable else dataclasses.replace(observation, queue=None)


def test_a_burst_is_one_write_up_and_few_down() -> None:
    world = World(pending=200)
    world.run(200)
    assert (world.done, world.killed_while_busy, world.pods) == (200, 0, [])
    assert world.writes[0] == (0.0, 0, 10)
    assert [to for _, _, to in world.writes if to > 10] == []
    downs = [(before, to) for _, before, to in world.writes[1:]]
    assert all(to < before for before, to in downs)
    assert world.writes[-1][2] == 0
    assert len(world.writes) <= 4


def test_a_steady_load_settles() -> None:
    """Eight messages a second of half a second each keep four slots busy: nothing is written any more."""
    world = World(policy=Policy(backlog_per_slot=1))
    world.run(200, arrivals_per_second=8)
    settled = len(world.writes)
    world.run(300, arrivals_per_second=8)
    assert len(world.writes) == settled
    assert world.replicas >= 4
    assert world.killed_while_busy == 0


def test_a_trickle_keeps_one_worker() -> None:
    world = World()
    world.run(300, arrivals_per_second=0.1)
    assert world.writes == [(world.writes[0][0], 0, 1)]
    world.run(120)
    assert world.replicas == 0


def test_pauses_shorter_than_idle_seconds_do_not_flap() -> None:
    """The hundred messages take eight seconds, and the first time the pods have to start."""
    world = World()
    for _ in range(5):
        world.pending += 100
        world.run(35)
    assert [to for _, _, to in world.writes] == [10]


def test_lulls_shorter_than_the_window_do_not_flap() -> None:
    world = World()
    for _ in range(5):
        world.pending += 100
        world.run(40, arrivals_per_second=1)
    assert [to for _, _, to in world.writes] == [10]


def test_an_outage_in_mid_burst_loses_no_worker() -> None:
    world = World(pending=400)
    world.run(5)
    world.reachable = False
    world.run(300)
    assert world.replicas == 10
    world.reachable = True
    world.run(200)
    assert (world.replicas, world.killed_while_busy) == (0, 0)
    assert len(world.writes) <= 4


def test_steps_of_a_limited_growth() -> None:
    world = World(policy=Policy(up_max_step=4, max_replicas=10), pending=5000)
    world.run(25)
    assert [(before, to) for _, before, to in world.writes] == [(0, 4), (4, 8), (8, 10)]
    times = [at for at, _, _ in world.writes]
    assert all(10 <= later - at < 11 for at, later in itertools.pairwise(times))
