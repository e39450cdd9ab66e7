"""Emptying a list: in parts, beside those who publish and claim, and wherever it is interrupted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.documented_keys import undocumented
from tests.support.queues import LossyRedis

from redis_message_queue import LuaScriptError, RedisMessageQueue
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from tests.support.faces import Face
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")
MANY = 2345
MOST_IN_A_CALL = 500


def fill(client: redis.Redis, target: str, number: int = MANY, size: int = 20) -> None:
    """So many messages that were each delivered once, and one more in flight."""
    names = [f"{position:0{size}}" for position in range(number)]
    counts = dict.fromkeys(names, 1) | {"in flight": 3}
    pipeline = client.pipeline(transaction=False)
    if target == "delayed":
        pipeline.zadd(KEYS.delayed, dict.fromkeys(names, 1000000000000000.0))
    else:
        pipeline.lpush(KEYS.pending, *names)
    pipeline.hset(KEYS.delivery_counts, mapping=counts)
    pipeline.hset(KEYS.notes, mapping={names[0]: "1 0 0", "in flight": "2 0 0"})
    pipeline.expire(KEYS.notes, 1000)
    pipeline.execute()


@pytest.mark.parametrize("target", ["pending", "delayed"])
async def test_what_is_purged_is_forgotten_and_nothing_else(
    face: Face, redis_client: redis.Redis, target: str
) -> None:
    fill(redis_client, target)
    queue = face.queue()
    assert await face.call(queue.purge, target=target) == MANY
    assert redis_client.hgetall(KEYS.delivery_counts) == {b"in flight": b"3"}
    assert redis_client.hgetall(KEYS.notes) == {b"in flight": b"2 0 0"}
    assert redis_client.keys("{jobs}::*:purged") == []
    assert await face.call(queue.purge, target=target) == 0


@pytest.mark.one_node
@pytest.mark.parametrize("target", ["pending", "delayed"])
def test_no_call_takes_more_than_a_part(redis_client: redis.Redis, target: str) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.purge(target=target)  # loads the script
    fill(redis_client, target)
    redis_client.config_resetstat()
    assert queue.purge(target=target) == MANY
    calls = {name: facts["calls"] for name, facts in redis_client.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] >= MANY / MOST_IN_A_CALL
    assert calls["cmdstat_lpop" if target == "pending" else "cmdstat_zpopmin"] <= MANY + 5
    assert not calls.keys() & {"cmdstat_lrange", "cmdstat_zrange"}


@pytest.mark.one_node
def test_large_messages_are_taken_in_smaller_parts(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.purge(target="pending")
    fill(redis_client, "pending", 20, size=200_000)
    redis_client.config_resetstat()
    assert queue.purge(target="pending") == 20
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] >= 10


@pytest.mark.one_node
@pytest.mark.parametrize("target", ["pending", "completed", "failed", "dead_letter"])
def test_a_list_without_delivery_counts_goes_in_one_call(redis_client: redis.Redis, target: Any) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    queue.purge(target=target)
    redis_client.lpush(getattr(KEYS, target), *[str(number) for number in range(MANY)])
    if target != "pending":
        redis_client.hset(KEYS.delivery_counts, "1", 1)  # a value without envelope, in flight
    redis_client.config_resetstat()
    assert queue.purge(target=target) == MANY
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    assert redis_client.hlen(KEYS.delivery_counts) == (target != "pending")


class Interrupted(LossyRedis):
    """Somebody presses Ctrl-C in a later call of a script, before or after the server heard of it."""

    left, heard = 10**9, False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.left -= args[0] == "EVALSHA"
        if self.left < 0 and not self.heard:
            raise KeyboardInterrupt
        reply = super().execute_command(*args, **options)
        if self.left < 0:
            raise KeyboardInterrupt
        return reply


@pytest.fixture
def frail(server: Server) -> Iterator[Interrupted]:
    """A client of which each call may be the last."""
    with Interrupted.from_url(server.url) as client:
        yield client


@pytest.mark.one_node
@pytest.mark.parametrize("target", ["pending", "delayed"])
@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("heard", [True, False])
def test_an_interrupted_purge_is_finished_by_the_next(
    redis_client: redis.Redis, frail: Interrupted, target: Any, calls: int, heard: bool
) -> None:
    RedisMessageQueue("{jobs}", client=redis_client).purge(target=target)
    fill(redis_client, target)
    queue = RedisMessageQueue("{jobs}", client=frail)
    frail.left, frail.heard = calls, heard
    with pytest.raises(KeyboardInterrupt):
        queue.purge(target=target)
    assert undocumented(redis_client, "{jobs}") == []
    came_later = "published after the purge began"
    redis_client.lpush(KEYS.pending, came_later)
    begun = calls + heard > 0
    frail.left = 10**9
    there = (0 if begun else MANY) + (target == "pending")
    assert queue.purge(target=target) == there
    assert redis_client.hgetall(KEYS.delivery_counts) == {b"in flight": b"3"}
    assert redis_client.hgetall(KEYS.notes) == {b"in flight": b"2 0 0"}
    assert redis_client.keys("{jobs}::*:purged") == []
    assert redis_client.llen(KEYS.pending) == (target == "delayed")


@pytest.mark.one_node
def test_a_call_that_is_repeated_takes_nothing_that_came_since(
    redis_client: redis.Redis, frail: Interrupted
) -> None:
    queue = RedisMessageQueue("{jobs}", client=frail)
    queue.purge(target="pending")
    for _ in range(3):
        fill(redis_client, "pending")
        frail.lose = 1
        assert queue.purge(target="pending") == MANY
        assert redis_client.exists(KEYS.pending, f"{KEYS.pending}:purged") == 0


def test_beside_producers_each_message_is_purged_once_or_stays(
    server: Server, redis_client: redis.Redis
) -> None:
    """Two purge again and again, three publish: the way of 7.0.0, which is one LPUSH, is among them."""
    redis_client.hset(KEYS.delivery_counts, "in flight", 3)
    number, purged = 300, [0, 0]
    ended = threading.Event()

    def publish(name: str) -> None:
        with server.blocking() as client:
            queue = RedisMessageQueue("{jobs}", client=client)
            for position in range(number):
                if name == "raw":
                    client.lpush(KEYS.pending, f"raw {position}")
                else:
                    queue.publish(f"{name} {position}")

    def purge(place: int) -> None:
        with server.blocking() as client:
            queue = RedisMessageQueue("{jobs}", client=client)
            while not ended.is_set():
                purged[place] += queue.purge(target="pending")

    producers = [threading.Thread(target=publish, args=(name,)) for name in ("a", "b", "raw")]
    purgers = [threading.Thread(target=purge, args=(place,)) for place in range(2)]
    for thread in producers + purgers:
        thread.start()
    for thread in producers:
        thread.join()
    ended.set()
    for thread in purgers:
        thread.join()
    assert sum(purged) + redis_client.llen(KEYS.pending) == 3 * number
    assert redis_client.exists(f"{KEYS.pending}:purged") == 0
    assert redis_client.hgetall(KEYS.delivery_counts) == {b"in flight": b"3"}


@pytest.mark.foreign_keys("something else stands under the name of one")
async def test_something_else_under_a_name_is_left_alone(face: Face, redis_client: redis.Redis) -> None:
    fill(redis_client, "pending", 3)
    redis_client.set(f"{KEYS.pending}:purged", "somebody else's")
    with pytest.raises(LuaScriptError, match=r"WRONGTYPE .*:purged is a string"):
        await face.call(face.queue().purge, target="pending")
    assert redis_client.llen(KEYS.pending) == 3
