"""An hour of a fleet for pictures: simulated queues and clusters, with the operator's own decisions."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tests.simulate import loads
from tests.simulate.ours import Operator
from tests.simulate.scalers import MOST_REPLICAS, OUR_GRACE
from tests.simulate.timeline import Timeline
from tests.simulate.world import World
from tests.support.resources import redis_queue

from redisqueue_operator.api import Key
from redisqueue_operator.decide.scaling import Policy, decide, explain
from redisqueue_operator.decide.status import build_status
from redisqueue_operator.observe.facts import ApplyOutcome
from redisqueue_operator.observe.redis.letters import Letters, by_reason
from redisqueue_operator.serve.page.history import PageHistory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulate.loads import Load

BEGINS, HOUR, LOOK_SECONDS = 1_800_000_000.0, 3600.0, 5.0
"""Seconds: of the epoch; the time that a picture shows; between two looks."""
APPLIED = ApplyOutcome(ok=True, reason="Applied", message="All children are as they shall be.")


class Tenant(NamedTuple):
    """One RedisQueue: its load, and where in it the hour of the picture ends."""

    namespace: str
    name: str
    load: Callable[[int], Load]
    seed: int
    ends: float = HOUR


TENANTS = (
    Tenant("shop", "emails", loads.burst, 3),
    Tenant("shop", "invoices", loads.poison, 5, 3500.0),
    Tenant("shop", "thumbnails", loads.slots, 2, 2400.0),
    Tenant("media", "transcode", loads.heavy_tail, 4),
    Tenant("media", "webhooks", loads.outage, 1, 1842.0),
    Tenant("data", "imports", loads.diurnal, 1, 5000.0),
    Tenant("data", "reports", loads.sparse, 6),
    Tenant("data", "exports", loads.slow, 7, 3200.0),
)


class Played:
    """A history that was played, with a clock that stands at its end."""

    def __init__(self) -> None:
        self.now = 0.0
        self.history = PageHistory(lambda: self.now)
        self.explained: dict[Key, list[str]] = {}
        for tenant in TENANTS:
            self._play(tenant)
        self.now = HOUR

    @property
    def wall(self) -> float:
        """Seconds since the epoch."""
        return BEGINS + self.now

    def _play(self, tenant: Tenant) -> None:
        """The hour before the moment of the picture, of a load that began earlier or begins within it."""
        load, key = tenant.load(tenant.seed), Key(tenant.namespace, tenant.name)
        timeline = Timeline()
        world = World(timeline, random.Random(f"world {tenant.seed}"), OUR_GRACE, load.slots)
        world.publish(load.fresh())
        for start, end in load.outages:
            world.outage(start, end)
        policy = replace(Policy(max_replicas=MOST_REPLICAS), concurrency=load.slots)
        operator = Operator(timeline, world, policy, random.Random(f"scaler {tenant.seed}"))
        rq = redis_queue(tenant.name, scaling={"maxReplicas": MOST_REPLICAS})
        status, told = {}, 0
        at = LOOK_SECONDS
        while at <= tenant.ends:
            timeline.run(at)
            self.now = HOUR - tenant.ends + at
            observation = operator._observation()
            decision, _ = decide(observation, policy, operator._history, at)
            status = build_status(rq, observation, decision, APPLIED, status, BEGINS + self.now)
            if self.now >= 0:
                self.history.observe(key, observation, decision, status)
            for when, after in world.writes[told:]:
                self.now = HOUR - tenant.ends + when
                before = world.writes[told - 1][1] if told else 0
                self.history.scaled(key, before, after, "Backlog" if after > before else "RecentLoad")
                told += 1
            self.explained[key] = explain(decision, observation, policy)
            at += LOOK_SECONDS

    async def letters(self, key: Key) -> dict[str, Letters]:
        """Why letters were given up; those of the handlers of these pictures."""
        reasons = {
            "CardDeclined: card 4711 was declined (attempt 3 of 3)": 41,
            "TimeoutError: no answer (attempt 3 of 3)": 17,
            "MaxDeliveries": 6,
            "invalid payload: KeyError: 'customer'": 3,
        }
        found = Letters(by_reason(reasons), sum(reasons.values()))
        return {"dead letters": found if key.name == "invoices" else Letters(), "failed": Letters()}
