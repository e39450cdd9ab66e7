"""The same work leaves the same keys, whether 7.0.0 does it or we do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.documented_keys import documented_keys, undocumented
from tests.support.v7 import WAITLESS, Peer, PeerError, PeerQueue, let_leases_expire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

pytestmark = pytest.mark.interop

LISTS = {"enable_completed_queue": True, "enable_failed_queue": True}
Shape = dict[str, tuple[str, int]]


def shape(client: redis.Redis) -> Shape:
    """Type and ms to live of each key; random ids in the names are left out."""
    return {
        re.sub(r"\b[0-9a-f]{32}\b", "<id>", key.decode()): (client.type(key).decode(), client.pttl(key))
        for key in client.scan_iter()
    }


def leased_work(peer: Peer, face: str, client: redis.Redis) -> Iterator[str]:
    """All that 7.0.0 can do with leases, step by step."""
    queue, another = (
        peer.queue(face=face, gateway={**WAITLESS, "max_delivery_count": 2}, **LISTS) for _ in range(2)
    )
    queue.publish("a", "b", {"c": 1}, "a")
    yield "published, one of them twice"
    peer.queue(face=face, deduplication=False).publish("d")
    yield "published without deduplication"
    queue.enter()
    yield "in hand"
    queue.leave("a")
    yield "acknowledged"
    queue.handle(1, failing=True)
    yield "failed"
    queue.enter()
    let_leases_expire(client)
    another.handle(1)
    yield "reclaimed"
    queue.leave('{"c": 1}')
    yield "acknowledged too late"
    queue.handle(1)
    queue.publish("poison", "next")
    for one in (queue, another):
        one.enter()
        let_leases_expire(client)
    another.handle(1)
    yield "given up"
    queue.lose(1)
    queue.publish("e", "f", "g")
    yield "published, with a reply lost"
    queue.enter()
    queue.lose(1)
    queue.leave("e")
    yield "acknowledged, with a reply lost"
    lose_a_claim(queue)
    yield "claimed without an answer"
    queue.drain()
    yield "drained"
    let_leases_expire(client)
    peer.queue(face=face, gateway=WAITLESS).handle(3)
    yield "taken over"


def plain_work(peer: Peer, face: str, client: redis.Redis) -> Iterator[str]:
    """The same without leases."""
    del client
    queue = peer.queue(face=face, gateway={"message_wait_interval_seconds": 0}, **LISTS)
    queue.publish("a", "b", "c", "d")
    queue.enter()
    yield "in hand"
    queue.leave("a")
    yield "acknowledged"
    queue.handle(1, failing=True)
    yield "failed"
    queue.enter()
    yield "in hand for good"
    lose_a_claim(queue)
    yield "claimed without an answer"
    queue.handle(1)
    yield "recovered"


def bounded_work(peer: Peer, face: str, client: redis.Redis) -> Iterator[str]:
    """Publishers that meet a full queue, and another separator."""
    del client
    options: dict[str, Any] = {"face": face, "max_pending_length": 2, "key_separator": "::"}
    queue = peer.queue(**options)
    queue.publish("a", "b", "a")
    with pytest.raises(PeerError):
        queue.publish("c")
    yield "full"
    options |= {"deduplication": False, "max_delivery_count": None}
    peer.queue(pending_overload_policy="drop_oldest", **options).publish("c")
    yield "dropped"
    waiting = {"pending_overload_policy": "block", "pending_overload_block_timeout_seconds": 0.02}
    with pytest.raises(PeerError):
        peer.queue(**waiting, **options).publish("d")
    yield "waited"


def lose_a_claim(queue: PeerQueue) -> None:
    queue.lose(2)
    with pytest.raises(PeerError):
        queue.enter()


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("work", [leased_work, plain_work, bounded_work])
def test_the_same_work_leaves_the_same_keys(
    peers: dict[str, Peer], redis_client: redis.Redis, work: Callable[..., Iterator[str]], face: str
) -> None:
    theirs = {step: shape(redis_client) for step in work(peers["v7"], face, redis_client)}
    redis_client.flushall()
    records = re.compile("claim_result|operation_result")
    expiring = [row for row in documented_keys() if row.expiry_ms is not None]
    for step in work(peers["ours"], face, redis_client):
        ours = shape(redis_client)
        shared = {name for name in ours | theirs[step] if not records.search(name)}
        assert shared <= ours.keys(), step
        assert shared <= theirs[step].keys(), step
        for name in shared:
            (kind, left_ms), (their_kind, their_left_ms) = ours[name], theirs[step][name]
            assert kind == their_kind, (step, name)
            assert abs(left_ms - their_left_ms) < 10_000, (step, name)
        for name in ours.keys() - theirs[step].keys():
            assert any(row.names(name, "q") for row in expiring), (step, name)
        assert undocumented(redis_client, "q") == [], step
