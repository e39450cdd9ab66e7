"""Processes of redis-message-queue 11.0.1 share queues with ours, and with 7.0.0 beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.v7 import KEYS, Peer, PeerError, PeerQueue, let_leases_expire
from tests.support.worker_process import WorkerProcess, eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from pathlib import Path

    import redis

pytestmark = pytest.mark.interop

PAIRS = [
    (("v11", "sync"), ("ours", "sync")),
    (("v11", "async"), ("ours", "async")),
    (("ours", "sync"), ("v11", "async")),
    (("ours", "async"), ("v11", "sync")),
]
MESSAGES: dict[str, Any] = {
    "plain": "plain",
    "": "",
    'grüße \U0001f600 \x1e \x00 / \\ "': 'grüße \U0001f600 \x1e \x00 / \\ "',
    '{"a": [1, null, 1.5], "b": {"x": "\\u00e9/", "y": true}}': {
        "b": {"y": True, "x": "é/"},
        "a": [1, None, 1.5],
    },
    "x" * 100_000: "x" * 100_000,
}
# One attempt each, so that an empty queue is told at once.
GATEWAY = {
    "message_visibility_timeout_seconds": 300,
    "max_delivery_count": 3,
    "dead_letter_queue": KEYS.dead_letter,
    "message_wait_interval_seconds": 0,
}


def made(peers: dict[str, Peer], library: str, face: str = "sync", **options: Any) -> PeerQueue:
    """A queue with the words of 11, which ours take as well; 7.0.0 gets its own."""
    if library == "v11" or "get_deduplication_key" in options:
        return peers[library].queue(face=face, **options)
    if library == "v7":
        for kind in ("completed", "failed"):
            if (length := f"max_{kind}_length") in options:
                options[f"enable_{kind}_queue"] = options[length] != 0
                options[length] = options[length] or 1000
    return peers[library].queue(face=face, deduplication=False, **options)


@pytest.fixture(params=PAIRS, ids=lambda pair: "-then-".join("".join(who) for who in pair))
def pair(request: pytest.FixtureRequest, redis_url: str) -> Any:
    return request.param


def test_what_one_publishes_the_other_handles(newest_peers: dict[str, Peer], pair: Any) -> None:
    one, other = (made(newest_peers, *who) for who in pair)
    assert one.publish(*MESSAGES.values()) == [True] * len(MESSAGES)
    assert other.handle(len(MESSAGES)) == list(MESSAGES)


def test_a_worker_handles_what_11_publishes_and_11_finds_what_it_keeps(
    newest_peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    queue = newest_peers["v11"].queue("jobs", max_failed_length=10)
    queue.publish("a", "dead", "boom")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=1, keep_failed=10) as worker:
        worker.until_noted("finished", 1)
        eventually(lambda: redis_client.exists("jobs::dlq", "jobs::failed") == 2, "two were not")
    assert queue.call("peek", source="dead_letter") == ["dead"]
    assert queue.call("peek", source="failed") == ["boom"]
    assert queue.call("redrive_dead_letters") == 1
    assert RedisMessageQueue("jobs", client=redis_client).peek() == [b"dead"]


def test_a_key_function_alone_makes_duplicates_of_each_others(
    newest_peers: dict[str, Peer], pair: Any
) -> None:
    one, other = (made(newest_peers, *who, get_deduplication_key="suffix") for who in pair)
    assert one.publish("1:a", "2:b") == [True, True]
    assert other.publish("3:a", "4:c", "5:b") == [False, True, False]
    assert one.publish("6:c") == [False]


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        (0, []),
        (2, ["f", "e"]),
        (1000, ["f", "e", "d", "c", "b", "a"]),
        (None, ["f", "e", "d", "c", "b", "a"]),
    ],
)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_length_alone_says_what_is_kept(
    newest_peers: dict[str, Peer], redis_client: redis.Redis, face: str, length: int | None, kept: list[str]
) -> None:
    found = {}
    for library in ("v11", "ours"):
        redis_client.flushall()
        queue = made(newest_peers, library, face, max_completed_length=length, max_failed_length=length)
        queue.publish(*"abcdef")
        queue.handle(6)
        queue.publish(*"abcdef")
        queue.handle(6, failing=True)
        found[library] = [
            [text.decode() for text in redis_client.lrange(key, 0, -1)]
            for key in (KEYS.completed, KEYS.failed)
        ]
    assert found == {"v11": [kept, kept], "ours": [kept, kept]}


def test_nothing_is_kept_unless_somebody_says_so(
    newest_peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    for library in ("v11", "ours"):
        queue = made(newest_peers, library)
        queue.publish("a", "b")
        queue.handle(1)
        queue.handle(1, failing=True)
        assert not redis_client.exists(KEYS.completed, KEYS.failed), library


@pytest.mark.parametrize("last", ["v7", "v11", "ours"])
def test_all_three_count_deliveries_together_until_the_dead_letters(
    newest_peers: dict[str, Peer], redis_client: redis.Redis, last: str
) -> None:
    queues = {library: made(newest_peers, library, max_delivery_count=3) for library in newest_peers}
    queues["v11"].publish("poison", "fresh")
    for holder in ("v7", "v11", "ours"):
        assert queues[holder].enter() == "poison"
        let_leases_expire(redis_client)
    assert queues[last].enter() == "fresh"
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"poison"]
    for holder in ("v7", "v11", "ours"):
        (warning,) = queues[holder].leave("poison")
        assert "lease" in warning
    assert redis_client.llen(KEYS.processing) == 1


@pytest.mark.parametrize("redriven_by", ["v11", "ours"])
def test_what_one_redrives_all_handle(
    newest_peers: dict[str, Peer], redis_client: redis.Redis, redriven_by: str
) -> None:
    redis_client.rpush(KEYS.dead_letter, "c", "b", "a")
    assert made(newest_peers, redriven_by).call("redrive_dead_letters", 2) == 2
    assert made(newest_peers, "v7").handle(1) == ["a"]
    other = "ours" if redriven_by == "v11" else "v11"
    assert made(newest_peers, other).handle(1) == ["b"]
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"c"]


def test_bytes_that_one_redrives_the_other_handles(
    newest_peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue("q", client=redis_client, deduplication=False)
    redis_client.rpush(KEYS.dead_letter, b"\xff\x00b", b"\xff\x00a")
    assert made(newest_peers, "v11").call("redrive_dead_letters", 1) == 1
    with queue.process_message() as message:
        assert message == b"\xff\x00a"
    assert queue.redrive_dead_letters() == 1
    theirs = RedisMessageQueue("q", client=redis_client, deduplication=False)
    with theirs.process_message() as message:
        assert message == b"\xff\x00b"


def test_a_killed_one_leaves_its_message_to_the_others(
    redis_url: str, redis_client: redis.Redis, newest_peers: dict[str, Peer]
) -> None:
    for library, other in (("v11", "ours"), ("ours", "v11")):
        made(newest_peers, other).publish("held")
        with Peer(library, redis_url) as dying:
            assert made({library: dying}, library).enter() == "held"
            dying.kill()
        let_leases_expire(redis_client)
        assert made(newest_peers, other).handle(1) == ["held"]
        assert not redis_client.exists(KEYS.processing)


def test_a_full_queue_is_full_to_both(newest_peers: dict[str, Peer], pair: Any) -> None:
    one, other = (made(newest_peers, *who, max_pending_length=2) for who in pair)
    assert one.publish("a", "b") == [True, True]
    for queue in (one, other):
        with pytest.raises(PeerError) as caught:
            queue.publish("c")
        assert caught.value.name == "QueueBackpressureError"
    assert one.handle(1) == ["a"]
    assert other.publish("c") == [True]


def test_both_count_and_empty_alike(newest_peers: dict[str, Peer], redis_client: redis.Redis) -> None:
    lists = {"max_completed_length": None, "max_failed_length": None}
    theirs, ours = (made(newest_peers, library, **lists) for library in ("v11", "ours"))
    theirs.publish(*"abcdefgh")
    ours.handle(2)
    theirs.handle(1, failing=True)
    redis_client.lpush(KEYS.dead_letter, "x", "y", "z")
    assert ours.enter() == "d"
    counted, our_count = theirs.call("stats"), ours.call("stats")
    assert {name: our_count[name] for name in counted} == counted
    assert counted == {"pending": 4, "processing": 1, "completed": 2, "failed": 1, "dead_letter": 3}
    targets = ("completed", "failed", "dead_letter", "pending")
    assert [ours.call("purge", target=target) for target in targets] == [2, 1, 3, 4]
    theirs.publish("i")
    assert theirs.call("purge", target="pending") == 1
    ours.leave("d")


# ---- a gateway, by the names of lists ----


@pytest.mark.parametrize("face", ["sync", "async"])
def test_gateways_do_the_same_to_lists(
    newest_peers: dict[str, Peer], redis_client: redis.Redis, face: str
) -> None:
    def asked(library: str) -> list[Any]:
        redis_client.flushall()
        queue = newest_peers[library].queue(face=face, gateway=GATEWAY)
        redis_client.lpush(KEYS.pending, "one", '\x1eRMQ1:{"id":"2","payload":"two"}')
        redis_client.lpush(KEYS.dead_letter, *"abcde")
        answers: list[Any] = []

        def ask(method: str, *args: Any) -> None:
            answers.append(queue.call(method, *args, of="gateway"))

        def look() -> None:
            answers.append([redis_client.lrange(key, 0, -1) for key in (KEYS.pending, KEYS.dead_letter)])

        ask("queue_length", KEYS.pending)
        ask("queue_length", "nowhere")
        ask("peek_messages", KEYS.pending, 1)
        ask("peek_messages", KEYS.pending, 9)
        ask("peek_messages", "nowhere", 9)
        ask("redrive_messages", KEYS.dead_letter, KEYS.pending, ["id-1", "id-2"])
        look()
        ask("redrive_messages", KEYS.dead_letter, KEYS.pending, [])
        ask("redrive_messages", KEYS.dead_letter, KEYS.pending, [f"more-{n}" for n in range(9)])
        look()
        ask("redrive_messages", KEYS.dead_letter, KEYS.pending, ["none"])
        ask("purge_queue", KEYS.pending)
        ask("purge_queue", KEYS.pending)
        redis_client.lpush(KEYS.dead_letter, "left")
        ask("purge_queue", KEYS.dead_letter)
        look()
        return answers

    assert asked("ours") == asked("v11")


def test_what_a_gateway_redrives_is_handled_under_the_id_that_was_given(
    newest_peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    redis_client.lpush(KEYS.dead_letter, json.dumps({"n": 1}))
    ours = newest_peers["ours"].queue(gateway=GATEWAY)
    assert ours.call("redrive_messages", KEYS.dead_letter, KEYS.pending, ["again"], of="gateway") == 1
    assert RedisMessageQueue("q", client=redis_client).find("again").state == "pending"
    assert made(newest_peers, "v11").handle(1) == ['{"n": 1}']
