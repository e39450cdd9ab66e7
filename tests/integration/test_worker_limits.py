"""Workers keep to the limits of their queue together, and wait without asking again and again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tests.support.waiting import quiet
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, counters, eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from pathlib import Path

    import redis

RATE, BURST = 20, 3


def workers(stack: ExitStack, folder: Path, url: str, handler: str, **settings: Any) -> list[WorkerProcess]:
    return [
        stack.enter_context(
            WorkerProcess(folder, url, handler, worker_id=f"worker-{number}", concurrency=4, **settings)
        )
        for number in range(2)
    ]


def server_seconds(client: redis.Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def asked(client: redis.Redis) -> int:
    """How often a claim has looked at the rate of the queue."""
    return int(client.info("commandstats")["cmdstat_zscore"]["calls"])


def test_two_workers_begin_no_more_than_the_rate_lets_through(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    queue.enqueue_many([f"job {number}" for number in range(60)])
    began = server_seconds(redis_client)
    with ExitStack() as stack:
        workers(stack, tmp_path, redis_url, "brief", rate_per_second=RATE, rate_burst=BURST)

        def claimed() -> bool:
            claims = (
                counters(redis_client).claims_total or 0
            )  # read before the clock: so the bound is certain
            assert claims <= BURST + RATE * (server_seconds(redis_client) - began) + 1
            return claims >= 60

        eventually(claimed, "all are claimed, in three seconds or more")
        assert server_seconds(redis_client) - began >= (60 - BURST - 1) / RATE
        eventually(lambda: counters(redis_client).in_flight == 0, "all are handled")


def test_workers_that_wait_for_a_limit_ask_seldom(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    queue.enqueue_many(["job"] * 10)
    queue.enqueue_many(["job"] * 10, limit_key="a")
    with ExitStack() as stack:
        workers(stack, tmp_path, redis_url, "brief", rate_per_second=0.001, key_rate_per_second=0.001)
        eventually(lambda: counters(redis_client).claims_total == 1, "one may begin")
        before = asked(redis_client)
        began = server_seconds(redis_client)
        quiet(lambda: counters(redis_client).claims_total == 1, "no other does", 3)
        assert asked(redis_client) - before <= 2 * (server_seconds(redis_client) - began)


def test_no_more_of_a_key_are_in_flight_than_may_be(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    queue.enqueue_many([f"held a{number}" for number in range(6)], limit_key="a")
    queue.enqueue_many([f"held b{number}" for number in range(2)], limit_key="b")
    with ExitStack() as stack:
        one, other = workers(stack, tmp_path, redis_url, "brief", max_in_flight=3, key_max_in_flight=2)
        eventually(lambda: counters(redis_client).in_flight == 3, "as many as may be")
        quiet(lambda: counters(redis_client).in_flight == 3, "and no more", 1.5)
        keys = [member.split(b"\0")[0] for member in redis_client.zrange(KEYS.lanes.held, 0, -1)]
        assert sorted(keys) in ([b"a", b"a", b"b"], [b"a", b"b", b"b"])
        one.open_gate()
        other.open_gate()
        eventually(lambda: not redis_client.exists(KEYS.lanes.waiting, KEYS.processing), "all are handled")
    assert sorted(one.noted("tally")) == sorted([f"held a{n}" for n in range(6)] + ["held b0", "held b1"])
    assert not redis_client.exists(KEYS.lanes.held, KEYS.lanes.turns)
