"""Samples, worker fields, retirement: what an operator sees and may ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio
from tests.support.queues import everything, let_delayed_be_due, let_leases_expire, publish, publish_later

from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import (
    QueueSample,
    retire,
    retire_async,
    sample,
    sample_async,
    unretire,
    unretire_async,
)

if TYPE_CHECKING:
    from tests.support.servers import Server

KEYS = QueueKeys("{jobs}")


def look(client: redis.Redis, keys: QueueKeys = KEYS) -> QueueSample:
    (found,) = sample(client, [keys])
    assert isinstance(found, QueueSample)
    return found


def worker(client: redis.Redis, name: str = "w1", **identity: str) -> Consumer:
    return Consumer(client, "{jobs}", worker=WorkerIdentity(name, 4, **identity))


def idle(client: redis.Redis, name: str = "w1") -> Consumer:
    consumer = worker(client, name)
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    return consumer


def test_an_untouched_queue_is_zero_but_what_is_unknown_is_none(redis_client: redis.Redis) -> None:
    found = look(redis_client)
    assert (found.pending, found.in_flight, found.processing, found.delayed, found.dead_letter) == (0,) * 5
    assert (found.claims_total, found.next_due_seconds, found.next_expiry_seconds) == (None, None, None)
    assert found.workers == ()


def test_every_number(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abcdefgh")
    consumer = Consumer(redis_client, "{jobs}", keep_completed=10)
    a, b, c, d, *_ = consumer.claim(6).claims
    outcomes = [Outcome.DONE, Outcome.FAILED, Outcome.DEAD, Outcome.RETRY]
    consumer.settle(
        [Settlement(claim, outcome, 30) for claim, outcome in zip((a, b, c, d), outcomes, strict=True)]
    )
    redis_client.lpush(KEYS.processing, "stray")
    found = look(redis_client)
    assert (found.pending, found.in_flight, found.expired, found.processing, found.orphaned) == (
        2,
        2,
        0,
        3,
        1,
    )
    assert (found.completed, found.failed, found.dead_letter) == (1, 1, 1)
    assert (found.delayed, found.delayed_due, found.claims_total) == (1, 0, 6)
    assert found.next_due_seconds == pytest.approx(30, abs=20)
    assert found.next_expiry_seconds == pytest.approx(120, abs=20)
    let_leases_expire(redis_client, KEYS)
    let_delayed_be_due(redis_client, KEYS)
    found = look(redis_client)
    assert (found.expired, found.delayed_due, found.next_due_seconds, found.next_expiry_seconds) == (
        2,
        1,
        0,
        0,
    )


def test_sampling_writes_nothing(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    idle(redis_client)
    before = everything(redis_client)
    look(redis_client)
    assert everything(redis_client) == before


async def test_many_queues_one_round_trip_and_a_broken_one_is_an_exception(
    server: Server, redis_client: redis.Redis
) -> None:
    queues = [QueueKeys(name) for name in ("{a}", "{b}", "{c}")]
    redis_client.script_flush()
    publish(redis_client, queues[0], "x")
    redis_client.set(queues[1].pending, "alien")
    async with server.asyncio(decode_responses=True) as client:
        for found in (sample(redis_client, queues), await sample_async(client, queues)):
            first, broken, last = found
            assert isinstance(first, QueueSample)
            assert first.pending == 1
            assert isinstance(broken, redis.ResponseError)
            assert isinstance(last, QueueSample)
    assert sample(redis_client, []) == []


def test_an_unreachable_server_raises() -> None:
    with redis.Redis(port=1, retry=None) as client, pytest.raises(redis.ConnectionError):
        sample(client, [KEYS])


# -- worker fields --


def test_a_report_shows_the_worker(redis_client: redis.Redis) -> None:
    consumer = worker(redis_client, pod_uid="pod", owner_uid="owner", config_hash="cfg")
    consumer.report(busy=2, oldest_start_age_seconds=1.5, draining=True)
    found = look(redis_client)
    (state,) = found.workers
    assert (state.id, state.protocol, state.slots, state.busy) == ("w1", 1, 4, 2)
    assert (state.pod_uid, state.owner_uid, state.config_hash) == ("pod", "owner", "cfg")
    assert (state.draining, state.retired) == (True, False)
    assert state.oldest_start_ms == state.updated_ms - 1500
    assert found.time_ms - state.updated_ms < 5000
    assert 0 < redis_client.pttl(KEYS.workers) <= 120_000


def test_claims_and_settlements_change_busy_at_once(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abc")
    consumer = idle(redis_client)
    claims = consumer.claim(3).claims
    assert look(redis_client).workers[0].busy == 3
    consumer.settle([Settlement(claims[0], Outcome.DONE), Settlement(claims[1], Outcome.RELEASE)])
    assert look(redis_client).workers[0].busy == 1


def test_a_claim_before_the_first_report_makes_the_field(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    worker(redis_client, pod_uid="pod").claim(1)
    (state,) = look(redis_client).workers
    assert (state.pod_uid, state.slots, state.busy) == ("pod", 4, 1)
    assert 0 < redis_client.pttl(KEYS.workers) <= 120_000


def test_a_late_report_does_not_undo_a_count_it_has_not_seen(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    reporter, claimer = idle(redis_client), worker(redis_client)
    claimer.claim(1)  # the same worker, whose reply the reporter has not seen
    reporter.report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert look(redis_client).workers[0].busy == 1
    reporter.report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert look(redis_client).workers[0].busy == 0


def test_silent_workers_are_not_shown(redis_client: redis.Redis) -> None:
    idle(redis_client, "silent")
    idle(redis_client, "alive")
    state = json.loads(redis_client.hget(KEYS.workers, "silent"))
    state["at"] -= 61_000
    redis_client.hset(KEYS.workers, "silent", json.dumps(state))
    redis_client.hset(KEYS.workers, "alien", "no json")
    assert [found.id for found in look(redis_client).workers] == ["alive"]


def test_deregister_removes_the_field(redis_client: redis.Redis) -> None:
    idle(redis_client).deregister()
    assert redis_client.exists(KEYS.workers) == 0


def test_reporting_needs_an_identity(redis_client: redis.Redis) -> None:
    with pytest.raises(ConfigurationError, match="'worker'"):
        Consumer(redis_client, "{jobs}").report(busy=0, oldest_start_age_seconds=None, draining=False)


# -- retirement --


def test_a_retired_worker_claims_nothing_until_it_is_taken_back(redis_client: redis.Redis) -> None:
    consumer = idle(redis_client)
    publish(redis_client, KEYS, "a")
    assert retire(redis_client, KEYS, ["w1", "unknown"]) == ("w1",)
    reply = consumer.claim(1)
    assert (reply.retired, reply.claims) == (True, ())
    assert look(redis_client).workers[0].retired is True
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert consumer.claim(1).retired is True
    assert unretire(redis_client, KEYS, ["w1", "unknown"]) == ("w1",)
    assert [claim.payload for claim in consumer.claim(1).claims] == [b"a"]


def test_the_mark_ends_by_itself(redis_client: redis.Redis) -> None:
    consumer = idle(redis_client)
    retire(redis_client, KEYS, ["w1"], ttl_seconds=0.001)
    while consumer.claim(1).retired:
        pass
    assert look(redis_client).workers[0].retired is False


def test_busy_and_draining_workers_and_other_protocols_are_left_alone(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    idle(redis_client, "busy").claim(1)
    worker(redis_client, "draining").report(busy=0, oldest_start_age_seconds=None, draining=True)
    idle(redis_client, "newer")
    state = json.loads(redis_client.hget(KEYS.workers, "newer"))
    redis_client.hset(KEYS.workers, "newer", json.dumps(state | {"v": 2}))
    assert retire(redis_client, KEYS, ["busy", "draining", "newer"]) == ()
    assert retire(redis_client, KEYS, []) == ()


async def test_the_asyncio_marks_are_the_same(redis_client: redis.Redis, redis_url: str) -> None:
    consumer = idle(redis_client)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await retire_async(client, KEYS, ["w1"]) == ("w1",)
        assert consumer.claim(1).retired is True
        assert await unretire_async(client, KEYS, ["w1"]) == ("w1",)
        assert consumer.claim(1).retired is False


def test_a_wrong_time_to_live_is_refused(redis_client: redis.Redis) -> None:
    with pytest.raises(ConfigurationError, match="'ttl_seconds'"):
        retire(redis_client, KEYS, ["w1"], ttl_seconds=-1)


def test_delayed_messages_count_as_due_when_their_time_is_over(redis_client: redis.Redis) -> None:
    publish_later(redis_client, KEYS, 60, "x", "y")
    assert (look(redis_client).delayed, look(redis_client).delayed_due) == (2, 0)
    let_delayed_be_due(redis_client, KEYS)
    assert (look(redis_client).delayed, look(redis_client).delayed_due) == (2, 2)


# ---- versions --------------------------------------------------------------------------


def of_version(client: redis.Redis, config_hash: str, **options: int) -> Consumer:
    identity = WorkerIdentity(f"worker-{config_hash}", 4, config_hash=config_hash)
    return Consumer(client, "{jobs}", worker=identity, **options)


def test_outcomes_are_counted_by_the_version_of_the_worker(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *"abcdefgh")
    old, new = of_version(redis_client, "old"), of_version(redis_client, "new")
    old.report(busy=0, oldest_start_age_seconds=None, draining=False)
    a, b = old.claim(2).claims
    old.settle([Settlement(a, Outcome.DONE), Settlement(b, Outcome.DEAD, failed=True)])
    c, d, e, f = new.claim(4).claims
    new.settle(
        [
            Settlement(c, Outcome.RETRY, 30, failed=True),
            Settlement(d, Outcome.RETRY, 30),
            Settlement(e, Outcome.DEAD),
            Settlement(f, Outcome.RELEASE, failed=True),
        ]
    )
    new_one, old_one = look(redis_client).versions
    assert (old_one.config_hash, old_one.done, old_one.failed, old_one.dead_letters) == ("old", 1, 1, 1)
    assert (new_one.config_hash, new_one.done, new_one.failed, new_one.dead_letters) == ("new", 0, 2, 1)
    assert new_one.updated_ms is None
    assert old_one.updated_ms == pytest.approx(look(redis_client).time_ms, abs=60_000)
    assert 86_000 < redis_client.ttl(KEYS.versions) <= 86_400


def test_an_outcome_that_does_not_apply_is_not_counted(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a", "b")
    consumer = of_version(redis_client, "v1")
    mine, lost = consumer.claim(2).claims
    redis_client.hset(KEYS.lease_tokens, lost.stored, "of somebody else")
    ends = [Settlement(mine, Outcome.DONE), Settlement(lost, Outcome.DEAD, failed=True)]
    assert consumer.settle(ends).applied == (True, False)
    (version,) = look(redis_client).versions
    assert (version.done, version.failed, version.dead_letters) == (1, 0, 0)


def test_who_has_no_configuration_counts_nothing(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a", "b")
    for consumer in (worker(redis_client), Consumer(redis_client, "{jobs}")):
        consumer.settle([Settlement(*consumer.claim(1).claims, Outcome.DONE)])
    worker(redis_client).report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert look(redis_client).versions == ()
    assert not redis_client.exists(KEYS.versions)


def test_old_versions_are_forgotten(redis_client: redis.Redis) -> None:
    now = look(redis_client).time_ms
    for number in range(12):
        age = 90_000_000 if number == 11 else 1000 * number
        redis_client.hset(KEYS.versions, mapping={f"v{number}:at": now - age, f"v{number}:done": 5})
    consumer = of_version(redis_client, "now")
    for _ in range(2000):  # it looks once in a while
        consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
        if len(look(redis_client).versions) < 13:
            break
    found = {version.config_hash for version in look(redis_client).versions}
    assert found == {"now", *(f"v{number}" for number in range(7))}
    assert redis_client.hlen(KEYS.versions) == 1 + 2 * 7


@pytest.mark.foreign_keys("another type stands under the name of one")
def test_statistics_of_another_type_hinder_no_settlement(redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, "a")
    consumer = of_version(redis_client, "v1")
    (claim,) = consumer.claim(1).claims
    redis_client.set(KEYS.versions, "somebody else's")
    assert consumer.settle([Settlement(claim, Outcome.DONE)]).applied == (True,)


def test_a_worker_says_that_failures_have_stopped_it(redis_client: redis.Redis) -> None:
    consumer = idle(redis_client)
    assert not look(redis_client).workers[0].tripped
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False, tripped=True)
    assert look(redis_client).workers[0].tripped


def test_a_worker_that_begins_under_an_id_is_not_busy_with_what_the_one_before_had(
    redis_client: redis.Redis,
) -> None:
    publish(redis_client, KEYS, "a", "b", "c")
    before, after = [
        Consumer(redis_client, KEYS.name, worker=WorkerIdentity("w1", 4, instance=instance))
        for instance in ("first", "second")
    ]
    assert len(before.claim(2).claims) == 2
    assert look(redis_client).workers[0].busy == 2
    after.report(busy=0, oldest_start_age_seconds=None, draining=False)
    assert look(redis_client).workers[0].busy == 0
    assert len(after.claim(4).claims) == 1
    assert look(redis_client).workers[0].busy == 1
    after.report(busy=1, oldest_start_age_seconds=None, draining=False)
    assert look(redis_client).workers[0].busy == 1
