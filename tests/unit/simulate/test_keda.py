"""The model of KEDA against times measured with KEDA 2.21 and the HorizontalPodAutoscaler of Kubernetes 1.36.

Measured as here: 100 messages at once, `listLength` 5, at most 20 replicas, no pod that takes any message.
Seconds until a watch saw the first replica, and twenty, asked for: smallest, median, largest of 8 runs, or of
12 in the second row.
"""

from __future__ import annotations

import random
from statistics import median

import pytest
from tests.simulate.keda import DEFAULT_GRACE, Keda, Settings
from tests.simulate.redis_model import Message
from tests.simulate.timeline import Timeline
from tests.simulate.world import World

RUNS = 8
TIMES = 200


def _reaction(settings: Settings, seed: int) -> tuple[float, float]:
    """Seconds until the first replica and until twenty."""
    timeline, random_ = Timeline(), random.Random(seed)
    world = World(timeline, random.Random(seed), DEFAULT_GRACE, slots=0)  # nobody takes a message
    Keda(timeline, world, settings, random_)
    published = 60.0 + random_.uniform(0, 60)
    world.publish(Message(published, 1.0) for _ in range(100))
    timeline.run(published + 200)
    first, twenty = (next(at for at, number in world.writes if number >= want) for want in (1, 20))
    return first - published, twenty - published


@pytest.mark.parametrize(
    ("settings", "first", "twenty"),
    [
        (Settings(polling_seconds=1, max_replicas=20), (0.14, 0.66, 0.82), (46.6, 53.3, 60.5)),
        (
            Settings(polling_seconds=1, max_replicas=20, pods_at_once=100),
            (0.16, 0.52, 1.01),
            (2.4, 7.4, 14.6),
        ),
        (Settings(polling_seconds=5, max_replicas=20), (0.43, 3.45, 4.73), (50.7, 60.3, 63.1)),
        (Settings(max_replicas=20), (3.5, 8.7, 12.6), (63, 69, 73)),
    ],
    ids=["poll 1 s", "poll 1 s, Pods 100 a second", "poll 5 s", "defaults"],
)
def test_the_model_reacts_as_keda_was_measured_to(
    settings: Settings, first: tuple[float, ...], twenty: tuple[float, ...]
) -> None:
    """Every measured time is one that the model gives too, and so is the median of so few runs."""
    modelled = [_reaction(settings, seed) for seed in range(RUNS * TIMES)]
    for measured, ours in (
        (first, [each for each, _ in modelled]),
        (twenty, [each for _, each in modelled]),
    ):
        medians = [median(ours[n : n + RUNS]) for n in range(0, len(ours), RUNS)]
        assert min(ours) <= measured[0]
        assert min(medians) <= measured[1] <= max(medians)
        assert measured[2] <= max(ours)


def test_the_steps_up_without_a_behavior_are_those_that_were_seen() -> None:
    timeline = Timeline()
    world = World(timeline, random.Random(1), DEFAULT_GRACE, slots=0)
    Keda(timeline, world, Settings(polling_seconds=1, max_replicas=20), random.Random(1))
    world.publish(Message(10.0, 1.0) for _ in range(100))
    timeline.run(100)
    assert [number for _, number in world.writes] == [1, 4, 8, 16, 20]


def _busy_until(settings: Settings, seconds: float) -> World:
    """One message of so many seconds, and what becomes of it."""
    timeline = Timeline()
    world = World(timeline, random.Random(1), DEFAULT_GRACE)
    Keda(timeline, world, settings, random.Random(1))
    world.publish([Message(1.0, seconds)])
    timeline.run(2000)
    return world


def test_a_list_that_is_empty_while_its_messages_are_in_work_goes_to_zero() -> None:
    world = _busy_until(Settings(polling_seconds=1, cooldown_seconds=30), 120)
    assert world.interrupted >= 1
    assert not world.waits


def test_messages_in_work_hold_their_pod_when_they_are_counted() -> None:
    world = _busy_until(Settings(polling_seconds=1, cooldown_seconds=30, counts_in_flight=True), 120)
    assert (world.interrupted, len(world.waits)) == (0, 1)


def test_a_shrink_waits_for_the_window_and_zero_for_the_cooldown() -> None:
    timeline = Timeline()
    world = World(timeline, random.Random(1), DEFAULT_GRACE)
    settings = Settings(polling_seconds=1, max_replicas=20, pods_at_once=100, down_window_seconds=60)
    Keda(timeline, world, settings, random.Random(1))
    world.publish(Message(10.0, 1.0) for _ in range(100))
    timeline.run(1000)
    (shrunk, to), (gone, zero) = world.writes[-2:]
    assert (to, zero) == (1, 0)
    done = 25.0
    assert 60 <= shrunk - 10.0 <= done + 60 + 15 * 2
    assert 300 <= gone - 10.0 <= done + 300 + 2


def test_an_unreadable_list_changes_nothing() -> None:
    timeline = Timeline()
    world = World(timeline, random.Random(1), DEFAULT_GRACE)
    Keda(timeline, world, Settings(polling_seconds=1, cooldown_seconds=10), random.Random(1))
    world.publish([Message(1.0, 1.0)])
    world.outage(3.0, 500.0)
    timeline.run(400)
    assert world.replicas == 1
