"""A load, a scaler, and what came of it."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulate.redis_model import VISIBILITY_TIMEOUT_SECONDS
from tests.simulate.timeline import Timeline
from tests.simulate.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulate.loads import Load
    from tests.simulate.scalers import Scaler

TAIL_SECONDS = 300.0 + 10 * VISIBILITY_TIMEOUT_SECONDS
"""After the last message: for every cooldown to end, and for the leases of what kills its worker."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scaler made of one load. Times in seconds."""

    load: str
    scaler: str
    messages: int
    wait_p50: float
    wait_p99: float
    wait_max: float
    """From a message's arrival to its end, less what its handler takes: waiting, and work done in vain."""
    pod_seconds: float
    """From the request for a pod to its end."""
    interrupted: int
    """Handlers cut off because their pod went."""
    flaps: int
    """How often the number of replicas turned from growing to shrinking or back."""
    writes: int
    most_replicas: int
    dead_letters: int
    steps: tuple[tuple[float, int], ...]
    """(time, replicas) of each change."""
    unfinished: int
    """Messages that could have been done and were not, a long while after the last one arrived."""


def play(load: Load, scaler: Scaler, seed: int) -> Outcome:
    """Let the scaler work on the load. The same arguments give the same outcome."""
    timeline = Timeline()
    world = World(timeline, random.Random(f"world {seed}"), scaler.grace, load.slots, load.limits)
    world.publish(load.fresh())
    for start, end in load.outages:
        world.outage(start, end)
    scaler.start(timeline, world, random.Random(f"scaler {seed}"), load.slots)
    timeline.run(load.messages[-1].arrived + TAIL_SECONDS)
    unfinished = [message for message in world.redis.unfinished() if not message.fails]
    waits = sorted([*world.waits, *(timeline.now - message.arrived for message in unfinished)])
    replicas = [0, *(number for _, number in world.writes)]
    return Outcome(
        load=load.name,
        scaler=scaler.name,
        messages=len(load.messages),
        wait_p50=percentile(waits, 50),
        wait_p99=percentile(waits, 99),
        wait_max=waits[-1],
        pod_seconds=world.pod_seconds(),
        interrupted=world.interrupted,
        flaps=turns(replicas),
        writes=len(world.writes),
        most_replicas=max(replicas),
        dead_letters=world.redis.dead_letters,
        steps=tuple(world.writes),
        unfinished=len(unfinished),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of these values that at least so many percent of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def turns(numbers: Sequence[int]) -> int:
    """How often a row of numbers changes its direction."""
    ways = [later > before for before, later in itertools.pairwise(numbers) if later != before]
    return sum(before != after for before, after in itertools.pairwise(ways))
