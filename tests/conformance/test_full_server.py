"""At maxmemory publishing is refused, and everything that takes work out still runs to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.queues import (
    claim_one,
    everything,
    let_delayed_be_due,
    let_leases_expire,
    payloads,
    publish,
    return_unhandled,
)

from redis_message_queue import _transport, envelope, operations
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import retire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = QueueKeys("{jobs}")


@pytest.fixture
def fill_up(redis_client: redis.Redis, node: redis.Redis) -> Iterator[Callable[..., None]]:
    def full(*time_passes: Callable[[redis.Redis, QueueKeys], None]) -> None:
        node.config_set("maxmemory", 0)
        for passes in time_passes:
            passes(redis_client, KEYS)
        node.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError):
            node.set("{jobs}", "data")

    yield full
    node.config_set("maxmemory", 0)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_consumer_claims_renews_settles_and_reclaims(
    redis_client: redis.Redis, fill_up: Callable[..., None], outcome: Outcome
) -> None:
    publish(redis_client, KEYS, "a", "b")
    consumer = Consumer(
        redis_client, "{jobs}", keep_completed=5, worker=WorkerIdentity("w", 2, config_hash="v1")
    )
    fill_up()
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert retire(redis_client, KEYS, ["w"], ttl_seconds=0.001) == ("w",)
    while consumer.claim(1).retired:
        pass
    fill_up(let_leases_expire)
    reply = consumer.claim(2)
    assert [claim.payload for claim in reply.claims] == [b"a", b"b"]
    assert consumer.renew(reply.claims) == (True, True)
    assert consumer.settle([Settlement(claim, outcome) for claim in reply.claims]).applied == (True, True)
    fill_up(let_delayed_be_due)
    assert len(consumer.claim(2).claims) == (2 if outcome in (Outcome.RETRY, Outcome.RELEASE) else 0)


def test_the_calls_of_the_queue_face_take_work_out(
    redis_client: redis.Redis, fill_up: Callable[..., None]
) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    fill_up()
    first = claim_one(redis_client, KEYS, "one", limit=1)
    fill_up(let_leases_expire)
    second = claim_one(redis_client, KEYS, "two", limit=1)
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"a"]
    assert first.stored is not None
    assert second.stored is not None
    assert second.token is not None
    renew = operations.renew(
        processing=KEYS.processing, stored=second.stored, lease_token=second.token, visibility_timeout_ms=1000
    )
    assert _transport.execute(redis_client, renew) is True
    move = operations.move(
        processing=KEYS.processing,
        destination=KEYS.completed,
        stored=second.stored,
        payload="b",
        lease_token=second.token,
        replay_key=KEYS.leases.operation_result("2:x"),
        replay_ttl_ms=1000,
    )
    assert _transport.execute(redis_client, move) is True
    plain = operations.claim_plain(
        pending=KEYS.pending, processing=KEYS.processing, claim_id="three", record_ttl_ms=1000
    )
    third = _transport.execute(redis_client, plain)
    assert third is not None
    assert _transport.execute(redis_client, return_unhandled(KEYS, third)) is True
    assert payloads(redis_client, KEYS.pending) == ["c"]


def test_a_refused_publish_leaves_nothing(
    redis_client: redis.Redis, node: redis.Redis, fill_up: Callable[..., None]
) -> None:
    publish(redis_client, KEYS, "a")
    fill_up()
    before = everything(redis_client)
    call = operations.publish(
        pending=KEYS.pending,
        deduplication_key=KEYS.deduplication("k"),
        stored=envelope.encode("b"),
        deduplication_ttl_seconds=60,
        replay_key="{jobs}::replay",
        replay_ttl_ms=1000,
    )
    with pytest.raises(redis.ResponseError) as raised:
        _transport.execute(redis_client, call)
    failure = operations.script_failure(raised.value)
    assert failure is not None
    assert failure.startswith("OOM during publish;")
    assert everything(redis_client) == before
    node.config_set("maxmemory", 0)
    assert _transport.execute(redis_client, call) == 1
