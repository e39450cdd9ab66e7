"""What the queue costs the server: counts and ratios, never a time of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.bench.hops import of_a_queue, walked
from tests.support.servers import chosen

from redis_message_queue import RedisGateway, RedisMessageQueue, envelope, results
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from tests.support.servers import Server

pytestmark = pytest.mark.one_node

KEYS = QueueKeys("{jobs}")


def stored(number: int) -> str:
    return envelope.encode("x" * 100, f"{number:032x}")


@pytest.fixture
def calls_in(redis_client: redis.Redis) -> Callable[[Callable[[], Any]], dict[str, int]]:
    """What an action makes the server do: command → calls, those inside of scripts included."""

    def count(action: Callable[[], Any]) -> dict[str, int]:
        action()  # loads the scripts
        redis_client.config_resetstat()
        action()
        stats = redis_client.info("commandstats")
        # Replicas acknowledge, and Sentinels ask and announce, whenever they like.
        ignored = ("config", "config|resetstat", "info", "replconf", "ping", "publish")
        calls = {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in stats.items()}
        return {name: number for name, number in calls.items() if name not in ignored}

    return count


def test_two_round_trips_from_publish_to_settlement(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    consumer = Consumer(redis_client, "{jobs}")
    numbers = iter(range(100))

    def settle_and_claim() -> None:
        queue.publish(str(next(numbers)))
        nonlocal claims
        claims = consumer.settle(
            [Settlement(claim, Outcome.DONE) for claim in claims], claim=1
        ).claimed.claims

    claims: Any = ()
    calls = calls_in(settle_and_claim)
    assert len(claims) == 1
    assert calls["evalsha"] == 2
    assert sum(calls.values()) <= 35


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 4),  # whether the record exists, the record, the message, the record of the call before
        ({"deduplication_key": True}, 5),  # its value written
        ({"at_front": True}, 6),  # two types; the record is read
        ({"delay_seconds": 60}, 7),  # the time
    ],
)
def test_an_enqueue_is_one_round_trip_of_few_commands(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]], options: dict[str, Any], most: int
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    numbers = iter(range(100))

    def enqueue() -> None:
        key = {"deduplication_key": str(next(numbers))} if "deduplication_key" in options else {}
        assert queue.enqueue("x", **{**options, **key})

    calls = calls_in(enqueue)
    assert calls.pop("evalsha") == 1
    assert sum(calls.values()) <= most


def test_counting_by_version_costs_one_command_for_each_kind_of_outcome(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    def calls_of(worker: WorkerIdentity) -> dict[str, int]:
        consumer = Consumer(redis_client, "{jobs}", worker=worker)
        held = iter([consumer.claim(16).claims for _ in range(2)])
        return calls_in(lambda: consumer.settle([Settlement(claim, Outcome.DONE) for claim in next(held)]))

    RedisMessageQueue("{jobs}", client=redis_client).publish_many([str(number) for number in range(64)])
    with_version = calls_of(WorkerIdentity("w1", 32, config_hash="v1"))
    without = calls_of(WorkerIdentity("w2", 32))
    assert with_version.pop("hincrby") == 1
    assert with_version == without


def test_sixteen_messages_cost_few_commands(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    consumer = Consumer(redis_client, "{jobs}", worker=WorkerIdentity("w1", 16, config_hash="v1"))
    RedisMessageQueue("{jobs}", client=redis_client).publish_many([str(number) for number in range(64)])
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    claims = consumer.claim(16).claims

    def settle_and_claim() -> None:
        nonlocal claims
        ends = [Settlement(claim, Outcome.DONE) for claim in claims]
        claims = consumer.settle(ends, claim=16).claimed.claims

    calls = calls_in(settle_and_claim)
    assert len(claims) == 16
    assert sum(calls.values()) <= 1.7 * 16


@pytest.mark.parametrize("many", [1, 16])
def test_results_cost_two_commands_each_and_nobody_else_anything(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]], many: int
) -> None:
    def calls_of(result: str, **options: Any) -> dict[str, int]:
        consumer = Consumer(redis_client, "{jobs}", **options)
        held = iter([consumer.claim(many).claims for _ in range(2)])
        return calls_in(
            lambda: consumer.settle([Settlement(each, Outcome.DONE, result=result) for each in next(held)])
        )

    RedisMessageQueue("{jobs}", client=redis_client).publish_many([str(number) for number in range(64)])
    without, with_them = calls_of(""), calls_of(results.completed(7), results_ttl_seconds=60)
    assert (with_them.pop("lpush"), with_them.pop("pexpire")) == (many, many)
    assert with_them == without


def test_a_wait_for_a_result_is_one_command_a_second(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    calls = calls_in(lambda: queue.result("nowhere", timeout_seconds=1.5))
    assert calls.pop("lindex") == 1  # once more when the time is over
    assert calls.pop("blmove") <= 3
    assert not calls


@pytest.mark.parametrize("decode", [False, True])
def test_a_large_message_is_not_sent_back(server: Server, redis_client: redis.Redis, decode: bool) -> None:
    with server.blocking(decode_responses=decode) as client:
        consumer = Consumer(client, "{jobs}")
        queue = RedisMessageQueue("{jobs}", client=client)
        queue.publish_many([f"{number:05}" * 2000 for number in range(64)])
        claims = consumer.claim(16).claims

        def settle_and_claim() -> int:
            nonlocal claims
            before = redis_client.info("stats")["total_net_input_bytes"]
            ends = [Settlement(claim, Outcome.DONE) for claim in claims]
            reply = consumer.settle(ends, claim=16)
            assert all(reply.applied)
            claims = reply.claimed.claims
            return int(redis_client.info("stats")["total_net_input_bytes"]) - before

        settle_and_claim()  # the connection may be new
        assert settle_and_claim() / 16 <= 1200


def test_keeping_account_of_what_a_process_holds_costs_one_command_a_call(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    def calls_of(worker: WorkerIdentity) -> tuple[dict[str, int], dict[str, int]]:
        consumer = Consumer(redis_client, "{jobs}", worker=worker)
        held = consumer.claim(16).claims

        def settle_and_claim() -> None:
            nonlocal held
            held = consumer.settle([Settlement(claim, Outcome.DONE) for claim in held], 16).claimed.claims

        busy = calls_in(settle_and_claim)
        assert len(held) == 16
        consumer.settle([Settlement(claim, Outcome.RELEASE) for claim in held])
        redis_client.rename(KEYS.pending, "{jobs} aside")
        idle = calls_in(lambda: consumer.claim(16))
        redis_client.rename("{jobs} aside", KEYS.pending)
        return busy, idle

    RedisMessageQueue("{jobs}", client=redis_client).publish_many([str(number) for number in range(128)])
    busy, idle = calls_of(WorkerIdentity("w1", 32, instance="i"))
    plain_busy, plain_idle = calls_of(WorkerIdentity("w2", 32))
    assert busy.pop("hset") == plain_busy.pop("hset") + 1
    assert busy == plain_busy
    assert idle == plain_idle


@pytest.mark.parametrize("leased", [True, False])
def test_a_message_of_the_queue_takes_three(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]], leased: bool
) -> None:
    options: dict[str, Any] = (
        {} if leased else {"visibility_timeout_seconds": None, "max_delivery_count": None}
    )
    queue = RedisMessageQueue("{jobs}", client=redis_client, **options)
    numbers = iter(range(100))

    def publish_and_process() -> None:
        queue.publish(str(next(numbers)))
        with queue.process_message() as payload:
            assert payload is not None

    calls = calls_in(publish_and_process)
    assert calls["evalsha"] == 3
    assert sum(calls.values()) <= 32
    # Records of answered calls go with the next call: they do not pile up.
    assert len([name for name in redis_client.scan_iter() if b"_result:" in name]) <= 2


def test_many_messages_are_one_round_trip(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    consumer = Consumer(redis_client, "{jobs}")
    assert calls_in(lambda: queue.publish_many([str(n) for n in range(100)]))["evalsha"] == 1
    assert calls_in(lambda: consumer.claim(16))["evalsha"] == 1


def test_a_message_in_flight_takes_900_bytes_beyond_its_payload(redis_client: redis.Redis) -> None:
    gateway = RedisGateway(
        redis_client=redis_client,
        message_visibility_timeout_seconds=300,
        message_wait_interval_seconds=0,
        max_delivery_count=10,
        dead_letter_queue=KEYS.dead_letter,
    )
    count = 2000
    redis_client.lpush(KEYS.pending, *(stored(number) for number in range(count)))
    for _ in range(count):
        gateway.wait_for_message_and_move(KEYS.pending, KEYS.processing)
    # By key: the memory of the whole server also grows by what it first needs for any script or client.
    keys = redis_client.keys(f"{KEYS.name}::*")
    taken = sum(redis_client.memory_usage(key, samples=0) for key in keys)
    assert len(keys) >= 5
    assert taken / count - 100 <= 900


def in_flight(client: redis.Redis, count: int, deadline_ms: int) -> None:
    """Leave claims as a crashed fleet leaves them, the first claimed at the tail."""
    messages = {stored(number): number for number in range(1, count + 1)}
    client.lpush(KEYS.processing, *messages)
    client.zadd(KEYS.lease_deadlines, {text: deadline_ms + number for text, number in messages.items()})
    client.hset(KEYS.lease_tokens, mapping=messages)
    client.set(KEYS.lease_token_counter, count)


def test_the_oldest_of_many_is_as_quick_to_settle_as_the_newest(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    count = 20_000
    in_flight(redis_client, count, 9_000_000_000_000)
    gateway = RedisGateway(redis_client=redis_client, message_visibility_timeout_seconds=300)

    def server_us(number: int) -> float:
        redis_client.config_resetstat()
        assert gateway.remove_message(KEYS.processing, stored(number), lease_token=str(number))
        return float(redis_client.info("commandstats")["cmdstat_lrem"]["usec"])

    newest = min(server_us(count - back) for back in range(10))
    oldest = min(server_us(1 + on) for on in range(10))
    # Searching the list from the wrong end would be hundreds of times as slow.
    assert oldest <= 20 * max(newest, 2)


def test_a_claim_that_meets_mass_expiry_takes_a_bounded_share(
    redis_client: redis.Redis, calls_in: Callable[..., dict[str, int]]
) -> None:
    in_flight(redis_client, 20_000, 1_000_000_000_000)
    calls = calls_in(lambda: Consumer(redis_client, "{jobs}").claim(1))
    assert 10 <= calls["lrem"] <= 100


def test_the_newest_of_many_letters_is_as_quick_to_redrive_as_the_oldest(redis_client: redis.Redis) -> None:
    count = 20_000
    redis_client.lpush(KEYS.dead_letter, *(str(number) for number in range(count)))
    queue = RedisMessageQueue("{jobs}", client=redis_client)

    def server_us(number: int) -> float:
        redis_client.config_resetstat()
        wanted = str(number).encode()
        assert (
            queue.redrive(match=lambda batch: [each == wanted for each in batch], max_messages=1).moved == 1
        )
        return float(redis_client.info("commandstats")["cmdstat_lrem"]["usec"])

    newest = min(server_us(count - 1 - back) for back in range(5))
    oldest = min(server_us(on) for on in range(5))
    # Searching the list from the wrong end would be hundreds of times as slow.
    assert newest <= 20 * max(oldest, 2)


def test_a_report_looks_at_some_of_many_workers(redis_client: redis.Redis) -> None:
    silent = {f"silent-{number}": '{"v":1,"at":1000}' for number in range(3000)}
    redis_client.hset(KEYS.workers, mapping=silent)
    consumer = Consumer(redis_client, "{jobs}", worker=WorkerIdentity("w1", 32))

    def report() -> int:
        redis_client.config_resetstat()
        consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
        stats = redis_client.info("commandstats")
        return int(sum(stats[name]["calls"] for name in stats if name in ("cmdstat_hget", "cmdstat_hdel")))

    calls = []
    while redis_client.hlen(KEYS.workers) > 2900:  # now and then it forgets silent ones
        calls.append(report())
    assert max(calls) <= 300


@pytest.mark.parametrize(
    ("name", "functions", "modules"), [("publish", 20, 8), ("enqueue", 31, 10), ("process_message", 42, 12)]
)
def test_a_call_walks_through_few_rooms(
    redis_client: redis.Redis, name: str, functions: int, modules: int
) -> None:
    operations = of_a_queue(redis_client, "{jobs}")
    for _ in range(5 * 4):
        operations["publish"]()
    # After a pause, such as a busy machine makes, a kept connection is given back: the way without one.
    hops = min((walked(operations[name]) for _ in range(5)), key=lambda way: len(way.calls))
    # Where Sentinel names the master, connections are of a class of ours, and looked at when they are kept.
    more = {"is_former"} if "sentinel" in chosen() else set()
    own = [c for c in hops.calls if not (c.co_filename.endswith("dial.py") or c.co_name in more)]
    assert 0 < len(own) <= functions
    assert 0 < len(hops.modules - {"dial.py"}) <= modules
