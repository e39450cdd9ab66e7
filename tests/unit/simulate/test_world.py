"""The simulated world: what becomes of messages and pods, whoever scales."""

from __future__ import annotations

import random

import pytest
from tests.simulate.redis_model import VISIBILITY_TIMEOUT_SECONDS, Message
from tests.simulate.timeline import Timeline
from tests.simulate.world import START_UP_SECONDS, Grace, World

from redisqueue_operator.decide.scaling.limits import Limits

PATIENT = Grace(300.0, hands_back=True)
IMPATIENT = Grace(30.0, hands_back=False)
UP = START_UP_SECONDS[1]


def _world(grace: Grace = PATIENT, slots: int = 1) -> tuple[Timeline, World]:
    timeline = Timeline()
    return timeline, World(timeline, random.Random(1), grace, slots)


def test_messages_wait_for_a_pod_to_start_and_then_for_each_other() -> None:
    timeline, world = _world()
    world.publish(Message(0.0, 1.0) for _ in range(3))
    world.scale(1)
    timeline.run(60)
    first = world.waits[0]
    assert START_UP_SECONDS[0] <= first <= UP
    assert world.waits == pytest.approx([first, first + 1, first + 2])


def test_a_pod_has_slots() -> None:
    timeline, world = _world(slots=3)
    world.publish(Message(0.0, 1.0) for _ in range(3))
    world.scale(1)
    timeline.run(60)
    assert len(set(world.waits)) == 1


@pytest.mark.parametrize(
    ("limits", "ended"),
    [
        (Limits(rate_per_second=0.5), [1, 3, 5, 7]),
        (Limits(rate_per_second=0.5, rate_burst=2), [1, 1, 3, 5]),
        (Limits(max_in_flight=2), [1, 1, 2, 2]),
    ],
)
def test_all_pods_together_keep_to_the_limits(limits: Limits, ended: list[float]) -> None:
    timeline = Timeline()
    world = World(timeline, random.Random(1), PATIENT, limits=limits)
    world.scale(4)
    timeline.run(UP)
    world.publish(Message(UP, 1.0) for _ in range(4))
    timeline.run(60)
    assert [wait + 1 for wait in world.waits] == pytest.approx(ended)


def test_a_pod_that_goes_finishes_what_it_runs() -> None:
    timeline, world = _world(IMPATIENT)
    world.publish([Message(0.0, 20.0)])
    world.scale(1)
    timeline.run(UP)
    world.scale(0)
    timeline.run(60)
    assert (len(world.waits), world.interrupted, world.pods) == (1, 0, [])


def test_a_killed_handler_begins_again_when_its_lease_has_run_out() -> None:
    timeline, world = _world(IMPATIENT)
    world.publish([Message(0.0, 60.0)])
    world.scale(1)
    timeline.run(UP)
    world.scale(0)
    timeline.run(UP + IMPATIENT.seconds)
    assert (world.interrupted, len(world.redis.in_flight)) == (1, 1)
    world.scale(1)
    timeline.run(UP + IMPATIENT.seconds + VISIBILITY_TIMEOUT_SECONDS + 60)
    assert len(world.waits) == 1
    assert world.waits[0] >= IMPATIENT.seconds + VISIBILITY_TIMEOUT_SECONDS * 3 / 4


def test_a_lease_that_ran_out_stays_in_flight_while_there_is_no_worker() -> None:
    timeline, world = _world(IMPATIENT)
    world.publish([Message(0.0, 60.0)])
    world.scale(1)
    timeline.run(UP)
    world.scale(0)
    timeline.run(1000)
    assert (len(world.redis.in_flight), len(world.redis.expired), world.redis.pending) == (
        1,
        1,
        type(world.redis.pending)(),
    )


def test_a_drain_that_ends_hands_back_to_the_front_uncounted() -> None:
    timeline, world = _world(Grace(30.0, hands_back=True))
    message = Message(0.0, 60.0)
    world.publish([message, Message(1.0, 1.0)])
    world.scale(1)
    timeline.run(UP)
    world.scale(0)
    timeline.run(UP + 31)
    assert world.interrupted == 1
    assert world.redis.pending[0] is message
    assert message.deliveries == 0


def test_a_replica_set_removes_the_unready_then_the_cheap_then_the_young() -> None:
    timeline, world = _world()
    world.scale(1)
    timeline.run(100)
    world.scale(3)
    timeline.run(110)
    world.scale(4)
    assert world.pods[3].ready is False
    world.scale(3)
    assert [pod.terminating for pod in world.pods] == [False, False, False, True]
    old = world.pods[0].name
    world.scale(2, first=(old,))
    assert [pod.name for pod in world.pods if pod.terminating] == [old, world.pods[3].name]
    timeline.run(200)
    world.scale(3)
    timeline.run(210)
    newest = world.pods[-1].name
    world.scale(2)
    assert [pod.name for pod in world.pods if pod.terminating] == [newest]


def test_an_idle_pod_can_be_asked_to_claim_nothing_and_a_busy_one_refuses() -> None:
    timeline, world = _world()
    world.scale(2)
    timeline.run(10)
    world.publish([Message(10.0, 5.0)])
    timeline.run(11)
    names = [pod.name for pod in world.pods]
    (obeys,) = world.retire(names)
    world.publish([Message(12.0, 1.0)])
    timeline.run(13)
    assert len(world.redis.pending) == 1
    world.unretire([obeys])
    timeline.run(14.5)
    assert len(world.waits) == 1


def test_what_always_raises_is_tried_three_times_and_buried() -> None:
    timeline, world = _world()
    world.scale(1)
    world.publish([Message(5.0, 1.0, "raises")])
    timeline.run(60)
    assert (world.redis.claims, world.redis.dead_letters) == (3, 1)


def test_what_kills_its_process_is_buried_after_ten_deliveries_and_its_pod_backs_off() -> None:
    timeline, world = _world()
    world.scale(1)
    world.publish([Message(5.0, 1.0, "kills")])
    timeline.run(4000)
    assert (world.redis.claims, world.redis.dead_letters) == (10, 1)
    assert world.pods[0].crashes == 10


def test_while_redis_is_away_nothing_moves_and_nothing_is_lost() -> None:
    timeline, world = _world()
    world.scale(1)
    world.publish([Message(5.0, 10.0), Message(20.0, 1.0)])
    world.outage(10.0, 100.0)
    timeline.run(99)
    assert (world.waits, len(world.redis.in_flight), len(world.redis.pending)) == ([], 1, 0)
    timeline.run(110)
    assert len(world.waits) == 2
    assert world.waits[0] == pytest.approx(85.0)


def test_pod_seconds_run_from_the_request_to_the_end() -> None:
    timeline, world = _world()
    world.scale(2)
    timeline.run(10)
    world.scale(1)
    timeline.run(20)
    assert world.pod_seconds() == pytest.approx(20 + 10.3)
