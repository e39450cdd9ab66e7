"""The model of the HorizontalPodAutoscaler: from zero, its steps, its window and its tolerance.

Its reaction times are those that were measured of Kubernetes 1.37; the rest is as its documentation says.
"""

from __future__ import annotations

import dataclasses
import json
import random
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from tests.simulate.hpa import WRITE_SECONDS, Autoscaler, HorizontalPodAutoscaler
from tests.simulate.keda import DEFAULT_GRACE
from tests.simulate.redis_model import Message
from tests.simulate.timeline import Timeline
from tests.simulate.world import START_UP_SECONDS, World

DEFAULT = Autoscaler(target=5, max_replicas=20)
TUNED = Autoscaler(target=5, max_replicas=20, sync_seconds=1, down_window_seconds=60, pods_at_once=100)


def _world(slots: int = 1) -> World:
    return World(Timeline(), random.Random(1), DEFAULT_GRACE, slots)


def _numbers(world: World) -> list[int]:
    return [replicas for _, replicas in world.writes]


@pytest.mark.parametrize(("settings", "steps"), [(DEFAULT, [4, 8, 16, 20]), (TUNED, [20])])
def test_the_steps_from_zero(settings: Autoscaler, steps: list[int]) -> None:
    world = _world(slots=0)  # nobody takes a message
    HorizontalPodAutoscaler(world.timeline, world, settings, random.Random(1))
    world.publish(Message(30.0, 1.0) for _ in range(100))
    world.timeline.run(100)
    assert _numbers(world) == steps
    times = [at for at, _ in world.writes]
    assert 30 <= times[0] <= 30 + settings.sync_seconds + 0.15
    assert all(abs(later - at - settings.sync_seconds) <= 0.1 for at, later in pairwise(times))


@pytest.mark.parametrize("settings", [DEFAULT, TUNED])
def test_it_goes_to_zero_after_its_window_and_comes_back(settings: Autoscaler) -> None:
    world = _world()
    HorizontalPodAutoscaler(world.timeline, world, settings, random.Random(1))
    world.publish(Message(at, 1.0) for at in (30.0, 1000.0))
    world.timeline.run(2000)
    assert _numbers(world) == [1, 0, 1, 0]
    (woken, _), (gone, _) = world.writes[:2]
    window = settings.down_window_seconds
    assert (
        window - settings.sync_seconds
        <= gone - woken
        <= window + 2 * settings.sync_seconds + START_UP_SECONDS[1]
    )


def test_with_a_minimum_it_is_off_at_zero() -> None:
    world = _world()
    HorizontalPodAutoscaler(world.timeline, world, Autoscaler(target=5, min_replicas=1), random.Random(1))
    world.publish([Message(30.0, 1.0)])
    world.timeline.run(100)
    assert world.writes == []


@pytest.mark.parametrize(("value", "replicas"), [(45, 10), (55, 10), (44, 9), (56, 12)])
def test_a_tenth_more_or_less_changes_nothing(value: int, replicas: int) -> None:
    world = _world()
    world.scale(10)
    settings = Autoscaler(target=5, max_replicas=20, down_window_seconds=0)
    HorizontalPodAutoscaler(world.timeline, world, settings, random.Random(1), lambda: value)
    world.timeline.run(100)
    assert world.replicas == replicas


def test_what_cannot_be_told_changes_nothing() -> None:
    world = _world()
    HorizontalPodAutoscaler(world.timeline, world, TUNED, random.Random(1))
    world.publish([Message(1.0, 1.0)])
    world.outage(3.0, 500.0)
    world.timeline.run(400)
    assert world.replicas == 1


FILE = Path(__file__).parents[2] / "bench" / "results" / "hpa.json"
RESULTS = json.loads(FILE.read_text())["results"]


@pytest.mark.parametrize("kind", ["0 → 1", "0 → 20"])
@pytest.mark.parametrize(("side", "period"), [("HPA, every 15 s", 15.0), ("HPA, every 1 s", 1.0)])
def test_it_reacts_as_the_real_one_was_measured_to(kind: str, side: str, period: float) -> None:
    """Every measured time is one that the model gives too, and so is the median of so few."""
    found = [one["delays"] for one in RESULTS if (one.get("side"), one.get("kind")) == (side, kind)]
    measured = sorted(delay for delays in found for delay in delays)
    settings = dataclasses.replace(TUNED, sync_seconds=period)
    messages, replicas = {"0 → 1": (1, 1), "0 → 20": (100, 20)}[kind]
    modelled = [_reaction(settings, messages, replicas, seed) for seed in range(1000)]
    medians = [median(modelled[n : n + len(measured)]) for n in range(0, len(modelled), len(measured))]
    # A write takes as long as the machine wants: the model says a tenth of a second.
    assert min(modelled) - WRITE_SECONDS[0] <= measured[0]
    assert measured[-1] <= max(modelled) + WRITE_SECONDS[1]
    assert min(medians) <= median(measured) <= max(medians)


def _reaction(settings: Autoscaler, messages: int, replicas: int, seed: int) -> float:
    """Seconds from messages in a queue at rest to that number of replicas."""
    random_ = random.Random(seed)
    world = _world(slots=0)
    HorizontalPodAutoscaler(world.timeline, world, settings, random_)
    published = 30.0 + random_.uniform(0, settings.sync_seconds)
    world.publish(Message(published, 1.0) for _ in range(messages))
    world.timeline.run(published + 2 * settings.sync_seconds)
    return next(at for at, number in world.writes if number == replicas) - published
