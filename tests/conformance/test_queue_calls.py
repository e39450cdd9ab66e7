"""The single-message transitions behind the queue's public face, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.queues import (
    claim_as_v7,
    everything,
    lease_sets,
    let_leases_expire,
    payloads,
    publish,
    return_unhandled,
)

from redis_message_queue import _transport, envelope, operations
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
MARKER = KEYS.deduplication("k")


def run(client: redis.Redis, call: operations.Call[Any]) -> Any:
    return _transport.execute(client, call)


def publication(stored: str = "m", replay: str = "{jobs}::replay", **limits: Any) -> operations.Call[int]:
    return operations.publish(
        pending=KEYS.pending,
        deduplication_key=MARKER,
        stored=stored,
        deduplication_ttl_seconds=3600,
        replay_key=replay,
        replay_ttl_ms=5000,
        **limits,
    )


def removal(stored: Any, token: str | None, operation: str = "o") -> operations.Call[bool]:
    replay = KEYS.leases.operation_result(f"{token}:{operation}" if token else operation)
    return operations.remove(
        processing=KEYS.processing, stored=stored, lease_token=token, replay_key=replay, replay_ttl_ms=5000
    )


def completion(stored: Any, token: str | None, operation: str = "o") -> operations.Call[bool]:
    replay = KEYS.leases.operation_result(f"{token}:{operation}" if token else operation)
    return operations.move(
        processing=KEYS.processing,
        destination=KEYS.completed,
        stored=stored,
        payload=envelope.decode(stored).payload,
        lease_token=token,
        replay_key=replay,
        replay_ttl_ms=5000,
    )


def plain_claim(claim_id: str = "C") -> operations.Call[Any]:
    return operations.claim_plain(
        pending=KEYS.pending, processing=KEYS.processing, claim_id=claim_id, record_ttl_ms=5000
    )


# -- publishing --


def test_one_message_for_each_deduplication_key(redis_client: redis.Redis) -> None:
    assert run(redis_client, publication("a", "{jobs}::r1")) == 1
    assert run(redis_client, publication("b", "{jobs}::r2")) == 0
    assert everything(redis_client) == {
        KEYS.pending: [b"a"], MARKER: b"", "{jobs}::r1": b"1", "{jobs}::r2": b"0",
    }  # fmt: skip
    assert 3_590_000 < redis_client.pttl(MARKER) <= 3_600_000
    assert 0 < redis_client.pttl("{jobs}::r1") <= 5000


def test_a_repeated_publish_answers_as_the_first_time(redis_client: redis.Redis) -> None:
    assert run(redis_client, publication("a")) == 1
    redis_client.delete(MARKER)
    assert run(redis_client, publication("a")) == 1
    assert redis_client.llen(KEYS.pending) == 1


def test_a_full_list_refuses_but_a_duplicate_is_no_overload(redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.pending, "x")
    full = publication("a", "{jobs}::r1", max_pending_length=1)
    assert run(redis_client, full) == operations.PENDING_FULL
    assert not redis_client.exists(MARKER, "{jobs}::r1")
    redis_client.set(MARKER, "", ex=60)
    assert run(redis_client, full) == 0


@pytest.mark.parametrize("deduplicated", [True, False])
def test_drop_oldest_makes_room(redis_client: redis.Redis, deduplicated: bool) -> None:
    redis_client.lpush(KEYS.pending, "oldest", "newer")
    if deduplicated:
        call = publication("a", max_pending_length=2, overload_policy="drop_oldest")
    else:
        call = operations.add_bounded(
            pending=KEYS.pending, stored="a", max_pending_length=2, overload_policy="drop_oldest"
        )
    assert run(redis_client, call) == 1
    assert redis_client.lrange(KEYS.pending, 0, -1) == [b"a", b"newer"]


def test_a_bounded_list_takes_what_fits(redis_client: redis.Redis) -> None:
    call = operations.add_bounded(pending=KEYS.pending, stored="a", max_pending_length=2)
    assert [run(redis_client, call) for _ in range(3)] == [1, 1, operations.PENDING_FULL]


# -- claims with leases: the layout of version 7 --


def test_layout_from_claim_to_ack(redis_client: redis.Redis) -> None:
    stored = envelope.encode("é/")
    redis_client.lpush(KEYS.pending, stored)
    claim = claim_as_v7(redis_client, KEYS, "C")
    assert (claim.stored, claim.token) == (stored.encode(), "1")
    content = everything(redis_client)
    records = content.pop(KEYS.claim_result("C")), content[KEYS.claim_result_ids][b"C"]
    assert [operations.parse_claim_record(record) for record in records] == [(stored, "1")] * 2
    (deadline,) = content.pop(KEYS.lease_deadlines).values()
    now = redis_client.time()[0] * 1000
    assert now + 290_000 < deadline < now + 310_000
    assert content == {
        KEYS.processing: [stored.encode()],
        KEYS.lease_tokens: {stored.encode(): b"1"},
        KEYS.lease_token_counter: b"1",
        KEYS.delivery_counts: {stored.encode(): b"1"},
        KEYS.claim_result_refs: {b"1": KEYS.claim_result("C").encode()},
        KEYS.claim_result_ids: {b"C": records[1]},
        KEYS.claim_result_backrefs: {b"1": b"C"},
    }
    assert 290_000 < redis_client.pttl(KEYS.claim_result("C")) <= 300_000
    call = removal(claim.stored, claim.token)
    assert run(redis_client, call) is True
    assert run(redis_client, call) is True  # the repeat
    redis_client.delete(KEYS.leases.operation_result("1:o"))
    assert run(redis_client, call) is False
    assert everything(redis_client) == {KEYS.lease_token_counter: b"1"}


def test_delivery_counts_are_kept_only_under_a_limit(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    claim_as_v7(redis_client, KEYS, "C", limit=None)
    assert not redis_client.exists(KEYS.delivery_counts)


def test_an_expired_message_goes_before_fresh_ones_and_takes_its_records_along(
    redis_client: redis.Redis,
) -> None:
    publish(redis_client, KEYS, "a", "b", "fresh")
    first = claim_as_v7(redis_client, KEYS, "C1")
    second = claim_as_v7(redis_client, KEYS, "C2")
    let_leases_expire(redis_client, KEYS)
    again = claim_as_v7(redis_client, KEYS, "C3")
    assert again.stored == first.stored
    assert again.reclaimed == tuple(
        operations.Passed(envelope.decode(claim.stored).id, 1) for claim in (first, second)
    )
    assert payloads(redis_client, KEYS.pending) == ["b", "fresh"]
    assert redis_client.hkeys(KEYS.claim_result_ids) == [b"C3"]
    assert (
        redis_client.hkeys(KEYS.claim_result_refs) == redis_client.hkeys(KEYS.claim_result_backrefs) == [b"3"]
    )
    assert not redis_client.exists(KEYS.claim_result("C1"), KEYS.claim_result("C2"))
    assert run(redis_client, removal(first.stored, first.token)) is False


def test_a_repeated_claim_is_the_same_claim_while_its_token_is_current(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    first = claim_as_v7(redis_client, KEYS, "C")
    let_leases_expire(redis_client, KEYS)
    again = claim_as_v7(redis_client, KEYS, "C")
    assert (again.stored, again.token) == (first.stored, first.token)
    assert redis_client.exists(KEYS.claim_result("C")) == 1
    let_leases_expire(redis_client, KEYS)
    other = claim_as_v7(redis_client, KEYS, "D")
    assert other.token == "2"
    assert claim_as_v7(redis_client, KEYS, "C").stored is None


@pytest.mark.parametrize("damage", [b"\xff", b"no json", b"{}", b"[1,2]"])
def test_a_damaged_record_counts_as_none(redis_client: redis.Redis, damage: bytes) -> None:
    publish(redis_client, KEYS, "a")
    redis_client.set(KEYS.claim_result("C"), damage)
    redis_client.hset(KEYS.claim_result_ids, "C", damage)
    assert claim_as_v7(redis_client, KEYS, "C").token == "1"


def test_deliveries_beyond_the_limit_are_dead_letters(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "poison", "good")
    poison = claim_as_v7(redis_client, KEYS, "C1", limit=1)
    let_leases_expire(redis_client, KEYS)
    claim = claim_as_v7(redis_client, KEYS, "C2", limit=1)
    assert claim.stored is not None
    assert envelope.decode(claim.stored).payload == b"good"
    passed = (operations.Passed(envelope.decode(poison.stored or "").id, 1),)
    assert (claim.reclaimed, claim.dead_lettered, claim.delivery_count) == (passed, passed, 1)
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"poison"]
    assert redis_client.hkeys(KEYS.delivery_counts) == [claim.stored]


def test_a_claim_that_cannot_be_stored_is_undone_and_says_why(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    redis_client.set(KEYS.lease_token_counter, "alien")
    before = everything(redis_client)
    claim = claim_as_v7(redis_client, KEYS, "C")
    assert claim.stored is None
    assert claim.problem is not None
    assert "lease token" in claim.problem
    assert everything(redis_client) == before


# -- finishing --


def test_a_move_with_lease(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    claim = claim_as_v7(redis_client, KEYS, "C")
    assert run(redis_client, completion(claim.stored, "9")) is False
    assert not redis_client.exists(KEYS.completed)
    call = completion(claim.stored, claim.token)
    assert run(redis_client, call) is True
    assert run(redis_client, call) is True
    assert redis_client.lrange(KEYS.completed, 0, -1) == [b"a"]
    assert set(everything(redis_client)) == {
        KEYS.completed,
        KEYS.lease_token_counter,
        KEYS.leases.operation_result("1:o"),
    }


@pytest.mark.parametrize("make", [removal, completion])
def test_a_message_taken_away_by_hand_is_not_finished(redis_client: redis.Redis, make: Any) -> None:
    publish(redis_client, KEYS, "a")
    claim = claim_as_v7(redis_client, KEYS, "C")
    redis_client.delete(KEYS.processing)
    before = everything(redis_client)
    assert run(redis_client, make(claim.stored, claim.token)) is False
    assert everything(redis_client) == before


def test_renewal_needs_the_current_token(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    claim = claim_as_v7(redis_client, KEYS, "C")
    leases = [(claim.stored, "1"), (claim.stored, "2"), ("other", "1")]
    call = operations.renew_many(processing=KEYS.processing, leases=leases, visibility_timeout_ms=900_000)
    assert run(redis_client, call) == (True, False, False)
    processing, deadlines, tokens = lease_sets(redis_client, KEYS)
    assert processing == deadlines == tokens
    assert redis_client.zscore(KEYS.lease_deadlines, claim.stored) > redis_client.time()[0] * 1000 + 890_000


# -- without leases --


def test_layout_without_leases(redis_client: redis.Redis) -> None:
    stored = envelope.encode("a").encode()
    redis_client.lpush(KEYS.pending, stored)
    assert run(redis_client, plain_claim()) == stored
    assert run(redis_client, plain_claim()) == stored  # the repeat
    redis_client.delete(KEYS.claim_result("C"))
    assert run(redis_client, plain_claim()) == stored
    redis_client.delete(KEYS.claim_result("C"))
    assert everything(redis_client) == {
        KEYS.processing: [stored],
        KEYS.claim_result_ids: {b"C": stored},
        KEYS.claim_result_backrefs: {stored: b"C"},
    }
    assert run(redis_client, removal(stored, None)) is True
    assert run(redis_client, removal(stored, None)) is True
    assert run(redis_client, removal(stored, None, "another")) is False
    redis_client.delete(KEYS.leases.operation_result("o"), KEYS.leases.operation_result("another"))
    assert everything(redis_client) == {}
    assert run(redis_client, plain_claim("D")) is None


def test_a_move_of_what_is_not_there_takes_its_copy_back(redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.completed, "before")
    assert run(redis_client, completion(b"gone", None)) is False
    assert redis_client.lrange(KEYS.completed, 0, -1) == [b"before"]


def test_an_unhandled_claim_goes_back_to_the_front(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a", "b")
    stored = run(redis_client, plain_claim())
    assert run(redis_client, return_unhandled(KEYS, stored, "{jobs}::replay 1")) is True
    assert payloads(redis_client, KEYS.pending) == ["a", "b"]
    assert set(everything(redis_client)) == {KEYS.pending, "{jobs}::replay 1"}
    assert run(redis_client, return_unhandled(KEYS, stored, "{jobs}::replay 1")) is True
    assert run(redis_client, return_unhandled(KEYS, stored, "{jobs}::replay 2")) is False
    assert payloads(redis_client, KEYS.pending) == ["a", "b"]


@pytest.mark.parametrize("leased", [True, False], ids=["leased", "plain"])
async def test_patience_without_end_is_as_good_as_any(
    face: Face, redis_client: redis.Redis, leased: bool
) -> None:
    lease = {"message_visibility_timeout_seconds": 30} if leased else {}
    endless = {"retry_budget_seconds": 2**64, "message_wait_interval_seconds": 2**64}
    queue = face.queue(gateway=face.gateway(**endless, **lease))
    assert await face.call(queue.publish, "a") is True
    assert await face.call(queue.enqueue, "b")
    for expected in (b"a", b"b"):
        async with face.process(queue) as payload:
            assert payload == expected
    assert redis_client.llen(KEYS.processing) == 0


# -- refusals --


@pytest.mark.parametrize(
    "call",
    [
        publication(),
        operations.add_bounded(pending=KEYS.pending, stored="m", max_pending_length=1),
        plain_claim(),
        return_unhandled(KEYS, "m"),
        operations.claim_leased(
            pending=KEYS.pending, processing=KEYS.processing, claim_id="C", visibility_timeout_ms=1000
        ),
    ],
    ids=lambda call: call.script.name,
)
def test_a_key_of_another_type_stops_a_script_before_any_write(
    redis_client: redis.Redis, call: operations.Call[Any]
) -> None:
    redis_client.set(KEYS.pending, "alien")
    with pytest.raises(redis.ResponseError) as raised:
        run(redis_client, call)
    assert (operations.script_failure(raised.value) or "").startswith("WRONGTYPE {jobs}::pending")
    assert everything(redis_client) == {KEYS.pending: b"alien"}


@pytest.mark.foreign_keys("another type stands under the name of one")
def test_a_record_of_another_type_stops_an_ack_before_any_write(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    claim = claim_as_v7(redis_client, KEYS, "C")
    call = completion(claim.stored, claim.token)
    redis_client.lpush(KEYS.leases.operation_result("1:o"), "alien")
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        run(redis_client, call)
    assert everything(redis_client) == before
