"""The consumer on a real server: claims, settlements, leases, dead letters."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
import redis
from tests.support.queues import (
    claim_as_v7,
    everything,
    lease_sets,
    let_delayed_be_due,
    let_leases_expire,
    payloads,
    publish,
    publish_later,
)
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import QueueKeys

KEYS = QueueKeys("{jobs}")


@pytest.fixture
def consumer(redis_client: redis.Redis) -> Consumer:
    return Consumer(redis_client, "{jobs}")


def texts(claims: tuple[Claim, ...]) -> list[str]:
    return [claim.payload.decode() if isinstance(claim.payload, bytes) else claim.payload for claim in claims]


def settled(outcome: Outcome, claim: Claim, **details: Any) -> Settlement:
    return Settlement(claim, outcome, **details)


# -- claiming --


def test_claims_oldest_first_up_to_the_count(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    first = consumer.claim(2)
    assert texts(first.claims) == ["a", "b"]
    assert [claim.delivery_count for claim in first.claims] == [1, 1]
    assert [claim.token for claim in first.claims] == ["1", "2"]
    assert texts(consumer.claim(5).claims) == ["c"]
    processing, deadlines, tokens = lease_sets(redis_client, KEYS)
    assert processing == deadlines == tokens


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_of_nothing_claims_nothing(redis_client: redis.Redis, consumer: Consumer, count: int) -> None:
    publish(redis_client, KEYS, "a")
    assert consumer.claim(count).claims == ()
    assert payloads(redis_client, KEYS.pending) == ["a"]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
def test_payload_has_the_type_the_client_reads(redis_url: str, decode: bool, protocol: int) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=decode, protocol=protocol) as client:
        publish(client, KEYS, "é")
        consumer = Consumer(client, "{jobs}")
        (claim,) = consumer.claim(1).claims
        assert claim.payload == ("é" if decode else "é".encode())
        assert consumer.renew([claim]) == (True,)
        assert consumer.settle([settled(Outcome.DONE, claim)]).applied == (True,)


def test_a_value_that_is_no_text_is_claimed_as_bytes_by_a_decoding_client(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.lpush(KEYS.pending, b"\xff\x00")
        consumer = Consumer(client, "{jobs}")
        assert consumer.wait(1) is True
        (claim,) = consumer.claim(1).claims
        assert (claim.id, claim.payload) == (None, b"\xff\x00")
        assert consumer.settle([settled(Outcome.DONE, claim)]).applied == (True,)


def test_next_moments_are_told_to_a_consumer_that_could_take_more(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    nothing = consumer.claim(1)
    assert (nothing.next_due_seconds, nothing.next_expiry_seconds) == (None, None)
    publish(redis_client, KEYS, "a")
    publish_later(redis_client, KEYS, 50, "later")
    reply = consumer.claim(2)
    assert reply.next_due_seconds == pytest.approx(50, abs=20)
    assert reply.next_expiry_seconds == pytest.approx(120, abs=20)


def test_equal_values_without_envelope_are_leased_one_by_one(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    redis_client.lpush(KEYS.pending, "same", "same", b"\xff", b"\xff")
    claims = consumer.claim(4).claims
    assert [claim.payload for claim in claims] == [b"same", b"same", b"\xff", b"\xff"]
    retried, *done = claims
    outcomes = [settled(Outcome.RETRY, retried), *(settled(Outcome.DONE, claim) for claim in done)]
    assert consumer.settle(outcomes).applied == (True,) * 4
    redis_client.lpush(KEYS.pending, "same")
    (again,) = consumer.claim(1).claims[:1]
    assert consumer.settle([settled(Outcome.RETRY, again, delay_seconds=9)]).applied == (True,)
    assert redis_client.zcard(KEYS.delayed) + redis_client.llen(KEYS.pending) == 2


# -- leases --


def test_expired_leases_come_back_first_earliest_deadline_first(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a", "b", "c", "fresh")
    consumer.claim(3)
    let_leases_expire(redis_client, KEYS)
    reply = consumer.claim(4)
    assert texts(reply.claims) == ["a", "b", "c", "fresh"]
    assert [claim.delivery_count for claim in reply.claims] == [2, 2, 2, 1]
    assert reply.reclaimed == 3


def test_a_lost_lease_refuses_everything_and_changes_nothing(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    (old,) = consumer.claim(1).claims
    let_leases_expire(redis_client, KEYS)
    (new,) = consumer.claim(1).claims
    consumer.claim(1)  # removes the records of the calls before
    before = everything(redis_client)
    assert consumer.renew([old, new]) == (False, True)
    for outcome in Outcome:
        assert consumer.settle([settled(outcome, old)]).applied == (False,)
    consumer.claim(1)
    after = everything(redis_client)
    del before[KEYS.lease_deadlines], after[KEYS.lease_deadlines]
    assert after == before


def test_an_expired_lease_that_nobody_took_is_still_ours(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    (claim,) = consumer.claim(1).claims
    let_leases_expire(redis_client, KEYS)
    assert consumer.renew([claim]) == (True,)
    assert consumer.claim(1).claims == ()
    assert consumer.settle([settled(Outcome.DONE, claim)]).applied == (True,)


def test_many_expired_leases_are_taken_back_in_bounded_steps(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *map(str, range(250)))
    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=None)
    consumer.claim(250)
    let_leases_expire(redis_client, KEYS)
    steps = []
    while reclaimed := consumer.claim(1).reclaimed:
        steps.append(reclaimed)
    assert steps == [100, 100, 50]


def test_tokens_stay_exact_where_doubles_end(redis_client: redis.Redis, consumer: Consumer) -> None:
    redis_client.set(KEYS.lease_token_counter, 2**53)
    publish(redis_client, KEYS, "a", "b")
    a, b = consumer.claim(2).claims
    assert (a.token, b.token) == (str(2**53 + 1), str(2**53 + 2))
    assert consumer.settle([settled(Outcome.DONE, b), settled(Outcome.DONE, a)]).applied == (True, True)


def test_peers_of_version_7_reclaim_our_leases_and_we_theirs(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    consumer.claim(1)
    let_leases_expire(redis_client, KEYS)
    theirs = claim_as_v7(redis_client, KEYS, "their-claim")
    assert (theirs.token, len(theirs.reclaimed)) == ("2", 1)
    let_leases_expire(redis_client, KEYS)
    (ours,) = consumer.claim(1).claims
    assert (ours.token, ours.delivery_count) == ("3", 3)
    left = {key for key in everything(redis_client) if "claim_result" in key}
    assert left == {key for key in left if ":claim_result:" in key and "their-claim" not in key}


def test_leftovers_of_a_peer_go_when_its_message_is_settled(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    theirs = claim_as_v7(redis_client, KEYS, "their-claim")
    assert theirs.stored is not None
    assert theirs.token is not None
    taken = Claim(theirs.stored, theirs.token, None, theirs.stored, 1)
    assert consumer.settle([settled(Outcome.DONE, taken)]).applied == (True,)
    consumer.claim(1)
    assert set(everything(redis_client)) == {KEYS.lease_token_counter}


# -- settling --


def test_done_leaves_nothing_but_the_counter(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a", "b")
    claims = consumer.claim(2).claims
    assert consumer.settle([settled(Outcome.DONE, claim) for claim in claims]).applied == (True, True)
    consumer.claim(1)
    assert everything(redis_client) == {KEYS.lease_token_counter: b"2"}


def test_kept_lists_hold_payloads_newest_first_and_are_capped(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a", "b", "c", "x", "y", "z")
    consumer = Consumer(redis_client, "{jobs}", keep_completed=2, keep_failed=2)
    claims = consumer.claim(6).claims
    consumer.settle([settled(Outcome.DONE, claim) for claim in claims[:3]])
    consumer.settle([settled(Outcome.FAILED, claim) for claim in claims[3:]])
    assert redis_client.lrange(KEYS.completed, 0, -1) == [b"c", b"b"]
    assert redis_client.lrange(KEYS.failed, 0, -1) == [b"z", b"y"]


def test_failed_is_removed_when_it_is_not_kept(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    consumer = Consumer(redis_client, "{jobs}", keep_failed=0)
    consumer.settle([settled(Outcome.FAILED, *consumer.claim(1).claims)])
    consumer.claim(1)
    assert everything(redis_client) == {KEYS.lease_token_counter: b"1"}


def test_dead_goes_to_the_dead_letters_with_the_reason(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a")
    (claim,) = consumer.claim(1).claims
    consumer.settle([settled(Outcome.DEAD, claim, reason="BadInput", detail="no such é")])
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"a"]
    (record,) = map(json.loads, redis_client.lrange(KEYS.dead_letter_info, 0, -1))
    assert (record["id"], record["reason"], record["detail"]) == (claim.id, "BadInput", "no such é")
    assert record["deliveries"] == 1


def test_dead_letter_records_are_capped(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abcd")
    consumer = Consumer(redis_client, "{jobs}", keep_dead_letter_info=2)
    consumer.settle([settled(Outcome.DEAD, claim) for claim in consumer.claim(4).claims])
    assert redis_client.llen(KEYS.dead_letter) == 4
    assert redis_client.llen(KEYS.dead_letter_info) == 2


def test_release_puts_messages_back_to_the_front_uncounted(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    claims = consumer.claim(2).claims
    assert consumer.settle([settled(Outcome.RELEASE, claim) for claim in claims]).applied == (True, True)
    assert payloads(redis_client, KEYS.pending) == ["a", "b", "c"]
    assert not redis_client.exists(KEYS.delivery_counts, KEYS.lease_tokens, KEYS.lease_deadlines)
    assert [claim.delivery_count for claim in consumer.claim(3).claims] == [1, 1, 1]


def test_retry_waits_and_keeps_the_count(redis_client: redis.Redis, consumer: Consumer) -> None:
    publish(redis_client, KEYS, "a", "b")
    (claim,) = consumer.claim(1).claims
    consumer.settle([settled(Outcome.RETRY, claim, delay_seconds=60)])
    reply = consumer.claim(1)
    assert texts(reply.claims) == ["b"]
    assert consumer.claim(1).next_due_seconds == pytest.approx(60, abs=20)
    let_delayed_be_due(redis_client, KEYS)
    (again,) = consumer.claim(1).claims
    assert (again.id, again.delivery_count) == (claim.id, 2)
    assert redis_client.exists(KEYS.delayed) == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_a_message_taken_away_by_hand_is_not_settled(redis_client: redis.Redis, outcome: Outcome) -> None:
    publish(redis_client, KEYS, "a")
    consumer = Consumer(redis_client, "{jobs}", keep_completed=5)
    (claim,) = consumer.claim(1).claims
    redis_client.delete(KEYS.processing)
    assert consumer.settle([settled(outcome, claim, delay_seconds=1)]).applied == (False,)
    for key in (
        KEYS.pending,
        KEYS.completed,
        KEYS.failed,
        KEYS.dead_letter,
        KEYS.dead_letter_info,
        KEYS.delayed,
    ):
        assert not redis_client.exists(key)


def test_due_messages_are_promoted_in_their_order(redis_client: redis.Redis, consumer: Consumer) -> None:
    for number in range(5):
        publish_later(redis_client, KEYS, 10 + number, str(number))
    let_delayed_be_due(redis_client, KEYS)
    assert [texts(consumer.claim(2).claims) for _ in range(3)] == [["0", "1"], ["2", "3"], ["4"]]


def test_settling_and_claiming_are_one_round_trip(
    redis_client: redis.Redis, node: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a", "b")
    (claim,) = consumer.claim(1).claims
    calls_before = node.info("commandstats")["cmdstat_evalsha"]["calls"]
    reply = consumer.settle([settled(Outcome.DONE, claim)], claim=1)
    assert node.info("commandstats")["cmdstat_evalsha"]["calls"] == calls_before + 1
    assert (reply.applied, texts(reply.claimed.claims)) == ((True,), ["b"])


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 10**400, 1e300])
def test_a_wrong_delay_is_refused(delay: float) -> None:
    with pytest.raises(ConfigurationError, match="'delay_seconds'"):
        Settlement(Claim("s", "1", None, "s", 1), Outcome.RETRY, delay_seconds=delay)


# -- delivery limit --


def test_the_delivery_after_the_last_allowed_one_is_a_dead_letter(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "poison", "good")
    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=2)
    for delivery in (1, 2):
        (claim,) = consumer.claim(1).claims
        assert (texts((claim,)), claim.delivery_count) == (["poison"], delivery)
        let_leases_expire(redis_client, KEYS)
    reply = consumer.claim(1)
    assert (texts(reply.claims), reply.dead_lettered) == (["good"], 1)
    assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"poison"]
    (record,) = map(json.loads, redis_client.lrange(KEYS.dead_letter_info, 0, -1))
    assert (record["reason"], record["deliveries"]) == ("MaxDeliveries", 2)
    assert redis_client.hlen(KEYS.delivery_counts) == 1


def test_without_a_limit_deliveries_are_counted_but_never_end(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    consumer = Consumer(redis_client, "{jobs}", max_delivery_count=None)
    for delivery in range(1, 15):
        (claim,) = consumer.claim(1).claims
        assert claim.delivery_count == delivery
        let_leases_expire(redis_client, KEYS)


def test_counts_of_messages_removed_by_hand_go_with_their_lease(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    consumer.claim(1)
    redis_client.delete(KEYS.processing)
    let_leases_expire(redis_client, KEYS)
    assert consumer.claim(1).reclaimed == 0
    assert set(everything(redis_client)) <= {KEYS.lease_token_counter}


# -- waiting --


def test_wait_wakes_for_a_message_and_takes_nothing(
    redis_client: redis.Redis, node: redis.Redis, consumer: Consumer
) -> None:
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(consumer.wait(30)))
    waiter.start()
    eventually(lambda: node.info("clients")["blocked_clients"], "it waits")
    publish(redis_client, KEYS, "a", "b")
    waiter.join(PATIENCE_SECONDS)
    assert woken == [True]
    assert payloads(redis_client, KEYS.pending) == ["a", "b"]


def test_wait_ends_with_its_time(consumer: Consumer) -> None:
    assert consumer.wait(0) is False
    assert consumer.wait(0.05) is False


# -- refusals --


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": " "}, "name"),
        ({"key_separator": ""}, "key_separator"),
        ({"visibility_timeout_seconds": 0}, "visibility_timeout_seconds"),
        ({"visibility_timeout_seconds": float("nan")}, "visibility_timeout_seconds"),
        ({"max_delivery_count": 0}, "max_delivery_count"),
        ({"keep_completed": -1}, "keep_completed"),
        ({"keep_failed": -1}, "keep_failed"),
        ({"keep_dead_letter_info": -1}, "keep_dead_letter_info"),
    ],
)
def test_a_wrong_argument_is_named(redis_client: redis.Redis, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{named}'"):
        Consumer(redis_client, **{"name": "{jobs}", **arguments})


@pytest.mark.parametrize("key", [KEYS.pending, KEYS.lease_deadlines, KEYS.delayed, KEYS.workers])
@pytest.mark.foreign_keys("another type stands under the name of one")
def test_a_key_of_another_type_stops_the_call_before_any_write(redis_client: redis.Redis, key: str) -> None:
    consumer = Consumer(redis_client, "{jobs}", worker=WorkerIdentity("w", 1))
    publish(redis_client, KEYS, "a")
    redis_client.delete(key)
    redis_client.set(key, "alien")
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        consumer.claim(1)
    assert everything(redis_client) == before


def test_a_list_is_trimmed_only_by_what_is_put_into_it(redis_client: redis.Redis) -> None:
    consumer = Consumer(redis_client, "{jobs}", keep_failed=2)
    publish(redis_client, KEYS, "a", "b")
    redis_client.lpush(KEYS.failed, *"12345")
    first, second = consumer.claim(2).claims
    consumer.settle([settled(Outcome.RELEASE, first)])
    assert redis_client.llen(KEYS.failed) == 5
    consumer.settle([settled(Outcome.FAILED, second)])
    assert redis_client.lrange(KEYS.failed, 0, -1) == [b"b", b"5"]


@pytest.mark.parametrize("key", [KEYS.delivery_counts, KEYS.dead_letter, KEYS.dead_letter_info])
def test_a_list_of_letters_of_another_type_stops_a_settlement_before_any_write(
    redis_client: redis.Redis, consumer: Consumer, key: str
) -> None:
    publish(redis_client, KEYS, "a", "b")
    (claim,) = consumer.claim(1).claims
    redis_client.delete(key)
    redis_client.set(key, "alien")
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match=f"WRONGTYPE {re.escape(key)} is a string"):
        consumer.settle([settled(Outcome.DEAD, claim)], claim=1)
    assert everything(redis_client) == before


def test_a_damaged_token_counter_is_an_error_and_loses_nothing(
    redis_client: redis.Redis, consumer: Consumer
) -> None:
    publish(redis_client, KEYS, "a")
    redis_client.set(KEYS.lease_token_counter, "alien")
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match="could not be stored"):
        consumer.claim(1)
    assert everything(redis_client) == before
