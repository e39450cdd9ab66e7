"""What producers and handlers do: of one seed, the same messages for every scaler."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulate.redis_model import Message

from redisqueue_operator.decide.scaling.limits import NO_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Load:
    """Messages in the order of their arrival; `outages` are (from, to). Seconds from the start."""

    name: str
    text: str
    messages: tuple[Message, ...]
    outages: tuple[tuple[float, float], ...] = ()
    slots: int = 1
    limits: Limits = NO_LIMITS

    def fresh(self) -> list[Message]:
        """The messages, not delivered yet."""
        return [Message(each.arrived, each.handling_seconds, each.fails) for each in self.messages]


def burst(seed: int) -> Load:
    random_, messages, at = random.Random(seed), [], 10.0
    for _ in range(12):
        messages += [Message(at, random_.uniform(0.5, 1.5)) for _ in range(random_.randint(100, 300))]
        at += random_.uniform(200, 900)
    return Load("burst", "100 to 300 messages of 1 s at once, every 3 to 15 minutes", tuple(messages))


def diurnal(seed: int) -> Load:
    random_, period = random.Random(seed), 3 * 3600.0

    def rate(at: float) -> float:
        return max(0.0, 14.0 * math.sin(math.pi * at / period) ** 3)

    messages = (Message(at, random_.expovariate(1.0)) for at in _poisson(random_, rate, 14.0, period))
    return Load("diurnal", "a day in three hours: 0 to 14 messages a second, 1 s each", tuple(messages))


def heavy_tail(seed: int) -> Load:
    random_ = random.Random(seed)

    def handling() -> float:
        return min(600.0, 0.5 * random_.paretovariate(1.1))

    messages = (Message(at, handling()) for at in _poisson(random_, lambda _: 2.0, 2.0, 3600.0))
    return Load("heavy tail", "2 a second; half take under 1 s, one in 200 over a minute", tuple(messages))


def slow(seed: int) -> Load:
    random_, messages, at = random.Random(seed), [], 10.0
    for _ in range(8):
        messages += [Message(at, random_.uniform(20, 240)) for _ in range(random_.randint(5, 40))]
        at += random_.uniform(300, 1200)
    return Load("slow handlers", "5 to 40 messages of 20 to 240 s, every 5 to 20 minutes", tuple(messages))


def poison(seed: int) -> Load:
    random_, messages = random.Random(seed), []
    for at in _poisson(random_, lambda _: 3.0, 3.0, 3600.0):
        chance = random_.random()
        fails = "kills" if chance < 0.002 else "raises" if chance < 0.03 else ""
        messages.append(Message(at, random_.expovariate(1.0), fails))
    text = "3 a second of 1 s; 3 in 100 always raise, 2 in 1000 kill their process"
    return Load("poison", text, tuple(messages))


def outage(seed: int) -> Load:
    random_ = random.Random(seed)
    messages = (Message(at, random_.expovariate(0.5)) for at in _poisson(random_, lambda _: 4.0, 4.0, 2400.0))
    away = ((600.0, 690.0), (1500.0, 1515.0), (1800.0, 1860.0))
    return Load("Redis outage", "4 a second of 2 s; Redis is away for 90, 15 and 60 s", tuple(messages), away)


def sparse(seed: int) -> Load:
    random_ = random.Random(seed)
    messages = (Message(at, 5.0) for at in _poisson(random_, lambda _: 1 / 90, 1 / 90, 4 * 3600.0))
    return Load("sparse", "one message of 5 s every 90 s", tuple(messages))


def slots(seed: int) -> Load:
    random_ = random.Random(seed)

    def rate(at: float) -> float:
        return 60.0 if at % 900 < 240 else 5.0

    messages = (Message(at, random_.expovariate(1.0)) for at in _poisson(random_, rate, 60.0, 2700.0))
    text = "5 a second, for 4 of 15 minutes 60 a second, of 1 s; 8 slots a pod"
    return Load("slots", text, tuple(messages), slots=8)


def limited(seed: int) -> Load:
    random_, messages, at = random.Random(seed), [], 10.0
    for _ in range(4):
        messages += [Message(at, random_.uniform(0.5, 1.5)) for _ in range(600)]
        at += random_.uniform(600, 900)
    text = "600 messages of 1 s at once, every 10 to 15 minutes; at most 2 a second may begin"
    return Load("limited", text, tuple(messages), limits=Limits(rate_per_second=2.0))


def _poisson(
    random_: random.Random, rate: Callable[[float], float], most: float, seconds: float
) -> Iterator[float]:
    """Arrivals at random, `rate(at)` of them a second and never more than `most`."""
    at = 0.0
    while (at := at + random_.expovariate(most)) < seconds:
        if random_.random() * most < rate(at):
            yield at


LOADS: tuple[Callable[[int], Load], ...] = (
    burst,
    diurnal,
    heavy_tail,
    slow,
    poison,
    outage,
    sparse,
    slots,
    limited,
)
