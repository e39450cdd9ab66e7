"""A settlement names a large message instead of sending it; what the server does not find it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import let_leases_expire

from redis_message_queue import RedisMessageQueue, envelope
from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

pytestmark = pytest.mark.one_node

KEYS = QueueKeys("{jobs}")
LARGE = "x" * 5000
OTHERS = (Outcome.FAILED, Outcome.DEAD, Outcome.RETRY, Outcome.RELEASE)


@pytest.fixture
def consumer(redis_client: redis.Redis) -> Consumer:
    return Consumer(redis_client, "{jobs}", keep_failed=10)


@pytest.fixture
def claimed(redis_client: redis.Redis, consumer: Consumer) -> Callable[..., tuple[Claim, ...]]:
    """Publish so many equal payloads and claim them all, the oldest first."""

    def claim(count: int) -> tuple[Claim, ...]:
        queue = RedisMessageQueue("{jobs}", client=redis_client, deduplication=False)
        queue.publish_many([LARGE] * count)
        claims = consumer.claim(count).claims
        assert len(claims) == count
        return claims

    return claim


@pytest.fixture
def settle(redis_client: redis.Redis, consumer: Consumer) -> Callable[..., tuple[tuple[bool, ...], int]]:
    """Settle, and tell how many calls that took."""

    def run(*claims: Claim, outcome: Outcome = Outcome.DONE, by: Consumer = consumer) -> Any:
        redis_client.config_resetstat()
        applied = by.settle([Settlement(claim, outcome) for claim in claims]).applied
        stats = redis_client.info("commandstats")
        return applied, sum(
            facts["calls"] for name, facts in stats.items() if name.startswith("cmdstat_eval")
        )

    consumer.settle([])  # loads the script
    return run


def left(client: redis.Redis) -> list[bytes]:
    """What is in processing, the first claimed first; the same messages are leased."""
    found: list[bytes] = client.lrange(KEYS.processing, 0, -1)[::-1]
    assert sorted(set(found)) == sorted(client.zrange(KEYS.lease_deadlines, 0, -1))
    assert sorted(set(found)) == sorted(client.hkeys(KEYS.lease_tokens))
    return found


@pytest.mark.parametrize("place", [0, 3, 7])
def test_of_equal_payloads_the_right_one_is_settled(
    redis_client: redis.Redis, claimed: Any, settle: Any, place: int
) -> None:
    claims = claimed(8)
    assert settle(claims[place]) == ((True,), 1)
    assert left(redis_client) == [claim.stored for claim in claims if claim is not claims[place]]


@pytest.mark.parametrize("outcome", OTHERS)
def test_every_outcome_finds_its_message(
    redis_client: redis.Redis, claimed: Any, settle: Any, outcome: Outcome
) -> None:
    first, second = claimed(2)
    assert settle(second, outcome=outcome) == ((True,), 1)
    assert left(redis_client) == [first.stored]


def test_of_two_equal_entries_one_goes(redis_client: redis.Redis, claimed: Any, settle: Any) -> None:
    (claim,) = claimed(1)
    redis_client.lpush(KEYS.processing, claim.stored)
    assert settle(claim) == ((True,), 1)
    assert redis_client.lrange(KEYS.processing, 0, -1) == [claim.stored]


def test_entries_may_have_been_moved(redis_client: redis.Redis, claimed: Any, settle: Any) -> None:
    claims = claimed(6)
    for _ in range(2):
        redis_client.lmove(KEYS.processing, KEYS.processing, "LEFT", "RIGHT")
    redis_client.lset(KEYS.processing, 0, claims[2].stored)
    redis_client.lset(KEYS.processing, 1, claims[3].stored)
    assert settle(claims[0], claims[4]) == ((True, True), 1)
    assert sorted(left(redis_client)) == sorted(claims[place].stored for place in (1, 2, 3, 5))


def test_far_from_where_it_was_claimed(redis_client: redis.Redis, claimed: Any, settle: Any) -> None:
    (first,) = claimed(1)
    others = claimed(150)
    assert settle(first) == ((True,), 1)
    assert left(redis_client) == [claim.stored for claim in others]


def test_among_many_of_one_claim_it_is_sent_if_need_be(
    redis_client: redis.Redis, claimed: Any, settle: Any
) -> None:
    claims = list(claimed(60))
    while claims:
        assert settle(claims.pop(len(claims) // 2))[0] == (True,)
        assert left(redis_client) == [claim.stored for claim in claims]


def test_a_renewed_lease_is_found_by_sending_the_message(
    redis_client: redis.Redis, consumer: Consumer, claimed: Any, settle: Any
) -> None:
    renewed, other = claimed(2)
    assert consumer.renew([renewed]) == (True,)
    redis_client.zincrby(KEYS.lease_deadlines, 1000, renewed.stored)  # a second later than it was claimed
    assert settle(other, renewed) == ((True, True), 2)
    assert left(redis_client) == []


def test_what_was_claimed_meanwhile_is_not_lost(
    redis_client: redis.Redis, consumer: Consumer, claimed: Any
) -> None:
    (claim,) = claimed(1)
    redis_client.zincrby(KEYS.lease_deadlines, 1000, claim.stored)
    RedisMessageQueue("{jobs}", client=redis_client).publish("next")
    reply = consumer.settle([Settlement(claim, Outcome.DONE)], claim=1)
    assert reply.applied == (True,)
    assert [each.payload for each in reply.claimed.claims] == [b"next"]


def test_a_lost_lease_is_lost(redis_client: redis.Redis, claimed: Any, settle: Any) -> None:
    (claim,) = claimed(1)
    let_leases_expire(redis_client, KEYS)
    (again,) = Consumer(redis_client, "{jobs}").claim(1).claims
    assert settle(claim) == ((False,), 2)
    assert left(redis_client) == [again.stored]
    assert settle(again) == ((True,), 1)


def test_a_token_that_comes_again_is_no_proof(redis_client: redis.Redis, claimed: Any, settle: Any) -> None:
    (claim,) = claimed(1)
    redis_client.flushall()  # as a server that lost its last writes
    (other,) = claimed(1)
    assert other.token == claim.token
    assert len(other.stored) == len(claim.stored)
    redis_client.zadd(KEYS.lease_deadlines, {other.stored: claim.lease_end_ms})
    assert settle(claim) == ((False,), 2)
    assert left(redis_client) == [other.stored]


def test_a_value_without_an_id_in_front_is_sent(
    redis_client: redis.Redis, consumer: Consumer, settle: Any
) -> None:
    behind = envelope.encode(LARGE).replace('"payload"', '"payload":"","payload"')
    values = [LARGE, LARGE + "y", '\x1eRMQ1:{"payload":"' + LARGE + '","id":"1"}', behind]
    redis_client.lpush(KEYS.pending, *values)
    claims = consumer.claim(4).claims
    assert settle(*claims) == ((True,) * 4, 1)
    assert left(redis_client) == []
