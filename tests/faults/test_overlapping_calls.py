"""Of two calls of a consumer that are under way at once one goes wrong: nothing is lost, nothing doubled."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.fault_proxy import Answer, At, Fault, FaultProxy, nothing
from tests.support.queues import let_leases_expire, payloads, publish
from tests.support.waiting import eventually

from redis_message_queue.consumer import Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.pipelined import PipelinedConsumer
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fault_proxy import Rule

    from redisqueue_worker.embedded_redis import EmbeddedRedis

KEYS = QueueKeys("jobs")
SENT = [f"{number:02}" for number in range(30)]
WORK = (b"EVALSHA", b"EVAL")
ANSWERS = {
    "unknown script": b"-NOSCRIPT No matching script.\r\n",
    "elsewhere": b"-READONLY You can't write against a read only replica.\r\n",
    "refused": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "for now": b"-BUSY Redis is busy running a script.\r\n",
}
TROUBLE: dict[str, Fault | Answer] = {fault.name: fault for fault in Fault if fault is not Fault.SILENCE}
TROUBLE |= {name: Answer(reply) for name, reply in ANSWERS.items()}


@pytest.fixture
def proxy(redis_server: EmbeddedRedis) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


def client_of(url: str, retries: int, socket_timeout: float = 60, **options: int) -> redis.Redis:
    retry = Retry(NoBackoff(), retries)
    return redis.Redis.from_url(url, retry=retry, socket_timeout=socket_timeout, **options)


def consumer_of(client: redis.Redis, **options: object) -> PipelinedConsumer:
    identity = WorkerIdentity("w", 4, config_hash="v1", instance="i")
    return PipelinedConsumer(client, "jobs", worker=identity, keep_completed=1000, **options)


def handle_all(consumer: PipelinedConsumer) -> tuple[Counter[str], int]:
    """Claim and settle until nothing is left, with two calls under way; what was handled, and the failures.

    What fails is repeated as it was, as the rules of `Consumer` have it.
    """
    handled: Counter[str] = Counter()
    under_way: deque[list[Settlement]] = deque()
    again: deque[list[Settlement]] = deque()
    new: list[Settlement] = []
    failures = 0
    while True:
        try:
            while len(under_way) < 2:
                batch, new = (again.popleft(), new) if again else (new, [])
                under_way.append(batch)
                consumer.send(batch, 3, in_hand=1)
            consumer.wait_for_reply()
            reply = consumer.receive()
        except AWAY:
            failures += 1
            again.extendleft(reversed(under_way))
            under_way.clear()
            continue
        assert all(reply.applied), "settled once"
        assert len(reply.applied) == len(under_way.popleft())
        claims = reply.claimed.claims
        handled.update(claim.payload.decode() for claim in claims if isinstance(claim.payload, bytes))
        new += [Settlement(claim, Outcome.DONE) for claim in claims]
        if not (claims or new or any(under_way) or any(again)):
            while consumer.unresolved:
                assert not consumer.recover()
            return handled, failures


def check(client: redis.Redis, handled: Counter[str]) -> None:
    assert handled == Counter(SENT), "each was given once"
    assert sorted(payloads(client, KEYS.completed)) == SENT
    leases = KEYS.lease_deadlines, KEYS.lease_tokens, KEYS.delivery_counts
    assert [key for key in (KEYS.pending, KEYS.processing, *leases) if client.exists(key)] == []


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_any_of_them_may_go_wrong(
    trouble: Fault | Answer,
    retries: int,
    proxy: FaultProxy,
    redis_client: redis.Redis,
    subtests: pytest.Subtests,
) -> None:
    number, seen = 0, 1
    while number < min(seen, 9):
        with subtests.test(call=number):
            with client_of(proxy.url, retries) as client:
                consumer_of(client).claim(0)  # the server knows the script
                publish(redis_client, KEYS, *SENT)
                proxy.rule = rule = At(number, lambda _: trouble, WORK)
                handled, _ = handle_all(consumer_of(client))
            proxy.rule = nothing
            proxy.until_idle()
            check(redis_client, handled)
            redis_client.flushall()
            assert rule.at
            number, seen = number + 1, rule.seen


def receive_three(consumer: PipelinedConsumer) -> None:
    """What is under way already may be answered."""
    for _ in range(3):
        consumer.receive()
        consumer.send((), 0, in_hand=1)


def test_replies_may_never_come(
    redis_server: EmbeddedRedis, redis_client: redis.Redis, proxy: FaultProxy
) -> None:
    with client_of(proxy.url, 0) as client:
        consumer_of(client).claim(0)  # the server knows the script
    publish(redis_client, KEYS, *SENT)
    with client_of(redis_server.url, 0, socket_timeout=0.3) as client:
        consumer = consumer_of(client)
        for _ in range(2):
            consumer.send((), 3, in_hand=1)
        redis_client.client_pause(60_000, all=False)
        with pytest.raises(redis.TimeoutError):
            receive_three(consumer)
        redis_client.client_unpause()
        handled, _ = handle_all(consumer)
    let_leases_expire(redis_client, KEYS)  # of what a call has claimed that came late
    with client_of(proxy.url, 0) as client:
        handled += handle_all(consumer_of(client))[0]
    check(redis_client, handled)


@pytest.mark.parametrize("name", [Fault.CUT_AFTER.name, "unknown script", "elsewhere"])
def test_what_another_call_mends_is_nothing_that_a_caller_sees(
    name: str, proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    with client_of(proxy.url, 1) as client:
        consumer_of(client).claim(0)  # the server knows the script
        publish(redis_client, KEYS, *SENT)
        proxy.rule = At(3, lambda _: TROUBLE[name], WORK)
        handled, failures = handle_all(consumer_of(client))
    assert failures == 0
    assert proxy.faults == 1
    proxy.until_idle()
    check(redis_client, handled)


@pytest.mark.parametrize("calls", [1, 2])
def test_what_is_asked_anew_goes_over_no_connection_to_a_former_master(
    calls: int, proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    with client_of(proxy.url, 0) as client:
        consumer = consumer_of(client)
        consumer.claim(0)  # the server knows the script
        publish(redis_client, KEYS, *SENT)
        pool = client.connection_pool
        idle = [pool.get_connection() for _ in range(2)]
        for connection in idle:
            pool.release(connection)
        former = proxy.connections
        elsewhere = TROUBLE["elsewhere"]
        proxy.rule = lambda request: elsewhere if request[0] in WORK and proxy.connections == former else None
        for _ in range(calls):
            consumer.send((), 3, in_hand=1)
        given = [claim.payload for _ in range(calls) for claim in consumer.receive().claimed.claims]
    assert given == [sent.encode() for sent in SENT[: 3 * calls]]
    assert proxy.faults == calls, "it was told once of each"


def test_a_second_call_is_sent_before_the_first_is_answered(
    proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *SENT)
    both_sent, in_time = threading.Event(), []

    def hold(_: list[bytes]) -> None:
        in_time.append(both_sent.wait(30))

    rule: Rule = At(0, hold, (b"EVALSHA",))
    with redis.Redis.from_url(proxy.url) as client:
        consumer = consumer_of(client)
        consumer.claim(0)
        assert consumer.may_overlap
        proxy.rule = rule
        for _ in range(2):
            consumer.send((), 3, in_hand=1)
        both_sent.set()
        given = [claim.payload for _ in range(2) for claim in consumer.receive().claimed.claims]
    assert in_time == [True]
    assert given == [sent.encode() for sent in SENT[:6]], "and they are answered in turn"
    assert proxy.connections == 1


def test_a_health_check_that_falls_due_between_them_takes_no_reply(
    redis_server: EmbeddedRedis, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *SENT[:6])
    with client_of(redis_server.url, 2, health_check_interval=3600) as client:
        consumer = consumer_of(client)
        consumer.claim(0)
        consumer.send((), 3, in_hand=1)
        eventually(lambda: redis_client.llen(KEYS.processing) == 3, "the first is carried out")
        _, connection = consumer._line  # type: ignore[misc]
        connection.next_health_check = 0
        consumer.send((), 2, in_hand=1)
        for part in SENT[:3], SENT[3:5]:
            given = [claim.payload for claim in consumer.receive().claimed.claims]
            assert given == [sent.encode() for sent in part]


def test_a_refusal_waits_for_no_reply_to_what_was_too_large_to_be_sent_beside_it(
    proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    consumer_of(redis_client).claim(0)  # the server knows the script
    publish(redis_client, KEYS, *map(str, range(501)))
    with client_of(proxy.url, 0, socket_timeout=10) as client:
        consumer = consumer_of(client)
        done = [Settlement(claim, Outcome.DONE) for claim in consumer.claim(501).claims]
        proxy.rule = At(0, lambda _: TROUBLE["refused"], WORK)
        consumer.send((), 1, in_hand=1)
        consumer.send(done, 0, in_hand=1)
        with pytest.raises(redis.ResponseError):
            consumer.receive()
        assert all(consumer.settle(done).applied)
    assert proxy.connections == 1, "the connection was of use to the next call"


def test_what_is_given_up_is_given_again(redis_server: EmbeddedRedis, redis_client: redis.Redis) -> None:
    publish(redis_client, KEYS, *SENT[:4])
    with redis.Redis.from_url(redis_server.url) as client:
        consumer = consumer_of(client)
        for _ in range(2):
            consumer.send((), 2, in_hand=1)
        consumer.abandon()
        assert consumer.unresolved == 2
        given = [claim.payload for _ in range(2) for claim in consumer.claim(2).claims]
        assert sorted(given) == [sent.encode() for sent in SENT[:4]]
        assert consumer.unresolved == 0


def test_a_client_whose_commands_somebody_sees_gets_one_after_the_other(
    redis_server: EmbeddedRedis, redis_client: redis.Redis
) -> None:
    publish(redis_client, KEYS, *SENT)
    seen: list[str] = []

    class Traced(redis.Redis):
        def execute_command(self, *args: object, **options: object) -> object:
            seen.append(str(args[0]))
            return super().execute_command(*args, **options)

    with Traced.from_url(redis_server.url) as client:
        consumer = consumer_of(client)
        assert not consumer.may_overlap
        handled, _ = handle_all(consumer)
    assert {*seen} <= {"EVALSHA", "EVAL"}
    check(redis_client, handled)


def test_what_one_lost_claim_was_given_is_told_though_asking_for_the_next_fails(
    proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    with client_of(proxy.url, 0) as client:
        consumer = consumer_of(client)
        consumer.claim(0)  # the server knows the script
        publish(redis_client, KEYS, *SENT[:6])
        for _ in range(2):
            consumer.send((), 3, in_hand=1)
        eventually(lambda: redis_client.llen(KEYS.processing) == 6, "both are carried out")
        consumer.abandon()
        proxy.rule = At(1, lambda _: Fault.CUT_AFTER, WORK)
        recovered = consumer.recover()
        assert len(recovered) == 3
        assert consumer.unresolved == 1
        recovered += consumer.recover()
    assert sorted(claim.payload for claim in recovered) == [sent.encode() for sent in SENT[:6]]


def test_what_was_claimed_with_nothing_in_hand_is_repeated_before_another_claim(
    proxy: FaultProxy, redis_client: redis.Redis
) -> None:
    with client_of(proxy.url, 0) as client:
        consumer = consumer_of(client)
        consumer.claim(0)  # the server knows the script
        publish(redis_client, KEYS, "deadly")
        lost = consumer_of(redis_client).claim(1).claims[0]
        publish(redis_client, KEYS, *SENT[:2])
        proxy.rule = At(0, lambda _: TROUBLE["for now"], WORK)
        for _ in range(2):  # the first does nothing, the second brings what was sent
            consumer.send((), 2, in_hand=1)
        with pytest.raises(redis.ResponseError):
            consumer.receive()
        redis_client.zadd(KEYS.lease_deadlines, {lost.stored: 1}, xx=True)
        proxy.rule = At(0, lambda _: Fault.CUT_AFTER, WORK)  # the repeat of the first brings what came back
        with pytest.raises(redis.ConnectionError):
            consumer.settle((), 2, in_hand=0)
        alone = consumer.settle((), 2, in_hand=0).claimed.claims
        assert [(claim.payload, claim.kept) for claim in alone] == [(b"deadly", False)]
        assert [claim.payload for claim in consumer.recover()] == [sent.encode() for sent in SENT[:2]]
