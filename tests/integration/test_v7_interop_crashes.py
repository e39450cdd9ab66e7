"""Processes of 7.0.0 and of ours share a queue and die, hang, lose replies and drain on each other."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import queues
from tests.support.v7 import KEYS, WAITLESS, Peer, PeerError, let_leases_expire
from tests.support.worker_process import KEYS as JOBS
from tests.support.worker_process import QUEUE, WorkerProcess, eventually

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from tests.support.v7 import PeerQueue

pytestmark = pytest.mark.interop

LIBRARIES = ["v7", "ours"]
WITHOUT_LEASES = {"message_wait_interval_seconds": 0}


def other(library: str) -> str:
    return LIBRARIES[1 - LIBRARIES.index(library)]


def what_leases_left(client: redis.Redis) -> set[bytes]:
    """Keys of messages in hand. A record of one call may stay until it expires."""
    keys = {key for key in client.keys("q::processing*") if b"_result:" not in key}
    return keys - {KEYS.lease_token_counter.encode()}


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("victim", LIBRARIES)
def test_what_a_killed_process_had_in_hand_comes_back_to_the_other(
    peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis, victim: str, face: str
) -> None:
    survivor = peers[other(victim)].queue(face=face, gateway=WAITLESS)
    survivor.publish("a", "b", "c")
    with Peer(victim, redis_url) as dying:
        held = dying.queue(face=face)
        assert [held.enter(), held.enter()] == ["a", "b"]
        dying.kill()
    assert survivor.handle(2) == ["c", None]
    let_leases_expire(redis_client)
    assert survivor.handle(3) == ["a", "b", None]
    assert what_leases_left(redis_client) == set()
    assert redis_client.keys("*claim_result_*") == []


@pytest.mark.parametrize("victim", LIBRARIES)
def test_our_worker_level_takes_over_from_a_killed_process(
    peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis, victim: str
) -> None:
    with Peer(victim, redis_url) as dying:
        held = dying.queue()
        held.publish("a", "b")
        held.enter()
        dying.kill()
    let_leases_expire(redis_client)
    consumer = Consumer(redis_client, "q")
    claims = consumer.claim(5).claims
    assert [(claim.payload, claim.delivery_count) for claim in claims] == [(b"a", 2), (b"b", 1)]
    consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims])
    assert what_leases_left(redis_client) == set()
    assert redis_client.keys("*claim_result_*") == []


def test_7_takes_over_from_our_worker_level(peers: dict[str, Peer], redis_client: redis.Redis) -> None:
    theirs = peers["v7"].queue(gateway=WAITLESS)
    theirs.publish("a", "b", "c", "d")
    consumer = Consumer(redis_client, "q")
    a, b, c = consumer.claim(3).claims
    consumer.settle([Settlement(a, Outcome.RELEASE), Settlement(c, Outcome.DONE)])
    assert theirs.handle(3) == ["a", "d", None]
    let_leases_expire(redis_client)
    assert theirs.handle(2) == ["b", None]
    assert consumer.settle([Settlement(b, Outcome.DONE)]).applied == (False,)
    assert what_leases_left(redis_client) == set()


def test_a_mixed_fleet_loses_and_doubles_nothing_though_two_of_it_are_killed(
    peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis
) -> None:
    options = {"gateway": WAITLESS, "enable_completed_queue": True}
    messages = [f"message {number}" for number in range(60)]
    publishers = [peers[library].queue(face=face) for library in LIBRARIES for face in ("sync", "async")]
    for number, message in enumerate(messages):
        publishers[number % 4].publish(message)
    dying, held = [Peer(library, redis_url) for library in LIBRARIES], []
    for peer in dying:
        for face in ("sync", "async"):
            queue = peer.queue(face=face, **options)
            queue.handle(2)
            held += [queue.enter(), queue.enter()]
        peer.kill()
    assert len(set(held)) == 8
    consumer = Consumer(redis_client, "q", keep_completed=1000)
    first = consumer.claim(4).claims
    let_leases_expire(redis_client)  # of the dead, and of ours that is slow
    fleet = [
        peers[library].queue(face=face, **options) for library in LIBRARIES for face in ("sync", "async")
    ]
    again = consumer.claim(3).claims
    late = consumer.settle([Settlement(claim, Outcome.DONE) for claim in (*first, *again)])
    assert late.applied == (False,) * 4 + (True,) * 3
    while any(payload is not None for queue in fleet for payload in queue.handle(1)):
        pass
    assert sorted(redis_client.lrange(KEYS.completed, 0, -1)) == sorted(text.encode() for text in messages)
    # 7.0.0 knows of no notes: those on what it settled end with their time.
    assert what_leases_left(redis_client) <= {KEYS.notes.encode()}
    assert redis_client.ttl(KEYS.notes) != -1
    assert redis_client.llen(KEYS.pending) == 0


def test_a_worker_process_and_7_take_over_from_each_other(
    peers: dict[str, Peer], redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    theirs = peers["v7"].queue(QUEUE, gateway=WAITLESS)
    theirs.publish("a", "b")
    with WorkerProcess(tmp_path, redis_url, "gated", worker_id="first") as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGKILL)
        worker.wait()
    queues.let_leases_expire(redis_client, JOBS)
    assert theirs.handle(2) == ["a", "b"]
    with Peer("v7", redis_url) as dying:
        held = dying.queue(QUEUE)
        held.publish("c")
        assert held.enter() == "c"
    queues.let_leases_expire(redis_client, JOBS)
    with WorkerProcess(tmp_path, redis_url, "gated", worker_id="second") as worker:
        worker.open_gate()
        assert worker.until_noted("finished", 1) == ["c"]
        eventually(lambda: redis_client.llen(JOBS.processing) == 0, "its settlement")


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("holder", LIBRARIES)
def test_a_heartbeat_keeps_a_message_from_the_other(
    peers: dict[str, Peer], redis_client: redis.Redis, holder: str, face: str
) -> None:
    held = peers[holder].queue(face=face, heartbeat_interval_seconds=0.05)
    waiting = peers[other(holder)].queue(face=face, gateway=WAITLESS)
    held.publish("a")
    assert held.enter() == "a"
    let_leases_expire(redis_client)
    (stored,) = redis_client.zrange(KEYS.lease_deadlines, 0, -1)
    eventually(lambda: redis_client.zscore(KEYS.lease_deadlines, stored) > time.time() * 1000, "a renewal")
    assert waiting.enter() is None
    assert held.leave("a") == []
    assert what_leases_left(redis_client) == set()


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("loser", LIBRARIES)
@pytest.mark.parametrize("drains", [True, False], ids=["drains", "goes on"])
def test_a_claim_without_reply_is_handled_once_by_whoever_comes_first(
    peers: dict[str, Peer], redis_client: redis.Redis, loser: str, face: str, drains: bool
) -> None:
    lost = peers[loser].queue(face=face, gateway={**WAITLESS, "retry_budget_seconds": 0})
    waiting = peers[other(loser)].queue(face=face, gateway=WAITLESS)
    lost.publish("a", "b")
    lose_a_claim(lost)
    if drains:
        assert lost.drain() is True
    let_leases_expire(redis_client)
    assert waiting.enter() == "a"
    assert lost.handle(2) == ([None, None] if drains else ["b", None])
    assert waiting.leave("a") == []
    assert waiting.handle(2) == (["b", None] if drains else [None, None])
    assert what_leases_left(redis_client) == set()
    assert redis_client.keys("*claim_result_*") == []


def lose_a_claim(queue: PeerQueue) -> None:
    """Neither the claim nor its repeat is answered."""
    queue.lose(2)
    with pytest.raises(PeerError) as caught:
        queue.enter()
    assert caught.value.name == "RetryBudgetExhaustedError"


@pytest.mark.parametrize("face", ["sync", "async"])
def test_what_our_drain_gives_back_without_leases_goes_to_7(
    peers: dict[str, Peer], redis_client: redis.Redis, face: str
) -> None:
    options: dict[str, Any] = {"face": face, "gateway": WITHOUT_LEASES}
    ours, theirs = peers["ours"].queue(**options), peers["v7"].queue(**options)
    ours.publish("a", "b")
    lose_a_claim(ours)
    assert ours.drain() is True
    assert theirs.handle(3) == ["a", "b", None]
    assert redis_client.keys("q::p*") == [key for key in redis_client.keys("q::p*") if b"_result:" in key]


def test_7_recovers_its_plain_claim_though_we_worked_meanwhile(
    peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    ours, theirs = (peers[library].queue(gateway=WITHOUT_LEASES) for library in ("ours", "v7"))
    ours.publish("a", "b", "c")
    lose_a_claim(theirs)
    assert ours.handle(1) == ["b"]
    assert theirs.handle(3) == ["a", "c", None]
    assert redis_client.exists(KEYS.processing, KEYS.claim_result_ids, KEYS.claim_result_backrefs) == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_publish_and_an_acknowledgement_whose_replies_are_lost_happen_once(
    peers: dict[str, Peer], redis_client: redis.Redis, library: str
) -> None:
    lossy = peers[library].queue(enable_completed_queue=True)
    lossy.lose(1)
    assert lossy.publish("a") == [True]
    assert peers[other(library)].queue().publish("a") == [False]
    assert lossy.enter() == "a"
    lossy.lose(1)
    assert lossy.leave("a") == []
    assert redis_client.lrange(KEYS.completed, 0, -1) == [b"a"]
    assert redis_client.llen(KEYS.pending) == 0


def test_a_message_that_7_took_over_is_not_ours_to_acknowledge(
    peers: dict[str, Peer], redis_client: redis.Redis
) -> None:
    ours = RedisMessageQueue("q", client=redis_client, enable_completed_queue=True)
    theirs = peers["v7"].queue(gateway=WAITLESS, enable_completed_queue=True)
    ours.publish("a")
    block = ours.process_message()
    assert block.__enter__() == b"a"
    let_leases_expire(redis_client)
    assert theirs.enter() == "a"
    with pytest.warns(RuntimeWarning, match="lease expired"):
        block.__exit__(None, None, None)
    assert redis_client.llen(KEYS.completed) == 0
    assert theirs.leave("a") == []
    assert redis_client.lrange(KEYS.completed, 0, -1) == [b"a"]
