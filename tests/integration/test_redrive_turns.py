"""Redrives take turns: those that are slow by their own wish, or by their letters, hold up no other."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.queues import payloads
from tests.support.redisqueue_cases import redrive
from tests.support.resources import manifest
from tests.support.waiting import until

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.apply.writer import TokenBucket
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.redrive import run
from redisqueue_operator.redrive.controller import AT_ONCE, EACH, SLOW_SECONDS
from redisqueue_operator.redrive.match import Match
from redisqueue_operator.redrive.match_process import PROGRAM, MatchProcess
from redisqueue_operator.redrive.resource import Redrive, parse
from redisqueue_operator.redrive.room import Room
from redisqueue_operator.redrive.run import LARGEST_LETTER_BYTES, carry_out
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    import redis
    from tests.support.fault_proxy import Request

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.redrive.status import RedriveState


class Around:
    """What redrives need of their controller, over one Redis; every RedisQueue exists."""

    def __init__(self, redis_url: str) -> None:
        self.connections: Any = self
        self.connect = ConnectionSettings.connect_async
        self.slots: Bulkhead[str] = Bulkhead(total=AT_ONCE, each=EACH, slow_seconds=SLOW_SECONDS)
        self.room = Room(LARGEST_LETTER_BYTES)
        self.batches = TokenBucket(100, 10)
        self.told: dict[str, RedriveState] = {}
        self.at: dict[str, ConnectionSettings] = {}
        self._settings = ConnectionSettings(url=redis_url)

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> ConnectionSettings:
        return self.at.get(rq.key.name, self._settings)

    async def queue(self, key: Key) -> dict[str, Any]:
        return manifest(key.name, queue={"name": key.name})

    async def pause(self, _redrive: Redrive, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def report(self, redrive: Redrive, state: RedriveState) -> bool:
        self.told[redrive.key.name] = state
        return True

    def moved(self, name: str) -> int:
        state = self.told.get(name)
        return state.progress.moved if state is not None and state.progress is not None else 0


def wanted(name: str, **spec: Any) -> Redrive:
    obj = redrive(queueRef={"name": name}, **spec)
    obj["metadata"] |= {"name": name, "uid": name, "generation": 1, "resourceVersion": "1"}
    return parse(obj)


def matchers() -> int:
    """How many processes of this one match letters now."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            for child in (task / "children").read_text().split():
                with suppress(OSError):  # the process has
                    found += PROGRAM in Path(f"/proc/{child}/cmdline").read_text()
    return found


@pytest.mark.parametrize(
    "slow",
    [
        {"ratePerSecond": 0.01},
        {"ratePerSecond": 0.01, "match": {"pattern": "letter"}},
        {"ratePerSecond": 3},
        {"match": {"pattern": "nothing has this (a+)+$"}},
    ],
    ids=["one in 100 s", "matched", "three a second", "many letters"],
)
async def test_another_one_moves_while_as_many_as_there_are_slots_go_on(
    redis_url: str, redis_client: redis.Redis, slow: dict[str, Any]
) -> None:
    around = Around(redis_url)
    names = [f"slow-{number}" for number in range(AT_ONCE)]
    paced = "ratePerSecond" in slow
    for name in names:
        letters = (f"letter {number}" for number in range(40 if paced else 30_000))
        redis_client.lpush(QueueKeys(name).dead_letter, *letters)
    redis_client.lpush(QueueKeys("quick").dead_letter, *(f"quick {number}" for number in range(50)))
    tasks = [asyncio.create_task(carry_out(wanted(name, **slow), around)) for name in names]

    def begun() -> bool:
        progress = [around.told[name].progress for name in names if name in around.told]
        return sum(each is not None for each in progress) == AT_ONCE

    try:
        await until(begun, "all slow ones have looked at letters")
        ended = await carry_out(wanted("quick"), around)
        assert ended.phase == "Succeeded"
        assert payloads(redis_client, QueueKeys("quick").pending) == [f"quick {n}" for n in range(50)]
        assert not any(task.done() for task in tasks), "the slow ones are still under way"
        assert matchers() <= AT_ONCE
        if slow.get("ratePerSecond", 1) < 1:
            await until(lambda: matchers() == 0, "who waits for a minute keeps no process")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert matchers() == 0
    assert around.slots.held == 0, "all slots were given back"


async def test_turns_keep_the_pace(redis_url: str, redis_client: redis.Redis) -> None:
    around = Around(redis_url)
    around.slots = Bulkhead(total=1, each=1, slow_seconds=SLOW_SECONDS)
    for name in ("a", "b"):
        redis_client.lpush(QueueKeys(name).dead_letter, *(f"letter {number}" for number in range(50)))
    started = time.monotonic()
    both = [carry_out(wanted(name, ratePerSecond=20, match={"pattern": "letter"}), around) for name in "ab"]
    for ended in await asyncio.gather(*both):
        assert ended.progress is not None
        assert ended.progress.moved == 50
    assert time.monotonic() - started >= (50 - 5) / 20, "the first 5 go at once"


