"""Redrive: letters become pending again, once each, oldest first, those chosen, as fast as asked."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import AsyncLossyRedis, LossyRedis, everything, payloads

from redis_message_queue import (
    ConfigurationError,
    PayloadTooLargeError,
    RedisMessageQueue,
    RedriveProgress,
)
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from tests.support.faces import Face
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")


def even(batch: Sequence[bytes]) -> list[bool]:
    """Whether each payload is an even number."""
    return [int(payload) % 2 == 0 for payload in batch]


def numbers(*those: range) -> list[str]:
    return [str(number) for part in those for number in part]


async def test_what_does_not_match_stays_where_it_is(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(350)), "2", "2", "3")
    done = await face.call(face.queue().redrive, match=face.callback(even))
    assert done == RedriveProgress(moved=177, skipped=176, remaining=0)
    assert payloads(redis_client, KEYS.pending) == [*numbers(range(0, 350, 2)), "2", "2"]
    assert payloads(redis_client, KEYS.dead_letter) == [*numbers(range(1, 350, 2)), "3"]
    ids = {stored[: stored.index(b",")] for stored in redis_client.lrange(KEYS.pending, 0, -1)}
    assert len(ids) == 177  # an envelope of its own, so a delivery budget of its own


async def test_failed_letters_too_and_no_more_than_asked_for(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.failed, *numbers(range(300)))
    queue = face.queue()
    done = await face.call(queue.redrive, "failed", max_messages=120, match=face.callback(even))
    assert (done.moved, done.moved + done.skipped + done.remaining) == (120, 300)
    assert payloads(redis_client, KEYS.pending) == numbers(range(0, 240, 2))
    assert payloads(redis_client, KEYS.failed) == numbers(range(1, 239, 2), range(239, 300))


async def test_a_dry_run_counts_and_changes_nothing(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(150)))
    before, queue = everything(redis_client), face.queue()
    match = face.callback(even)
    assert await face.call(queue.redrive, match=match, dry_run=True, record="r") == RedriveProgress(75, 75, 0)
    some = await face.call(queue.redrive, max_messages=20, dry_run=True)
    assert some == RedriveProgress(20, 0, 130)
    assert everything(redis_client) == before


async def test_letters_that_fail_again_meanwhile_are_left_for_another_time(
    face: Face, redis_client: redis.Redis
) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(25)))

    def fails_at_once(batch: Sequence[bytes]) -> list[bool]:
        redis_client.lpush(KEYS.dead_letter, *batch)
        return [True] * len(batch)

    done = await face.call(face.queue().redrive, match=face.callback(fails_at_once))
    assert done == RedriveProgress(25, 0, 0)
    assert payloads(redis_client, KEYS.pending) == numbers(range(25))
    assert payloads(redis_client, KEYS.dead_letter) == numbers(range(25))


async def test_it_goes_on_where_it_was_stopped(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(100)))
    queue, told = face.queue(), []

    def stop(progress: RedriveProgress) -> None:
        told.append(progress)
        raise KeyboardInterrupt

    again = {"record": "mine", "match": face.callback(even)}
    with pytest.raises(KeyboardInterrupt):
        await face.call(queue.redrive, max_messages=40, on_progress=face.callback(stop), **again)
    assert 0 < told[-1].moved < 40
    redis_client.lpush(KEYS.dead_letter, *numbers(range(100, 200)))
    done = await face.call(queue.redrive, max_messages=40, **again)
    assert (done.moved, done.remaining) == (40, 100 - 40 - done.skipped)
    assert (await face.call(queue.redrive, max_messages=40, **again)).moved == 40
    assert payloads(redis_client, KEYS.pending) == numbers(range(0, 80, 2))
    assert await face.call(queue.redrive, **again) == RedriveProgress(50, 50, 0)  # of those of the start
    assert redis_client.llen(KEYS.dead_letter) == 150


async def test_two_runs_of_one_name_share_the_count(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(100)))
    other = RedisMessageQueue("{jobs}", client=redis_client)
    both = {"record": "mine", "max_messages": 30}
    second: list[RedriveProgress] = []

    def meanwhile(batch: Sequence[bytes]) -> list[bool]:
        if not second:
            second.append(other.redrive(**both))
        return [True] * len(batch)

    first = await face.call(face.queue().redrive, match=face.callback(meanwhile), **both)
    assert [first.moved, second[0].moved] == [30, 30]
    assert payloads(redis_client, KEYS.pending) == numbers(range(30))
    assert payloads(redis_client, KEYS.dead_letter) == numbers(range(30, 100))


async def test_it_keeps_to_its_pace(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(60)))
    told: list[int] = []
    began = time.monotonic()
    note = face.callback(lambda progress: told.append(progress.moved))
    await face.call(face.queue().redrive, per_second=100, on_progress=note)
    assert time.monotonic() - began >= (60 - 25) / 100
    assert max(after - before for before, after in zip([0, *told], told, strict=False)) <= 25
    assert told[-1] == 60


@pytest.mark.parametrize("taken", [1, 7])
async def test_somebody_else_may_take_letters_meanwhile(
    face: Face, redis_client: redis.Redis, taken: int
) -> None:
    redis_client.lpush(KEYS.dead_letter, *numbers(range(200)))
    gone: list[str] = []

    def others_take(batch: Sequence[bytes]) -> list[bool]:
        if len(gone) < 3 * taken:
            gone.extend(value.decode() for value in redis_client.rpop(KEYS.dead_letter, taken))
        return even(batch)

    await face.call(face.queue().redrive, match=face.callback(others_take))
    moved, left = payloads(redis_client, KEYS.pending), payloads(redis_client, KEYS.dead_letter)
    assert sorted([*moved, *left, *gone], key=int) == numbers(range(200))
    assert moved == sorted(moved, key=int)
    assert left == sorted(left, key=int)
    assert even([value.encode() for value in left]) == [False] * len(left)


@pytest.mark.one_node
async def test_a_lost_reply_moves_nothing_twice(
    face: Face, redis_client: redis.Redis, server: Server
) -> None:
    redis_client.lpush(KEYS.dead_letter, *["same"] * 30)
    kind: Any = AsyncLossyRedis if face.name == "async" else LossyRedis
    client = kind(connection_pool=face.client().connection_pool)

    def lose(batch: Sequence[bytes]) -> list[bool]:
        client.lose = 2
        return [True] * len(batch)

    done = await face.call(face.queue(client=client).redrive, max_messages=20, match=face.callback(lose))
    assert done == RedriveProgress(20, 0, 10)
    assert payloads(redis_client, KEYS.pending) == ["same"] * 20
    assert payloads(redis_client, KEYS.dead_letter) == ["same"] * 10


async def test_large_letters_are_read_a_few_at_a_time(face: Face, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *["x" * 300_000] * 30)
    sizes: list[int] = []
    note = face.callback(lambda batch: sizes.append(sum(map(len, batch))) or [True] * len(batch))
    await face.call(face.queue().redrive, match=note)
    assert redis_client.llen(KEYS.pending) == 30
    assert max(sizes[1:]) <= 1 << 20


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_letter_larger_than_allowed_is_not_read(
    face: Face, redis_client: redis.Redis, *, dry_run: bool
) -> None:
    redis_client.lpush(KEYS.dead_letter, *["small"] * 15, "x" * 70_001, "behind it")
    seen: list[bytes] = []
    match = face.callback(lambda batch: seen.extend(batch) or [True] * len(batch))
    queue = face.queue()
    with pytest.raises(PayloadTooLargeError, match="has 70001 bytes, 'max_payload_bytes' is 70000"):
        await face.call(queue.redrive, match=match, max_payload_bytes=70_000, dry_run=dry_run)
    assert seen == [b"small"] * 15
    assert redis_client.llen(KEYS.pending) == (0 if dry_run else 15)
    rest = await face.call(queue.redrive, match=match, max_payload_bytes=70_001, dry_run=dry_run)
    assert (rest.moved, rest.remaining) == (17 if dry_run else 2, 0)


@pytest.mark.parametrize("dry_run", [False, True])
async def test_room_is_made_for_each_large_letter_and_it_is_gone_when_progress_is_told(
    face: Face, redis_client: redis.Redis, *, dry_run: bool
) -> None:
    size = 8 << 20
    redis_client.lpush(KEYS.dead_letter, *["small"] * 15, "a" * size, "a" * (size + 1), "small")
    told: list[object] = []
    before: list[int] = []

    def make_room(size: int) -> None:
        told.append(("room for", size))
        before.append(tracemalloc.get_traced_memory()[0])

    def note(_: RedriveProgress) -> None:
        if before:
            told.append(tracemalloc.get_traced_memory()[0] - before[-1] < size // 4)

    tracemalloc.start()
    try:
        done = await face.call(
            face.queue().redrive,
            match=face.callback(lambda batch: told.append(max(map(len, batch))) or [True] * len(batch)),
            dry_run=dry_run,
            max_payload_bytes=size + 1,
            make_room=face.callback(make_room),
            on_progress=face.callback(note),
        )
    finally:
        tracemalloc.stop()
    assert done == RedriveProgress(18, 0, 0)
    first, second = (("room for", size), size, True), (("room for", size + 1), size + 1, True)
    assert told[-8:] == [*first, *second, 5, True]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"source": "pending"}, ConfigurationError, "'source' must be one of 'dead_letter', 'failed'"),
        ({"max_messages": 0}, ConfigurationError, "'max_messages' must be positive"),
        ({"per_second": 0}, ConfigurationError, "'per_second' must be positive"),
        ({"per_second": 5e-324}, ConfigurationError, "'per_second' must not be below 3.17"),
        ({"max_payload_bytes": 0}, ConfigurationError, "'max_payload_bytes' must be positive"),
        ({"match": "x"}, TypeError, "'match' must be callable"),
        ({"record": " "}, ConfigurationError, "'record' must be a non-empty string"),
    ],
)
async def test_wrong_arguments_are_named(
    face: Face, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await face.call(face.queue().redrive, **arguments)
