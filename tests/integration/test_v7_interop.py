"""Processes of redis-message-queue 7.0.0 and of ours share a queue: messages, duplicates, lists, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.v7 import WAITLESS, Peer, PeerError, PeerQueue, let_leases_expire
from tests.support.worker_process import WorkerProcess, eventually

import redis_message_queue
from redis_message_queue import RedisMessageQueue
from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement
from redis_message_queue.envelope import default_deduplication_key

if TYPE_CHECKING:
    from pathlib import Path

    import redis

pytestmark = pytest.mark.interop

# library and face of the one who begins, then of the other
PAIRS = [
    (("v7", "sync"), ("ours", "sync")),
    (("v7", "async"), ("ours", "async")),
    (("ours", "sync"), ("v7", "async")),
    (("ours", "async"), ("v7", "sync")),
]
MESSAGES: dict[str, Any] = {
    "plain": "plain",
    "": "",
    'grüße \U0001f600 \x1e \x00 / \\ "': 'grüße \U0001f600 \x1e \x00 / \\ "',
    '\x1eRMQ1:{"id":"x"}': '\x1eRMQ1:{"id":"x"}',
    '{"a": [1, null, 1.5], "b": {"x": "\\u00e9/", "y": true}}': {
        "b": {"y": True, "x": "é/"},
        "a": [1, None, 1.5],
    },
    "x" * 100_000: "x" * 100_000,
}
SAME = [
    ({"b": "é/", "a": 1}, {"a": 1, "b": "é/"}),
    ({"x": {"b": 1, "a": [{"d": 1, "c": 2}]}}, {"x": {"a": [{"c": 2, "d": 1}], "b": 1}}),
    ({"a": 1}, '{"a": 1}'),
    ("grüße \U0001f600", "grüße \U0001f600"),
    ("", ""),
    ({}, "{}"),
    ({"big": 2**80, "small": 1e-7}, {"small": 0.0000001, "big": 2**80}),
]


def made(peers: dict[str, Peer], who: tuple[str, str], **options: Any) -> PeerQueue:
    """A queue of that library and face."""
    library, face = who
    return peers[library].queue(face=face, **options)


@pytest.fixture(params=PAIRS, ids=lambda pair: "-then-".join("".join(who) for who in pair))
def pair(request: pytest.FixtureRequest, redis_url: str) -> Any:
    return request.param


def test_what_one_publishes_the_other_handles(peers: dict[str, Peer], pair: Any) -> None:
    one, other = made(peers, pair[0]), made(peers, pair[1])
    assert one.publish(*MESSAGES.values()) == [True] * len(MESSAGES)
    assert other.handle(len(MESSAGES)) == list(MESSAGES)


def test_our_worker_level_handles_what_7_publishes(peers: dict[str, Peer], redis_client: redis.Redis) -> None:
    made(peers, ("v7", "sync")).publish(*MESSAGES.values())
    consumer = Consumer(redis_client, "q")
    claims = consumer.claim(100).claims
    assert [text(claim) for claim in claims] == list(MESSAGES)
    assert consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims]).applied == (True,) * 6
    assert redis_client.keys("q::p*") != []
    assert all(
        key.endswith(b":lease_token_counter") or b"_result:" in key for key in redis_client.keys("q::p*")
    )


async def test_our_asyncio_worker_level_handles_what_7_publishes(
    peers: dict[str, Peer], redis_url: str
) -> None:
    import redis.asyncio

    made(peers, ("v7", "async")).publish(*MESSAGES.values())
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        consumer = AsyncConsumer(client, "q")
        claims = (await consumer.claim(100)).claims
        assert [text(claim) for claim in claims] == list(MESSAGES)
        ends = [Settlement(claim, Outcome.DONE) for claim in claims]
        assert (await consumer.settle(ends)).applied == (True,) * 6


def text(claim: Claim) -> str:
    return claim.payload.decode() if isinstance(claim.payload, bytes) else claim.payload


def test_a_worker_handles_what_7_publishes_and_7_finds_what_it_keeps(
    peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    queue = peers["v7"].queue("jobs")
    queue.publish("a", "dead", "boom", "retry")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=1, keep_failed=10) as worker:
        del worker
        done = tmp_path / "finished"
        eventually(lambda: done.exists() and len(done.read_text().split("\n")) > 2, "two were handled")
        eventually(lambda: redis_client.exists("jobs::dlq", "jobs::failed") == 2, "two were not")
    assert sorted(done.read_text().splitlines()) == ["a 1", "retry 2"]
    assert redis_client.lrange("jobs::dlq", 0, -1) == [b"dead"]
    assert redis_client.lrange("jobs::failed", 0, -1) == [b"boom"]
    assert queue.publish("a", "b") == [False, True]


@pytest.mark.parametrize("key", ["hash", None, "prefix"])
def test_duplicates_of_one_are_duplicates_to_the_other(peers: dict[str, Peer], pair: Any, key: Any) -> None:
    options = {} if key == "hash" else {"get_deduplication_key": key}
    one, other = (made(peers, who, **options) for who in pair)
    if key == "prefix":
        assert one.publish("1:a", "2:a") == [True, True]
        assert other.publish("1:b", "3:a", "2:b") == [False, True, False]
        return
    for first, again in SAME:
        if first == "" and key is None:
            continue  # an empty key would make all messages duplicates: ours refuses it
        assert (one.publish(first), other.publish(again), one.publish(again)) == ([True], [False], [False])
    assert one.publish({"n": 1}) == other.publish({"n": 1.0}) == [True]


async def test_many_and_delayed_ones_are_duplicates_to_7_too(
    peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    theirs, ours = made(peers, ("v7", "sync")), RedisMessageQueue("q", client=redis_client)
    assert theirs.publish("a", {"b": 1, "a": 2}) == [True, True]
    assert ours.publish_many(["a", "c", {"a": 2, "b": 1}]) == [False, True, False]
    assert ours.publish("later", delay_seconds=60) is True
    assert theirs.publish("c", "later", "d") == [False, False, True]
    assert ours.publish_many(["d"], delay_seconds=60) == [False]


@pytest.mark.parametrize("library", ["v7", "ours"])
@pytest.mark.parametrize("ttl", [None, 700])
def test_markers_last_as_long_whoever_wrote_them(
    peers: dict[str, Peer], redis_client: redis.Redis, library: str, ttl: int | None
) -> None:
    gateway = {**WAITLESS, "message_deduplication_log_ttl_seconds": ttl}
    peers[library].queue(gateway=gateway).publish("a")
    (marker,) = [key for key in redis_client.keys("q::dedup*") if b"_result:" not in key]
    seconds = ttl or 3600
    assert (redis_client.get(marker) == b"") == (library == "v7")
    assert (seconds - 60) * 1000 < redis_client.pttl(marker) <= seconds * 1000


def test_both_write_and_read_the_same_lists(
    peers: dict[str, Peer], pair: Any, redis_client: redis.Redis
) -> None:
    lists = {"enable_completed_queue": True, "enable_failed_queue": True}
    one, other = (made(peers, who, max_completed_length=3, **lists) for who in pair)
    one.publish(*"abcdefgh")
    for good, bad in ((one, other), (other, one), (one, other), (other, one)):
        good.handle(1)
        bad.handle(1, failing=True)
    assert redis_client.lrange("q::completed", 0, -1) == [b"g", b"e", b"c"]
    assert redis_client.lrange("q::failed", 0, -1) == [b"h", b"f", b"d", b"b"]
    ours = RedisMessageQueue("q", client=redis_client)
    assert ours.stats()[2:4] == (3, 4)
    assert ours.peek(2, source="completed") == [b"c", b"e"]
    consumer = Consumer(redis_client, "q", keep_completed=3, keep_failed=4)
    one.publish("i", "j")
    i, j = consumer.claim(2).claims
    consumer.settle([Settlement(i, Outcome.DONE), Settlement(j, Outcome.FAILED)])
    assert redis_client.lrange("q::completed", 0, -1) == [b"i", b"g", b"e"]
    assert redis_client.lrange("q::failed", 0, -1) == [b"j", b"h", b"f", b"d"]


@pytest.mark.parametrize("last", ["v7", "ours", "consumer"])
def test_deliveries_are_counted_together_until_the_dead_letters(
    peers: dict[str, Peer], redis_client: redis.Redis, last: str
) -> None:
    queues = {library: peers[library].queue(max_delivery_count=3) for library in peers}
    consumer = Consumer(redis_client, "q", max_delivery_count=3)
    queues["v7"].publish({"poison": 1}, "fresh")
    poison = '{"poison": 1}'
    for holder in ("v7", "ours"):
        assert queues[holder].enter() == poison
        let_leases_expire(redis_client)
    (claim,) = consumer.claim(1).claims
    assert (text(claim), claim.delivery_count) == (poison, 3)
    let_leases_expire(redis_client)
    if last == "consumer":
        (claim,) = consumer.claim(1).claims
        assert (text(claim), claim.delivery_count) == ("fresh", 1)
    else:
        assert queues[last].enter() == "fresh"
    assert redis_client.lrange("q::dlq", 0, -1) == [poison.encode()]
    assert len(redis_client.hgetall("q::processing:delivery_counts")) == 1
    for holder in ("v7", "ours"):
        (warning,) = queues[holder].leave(poison)
        assert "lease expired" in warning
    assert redis_client.llen("q::processing") == 1


def test_what_7_gave_up_can_be_redriven_for_7(peers: dict[str, Peer], redis_client: redis.Redis) -> None:
    theirs = made(peers, ("v7", "sync"), max_delivery_count=1)
    theirs.publish("a", "b")
    theirs.enter()
    let_leases_expire(redis_client)
    assert theirs.enter() == "b"
    ours = RedisMessageQueue("q", client=redis_client, max_delivery_count=1)
    assert ours.peek(source="dead_letter") == [b"a"]
    assert ours.redrive_dead_letters() == 1
    assert theirs.handle(1) == ["a"]


def test_a_full_queue_is_full_to_both(peers: dict[str, Peer], pair: Any, redis_client: redis.Redis) -> None:
    one, other = (made(peers, who, max_pending_length=2) for who in pair)
    assert one.publish("a", "b") == [True, True]
    for queue in (one, other):
        with pytest.raises(PeerError, match="max_pending_length=2") as caught:
            queue.publish("c")
        assert caught.value.name == "QueueBackpressureError"
        assert queue.publish("a") == [False]
    assert one.handle(1) == ["a"]
    assert other.publish("c") == [True]
    assert redis_client.llen("q::pending") == 2


def test_dropping_the_oldest_drops_what_the_other_published(peers: dict[str, Peer], pair: Any) -> None:
    options = {"deduplication": False, "max_delivery_count": None, "max_pending_length": 2}
    one, other = (made(peers, who, pending_overload_policy="drop_oldest", **options) for who in pair)
    one.publish("a", "b")
    other.publish("c")
    one.publish("d")
    assert other.handle(2) == ["c", "d"]


def test_a_publisher_waits_until_the_other_makes_room(peers: dict[str, Peer], pair: Any) -> None:
    one, other = (
        made(
            peers,
            who,
            max_pending_length=1,
            pending_overload_policy="block",
            pending_overload_block_timeout_seconds=timeout,
        )
        for who, timeout in zip(pair, (20, 0.05), strict=True)
    )
    assert one.publish("a") == [True]
    with pytest.raises(PeerError, match="stayed at max_pending_length=1"):
        other.publish("b")
    with one.publishing("c") as waiting:
        assert other.handle(1) == ["a"]
    assert waiting.answer == [True]


def test_every_name_of_7_is_there(peers: dict[str, Peer]) -> None:
    for module in ("redis_message_queue", "redis_message_queue.asyncio"):
        assert peers["ours"].ask("names", module=module) == peers["v7"].ask("names", module=module)
    assert redis_message_queue.__all__ == peers["v7"].ask("names", module="redis_message_queue")


@pytest.mark.parametrize("face", ["sync", "async"])
def test_what_is_enqueued_7_handles(peers: dict[str, Peer], redis_client: redis.Redis, face: str) -> None:
    queue = RedisMessageQueue("q", client=redis_client)
    queue.enqueue({"b": "é/", "a": [1, None]})
    queue.enqueue("with a key", deduplication_key="k", message_id="mine")
    queue.enqueue_many([b"bytes", 7])
    queue.enqueue("first", at_front=True)
    expected = ["first", '{"a": [1, null], "b": "\\u00e9/"}', "with a key", "bytes", "7"]
    assert made(peers, ("v7", face)).handle(5) == expected


@pytest.mark.parametrize("face", ["sync", "async"])
def test_an_enqueue_and_7_agree_on_keys(peers: dict[str, Peer], redis_client: redis.Redis, face: str) -> None:
    queue = RedisMessageQueue("q", client=redis_client)
    keyed = made(peers, ("v7", face), get_deduplication_key="suffix")
    assert keyed.publish("1:order-7") == [True]
    duplicate = queue.enqueue("2", deduplication_key="order-7")
    assert (duplicate.enqueued, duplicate.first_id) == (False, None)
    assert queue.enqueue("3", deduplication_key="order-8")
    assert keyed.publish("4:order-8", "5:order-9") == [False, True]
    by_content = made(peers, ("v7", face))
    content = {"b": 1, "a": "é"}
    assert queue.enqueue(content, deduplication_key=default_deduplication_key(content))
    assert by_content.publish(content, {"other": 1}) == [False, True]