@pytest.mark.parametrize("spec", [{}, {"match": {"pattern": "x$"}}], ids=["all", "matched"])
async def test_a_letter_too_large_for_a_shared_operator_is_told(
    redis_url: str, redis_client: redis.Redis, spec: dict[str, Any]
) -> None:
    around, keys = Around(redis_url), QueueKeys("large")
    redis_client.lpush(keys.dead_letter, "x", b"x" * (LARGEST_LETTER_BYTES + 1), "x")
    ended = await carry_out(wanted("large", **spec), around)
    assert (ended.phase, ended.reason) == ("Failed", "PayloadTooLarge")
    assert "`redisqueue redrive` moves it" in ended.message
    assert payloads(redis_client, keys.pending) == ["x"]
    assert redis_client.llen(keys.dead_letter) == 2


async def test_large_letters_reach_the_process_that_matches_as_they_are() -> None:
    letters = [b"a" * 1_000_000 + b"\xff\n", b"", b"b" * 1_000_000]
    async with MatchProcess(Match(pattern="[ab]{1000000}$")) as process:
        assert await process(letters) == [False, False, True]
        await process.rest()
        assert await process(letters) == [False, False, True], "another process, after a rest"


async def test_as_many_as_there_are_slots_at_a_server_that_hangs_hold_up_no_other_server(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """No batch of theirs ends before it is told to."""
    hang = threading.Event()
    seen: list[bytes] = []

    def rule(request: Request) -> None:
        if request[0].upper().startswith(b"EVAL"):
            seen.append(request[0])
            assert hang.wait(60), "the test has ended"

    names = [f"hanging-{number}" for number in range(2 * AT_ONCE)]
    around = Around(redis_url)
    with EmbeddedRedis() as server, FaultProxy(server.port, rule) as proxy:
        around.at = dict.fromkeys(names, ConnectionSettings(url=proxy.url, socket_timeout_seconds=90))
        tasks = [asyncio.create_task(carry_out(wanted(name), around)) for name in names]
        try:
            await until(lambda: len(seen) == EACH, "as many as may hang there")
            for name in ("one", "two"):
                redis_client.lpush(QueueKeys(name).dead_letter, name)
                assert (await carry_out(wanted(name), around)).phase == "Succeeded"
            assert len(seen) == EACH
            hang.set()
            for ended in await asyncio.gather(*tasks):
                assert ended.phase == "Succeeded"
        finally:
            hang.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert around.slots.held == 0


async def test_a_batch_without_end_gives_its_place_back(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LONGEST_BATCH_SECONDS", 0.3)
    around = Around(redis_url)
    redis_client.lpush(QueueKeys("drips").dead_letter, "x")
    drips = {"now": True}

    def rule(request: Request) -> Fault | None:
        return Fault.SILENCE if drips["now"] and request[0].upper().startswith(b"EVAL") else None

    with FaultProxy(redis_client.connection_pool.connection_kwargs["port"], rule) as proxy:
        around.at["drips"] = ConnectionSettings(url=proxy.url, socket_timeout_seconds=90)
        task = asyncio.create_task(carry_out(wanted("drips"), around))
        await until(
            lambda: told_of(around, "drips") == "Pending" and around.slots.held == 0,
            "it waits, says so, and holds nothing",
        )
        drips["now"] = False
        assert (await task).phase == "Succeeded"


def told_of(around: Around, name: str) -> str:
    return around.told[name].phase if name in around.told else ""


async def test_large_letters_of_all_redrives_share_one_room(
    redis_url: str, redis_client: redis.Redis
) -> None:
    around, size = Around(redis_url), 1 << 20
    around.room = Room(2 * size)
    names = [f"large-{number}" for number in range(6)]
    for name in names:
        redis_client.lpush(QueueKeys(name).dead_letter, "small", *["x" * size] * 2, "small")
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, 2 * size - around.room.free)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    ways = [{}, {"match": {"pattern": "x"}}, {"dryRun": True, "match": {"pattern": "x"}}]
    specs = {name: ways[number % 3] for number, name in enumerate(names)}
    ends = await asyncio.gather(*(carry_out(wanted(name, **specs[name]), around) for name in names))
    watching.cancel()
    assert [ended.phase for ended in ends] == ["Succeeded"] * len(names)
    assert [ended.progress.moved for ended in ends if ended.progress] == [4, 2, 2] * 2
    assert most == 2 * size, "as many as there is room for, and no more"
    assert around.room.free == 2 * size


async def test_a_large_letter_of_one_server_waits_for_two_of_another_at_most() -> None:
    room = Room(10)
    await room.take(10, "busy")
    order: list[str] = []

    async def letter(server: str) -> None:
        await room.take(10, server)
        order.append(server)
        await asyncio.sleep(0)
        room.give(10)

    tasks = [asyncio.create_task(letter(server)) for server in ["busy"] * 5 + ["other"]]
    await asyncio.sleep(0)
    room.give(10)
    await asyncio.gather(*tasks)
    assert order.index("other") <= 1
    assert room.free == 10
