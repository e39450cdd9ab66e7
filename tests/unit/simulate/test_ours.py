"""The simulated operator against a real one: local mode, with worker processes, under the recorded load."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.simulate import trace
from tests.simulate.__main__ import TRACES
from tests.simulate.ours import Operator, always
from tests.simulate.redis_model import Message
from tests.simulate.scalers import OUR_GRACE, in_force
from tests.simulate.timeline import Timeline
from tests.simulate.world import World
from tests.support.resources import redis_queue

from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.decide.scaling.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

# fmt: off
REAL = (
    (0.2, 1), (0.2, 2), (1.6, 3), (2.3, 4), (2.9, 5), (6.0, 6), (72.3, 5), (77.4, 4), (79.3, 8),
    (114.6, 0), (214.8, 2), (215.0, 8), (304.0, 0), (388.6, 1), (389.4, 2), (390.1, 3), (391.5, 4),
    (407.5, 6), (407.7, 8), (444.0, 0), (467.1, 1), (468.2, 2), (469.2, 3), (532.6, 2), (537.6, 1),
    (546.3, 2), (547.3, 3), (549.9, 4), (565.5, 8),
)
# fmt: on
"""(second, replicas): what a real operator wrote, with `maxReplicas: 8`, while the recording was replayed."""


def _run(world_messages: list[Message], policy: Policy, seconds: float, seed: int = 1) -> World:
    timeline = Timeline()
    world = World(timeline, random.Random(f"world {seed}"), OUR_GRACE)
    world.publish(world_messages)
    Operator(timeline, world, always(policy), random.Random(f"scaler {seed}"))
    timeline.run(seconds)
    return world


def test_a_limited_queue_gets_the_workers_that_it_can_use() -> None:
    messages = [Message(10.0, 1.0) for _ in range(600)]
    timeline, policy = Timeline(), Policy(max_replicas=20, limits=Limits(rate_per_second=2.0))
    world = World(timeline, random.Random("world"), OUR_GRACE, limits=policy.limits)
    world.publish(messages)
    Operator(timeline, world, always(policy), random.Random("scaler"))
    timeline.run(120)
    assert world.replicas == 3, "once it is known how long a message takes"
    timeline.run(450)
    assert (len(world.waits), world.replicas) == (600, 0)
    assert max(world.waits) == pytest.approx(300, abs=15), "the rate was used"


def test_bounds_are_those_of_the_time_of_day() -> None:
    spec = redis_queue(
        scaling={
            "maxReplicas": 5,
            "schedules": [{"start": "10 8 * * *", "end": "40 8 * * *", "minReplicas": 3, "maxReplicas": 4}],
        }
    ).spec
    timeline = Timeline()
    world = World(timeline, random.Random("world"), OUR_GRACE)
    begins = datetime(2026, 6, 1, 8, tzinfo=UTC)
    Operator(timeline, world, in_force(spec, begins), random.Random("scaler"))
    for minute, replicas in ((9, 0), (11, 3), (39, 3), (45, 0)):
        timeline.run(minute * 60.0)
        assert world.replicas == replicas, minute
    assert world.writes[0][0] == pytest.approx(600, abs=1), "the second in which it opens"


def _each_second(writes: Sequence[tuple[float, int]]) -> list[int]:
    return [next((to for at, to in reversed(writes) if at <= second), 0) for second in range(600)]


@pytest.mark.parametrize("seed", range(5))
def test_it_makes_of_a_recorded_load_what_a_real_operator_made(seed: int) -> None:
    load = trace.read(TRACES / "recorded.csv")
    world = _run(load.fresh(), Policy(max_replicas=8), 600.0, seed)
    simulated, real = _each_second(world.writes), _each_second(REAL)
    assert sum(simulated) == pytest.approx(sum(real), rel=0.1)
    assert sum(abs(a - b) for a, b in zip(simulated, real, strict=True)) < 0.1 * sum(real)
    assert len(world.writes) == pytest.approx(len(REAL), abs=8)


def test_a_sleeping_queue_wakes_up_at_once() -> None:
    world = _run([Message(100.0, 1.0) for _ in range(100)], Policy(max_replicas=20), 101.0)
    (at, to), *_ = world.writes
    assert (to, at) == (20, pytest.approx(100.06, abs=0.02))


def test_an_idle_worker_goes_and_the_busy_one_stays() -> None:
    messages = [Message(0.0, 400.0), *(Message(0.0, 1.0) for _ in range(9))]
    world = _run(messages, Policy(), 350.0)
    assert world.replicas == 1
    assert [len(pod.running) for pod in world.pods] == [1]
    assert world.interrupted == 0
