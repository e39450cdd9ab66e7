"""/livez: a loop that stands still is told by name; an API server or a Redis that is away is none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from tests.support.fake_platform import FakePlatform
from tests.support.waiting import PATIENCE_SECONDS, until

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.api.model import Key
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.loop.vitals import Vitals, why_dead
from redisqueue_operator.serve.http import HealthServer
from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("vitals", "word"),
    [
        (Vitals(loop_age_seconds=181), "control loop"),
        (Vitals(resync_age_seconds=901), "resync"),
        (Vitals(sample_age_seconds=61), "sample"),
    ],
)
def test_what_is_too_old_is_named(vitals: Vitals, word: str) -> None:
    assert word in why_dead(vitals)


def test_the_longest_times_that_may_be() -> None:
    assert why_dead(Vitals(loop_age_seconds=180, resync_age_seconds=900, sample_age_seconds=60)) == ""


@contextlib.asynccontextmanager
async def running(
    platform: FakePlatform,
    clock: Callable[[], float],
    connect: Callable[[ConnectionSettings], Any] = ConnectionSettings.connect_async,
) -> AsyncIterator[Engine]:
    engine = Engine(platform, clock=clock, resync_seconds=0.1, connect=connect)
    stop = asyncio.Event()
    task = asyncio.create_task(engine.run(stop))
    try:
        yield engine
    finally:
        stop.set()
        await task


async def livez(engine: Engine) -> tuple[int, str]:
    """Status and text, as the kubelet sees them."""
    server = HealthServer(
        free_port(),
        live=lambda: why_dead(engine.vitals()),
        ready=str,
        explain=lambda namespace, name: None,
        registry=CollectorRegistry(),
    )
    url = f"http://127.0.0.1:{server.bound_port}/livez"
    async with server, aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


# Less than half of the shortest time after which anything is too late.
STEP_SECONDS = 25.0


async def becomes(engine: Engine, clock: Clock, stuck: str, word: str) -> None:
    """As time goes by for what is stuck, /livez fails, with that word in its answer.

    After each step all else gets the time to move on: by this clock it would be late, too.
    """

    def others_moved() -> bool:
        return all(age < STEP_SECONDS for of, age in engine.vitals().ages.items() if of != stuck)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not why_dead(engine.vitals()):
            if engine.vitals().depth:  # the loop's own timers do not know this clock: any event wakes it
                engine.notify(Key("default", "gone"))
            await until(others_moved, "the other parts are at work")
            clock.now += STEP_SECONDS
    status, text = await livez(engine)
    assert status == 503
    assert word in text


class Stuck(FakePlatform):
    """A platform in which one call never comes back."""

    def __init__(self, redis_url: str, where: str) -> None:
        super().__init__(redis_url)
        setattr(self, where, self._never)

    async def _never(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


async def test_a_look_that_never_ends(redis_url: str) -> None:
    platform, clock = Stuck(redis_url, "observe"), Clock()
    async with running(platform, clock) as engine:
        engine.notify(platform.put("jobs"))
        await becomes(engine, clock, "loop", "control loop")


async def test_a_resync_that_never_ends(redis_url: str) -> None:
    clock = Clock()
    async with running(Stuck(redis_url, "keys"), clock) as engine:
        await becomes(engine, clock, "resync", "resync")


async def test_samples_that_end_for_good(redis_url: str) -> None:
    def ends(_: ConnectionSettings) -> Any:
        raise asyncio.CancelledError  # what redis-py lets slip out now and then

    platform, clock = FakePlatform(redis_url), Clock()
    async with running(platform, clock, ends) as engine:
        engine.notify(platform.put("jobs"))
        await becomes(engine, clock, "sample", "sample")


class Away(FakePlatform):
    """An API server that is not there."""

    async def keys(self) -> Any:
        raise ConnectionError("refused")

    async def get(self, _: Any) -> Any:
        raise ConnectionError("refused")


@pytest.mark.parametrize(("kind", "of"), [(FakePlatform, "sample"), (Away, "resync")])
async def test_away_is_not_dead(kind: type[FakePlatform], of: str) -> None:
    platform = kind(f"redis://127.0.0.1:{free_port()}/0")  # where nobody listens
    async with running(platform, time.monotonic) as engine:
        engine.notify(platform.put("jobs"))
        ages = [0.0]

        def tried_again() -> bool:
            ages.append(engine.vitals().ages[of])
            return ages[-1] < max(ages) - 0.2

        await until(tried_again, "another try, answered or not")
        assert why_dead(engine.vitals()) == ""


async def test_nothing_to_do_is_not_dead(redis_url: str) -> None:
    clock = Clock()
    async with running(FakePlatform(redis_url), clock) as engine:
        await asyncio.sleep(0.05)
        clock.now += 600
        assert (await livez(engine))[0] == 200
    clock.now += 10_000
    assert engine.vitals() == Vitals(), "a standby has nothing that could be late"
