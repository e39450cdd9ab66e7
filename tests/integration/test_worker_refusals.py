"""Redis takes some results of a worker and refuses others, for good or for a while; real processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.fault_proxy import Answer, Fault, FaultProxy, Request, encoded
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import RedisMessageQueue
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.consumer import Claim, Consumer
from redis_message_queue.leases import LeaseKeeper
from redis_message_queue.operations import script
from redisqueue_worker.embedded_redis import free_port

from .test_worker_failures import get

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from redisqueue_worker.embedded_redis import EmbeddedRedis

REFUSED = "Redis refuses a result, trying it again alone"
LIMIT = 300_000


def claims(request: Request) -> bool:
    """Whether this is a call that asks for messages: the first of its numbers says how many."""
    if request[0] not in (b"EVALSHA", b"EVAL") or script("consume").sha.encode() not in request[:2]:
        return False
    return not request[3 + int(request[2])].startswith(b"0 ")


def value(page: str, metric: str) -> float:
    return float(page.partition(f"\nredisqueue_worker_{metric} ")[2].partition("\n")[0])


@pytest.mark.parametrize(
    "settings", [{"concurrency": 1}, {"concurrency": 16}, {"concurrency": 3, "slots": "processes"}], ids=str
)
def test_one_result_that_is_refused_for_good_holds_up_no_other(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, settings: dict[str, object]
) -> None:
    good = [f"good {number}" for number in range(20)]
    redis_client.set(KEYS.dead_letter, "somebody else's")
    publish(redis_client, *good[:7], "dead", *good[7:12], "dead", *good[12:])
    base = f"http://127.0.0.1:{(port := free_port())}"
    settings = {**settings, "http_port": port, "visibility_timeout_seconds": 5}
    with WorkerProcess(tmp_path, redis_url, "outcome", **settings) as worker:
        worker.until_noted("finished", 20)
        line = worker.logged(REFUSED)
        assert (line["command"], line["outcome"]) == ("settle (EVALSHA consume)", "dead")
        assert "WRONGTYPE jobs::dlq" in line["error"]
        eventually(lambda: redis_client.llen(KEYS.processing) == 2, "all others are settled")
        assert get(f"{base}/livez") == (200, "ok\n")
        eventually(lambda: value(get(f"{base}/metrics")[1], "results_refused") == 2, "both are refused")
        page = get(f"{base}/metrics")[1]
        assert value(page, "results_waiting_seconds") > 0
        assert "Redis does not answer, trying again" not in worker.messages()
        eventually(
            lambda: value(get(f"{base}/metrics")[1], "results_waiting_seconds") > 6, "longer than a lease"
        )
        redis_client.delete(KEYS.dead_letter)
        eventually(lambda: redis_client.llen(KEYS.dead_letter) == 2, "taken when it can be")
        eventually(lambda: value(get(f"{base}/metrics")[1], "results_refused") == 0, "nothing is left")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert len(worker.noted("started")) == 22, "its lease was kept, so nothing was handled twice"
    assert redis_client.llen(KEYS.processing) == 0


def test_a_drain_does_not_wait_for_what_is_refused(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.dead_letter, "somebody else's")
    publish(redis_client, "dead", "good")
    with WorkerProcess(tmp_path, redis_url, "outcome", drain_timeout_seconds=600) as worker:
        worker.logged(REFUSED)
        worker.until_noted("finished", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
        worker.logged("results left behind: these messages come again when their leases end")
    assert redis_client.llen(KEYS.processing) == 1


def test_last_words_are_told_without_those_that_are_refused(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.dead_letter, "somebody else's")
    publish(redis_client, "dead", "a", "b")
    settings = {"concurrency": 3, "drain_timeout_seconds": 60}
    with WorkerProcess(tmp_path, redis_url, "gated_or_dead", **settings) as worker:
        worker.until_noted("started", 2)
        worker.logged(REFUSED)
        worker.signal(signal.SIGTERM)
        worker.logged("drain started by SIGTERM")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
    assert redis_client.llen(KEYS.pending) == 2, "what ran is released"
    assert redis_client.llen(KEYS.processing) == 1


def test_requests_that_a_proxy_finds_too_large(
    tmp_path: Path, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    """Together they are too large for it, and so is one of them: without envelopes they go back whole."""
    sizes: list[int] = []

    def limited(request: Request) -> Answer | None:
        if len(encoded(request)) <= LIMIT:
            return None
        sizes.append(len(encoded(request)))
        return Answer(b"-ERR max request size exceeded\r\n")

    for number in range(8):
        redis_client.lpush(KEYS.pending, f"{number} " + "x" * (LIMIT if number == 3 else 90_000))
    with FaultProxy(redis_server.port, limited) as proxy:
        settings = {"concurrency": 8, "visibility_timeout_seconds": 20}
        with WorkerProcess(tmp_path, proxy.url, "size", **settings) as worker:
            worker.until_noted("finished", 8)
            eventually(lambda: redis_client.llen(KEYS.processing) == 1, "only the large one is not settled")
            assert worker.logged(REFUSED)["command"] == "settle (EVALSHA consume)"
            publish(redis_client, "small")
            worker.until_noted("finished", 9)
            proxy.rule = lambda _: None
            eventually(lambda: redis_client.llen(KEYS.processing) == 0, "settled when it can be")
    assert max(sizes) < 2 * LIMIT + 524_288
    assert "Redis does not answer, trying again" not in worker.messages()


def test_results_that_wait_for_a_claim_that_is_refused(
    tmp_path: Path, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    def no_claims(request: Request) -> Answer | None:
        return Answer(b"-ERR a claim could not be stored\r\n") if claims(request) else None

    publish(redis_client, "a", "b", "c")
    with (
        FaultProxy(redis_server.port) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated", concurrency=2) as worker,
    ):
        worker.until_noted("started", 2)
        proxy.rule = no_claims
        worker.open_gate()
        eventually(lambda: redis_client.llen(KEYS.processing) == 0, "both are settled")
        assert worker.logged("Redis refuses, trying again")["command"] == "claim (EVALSHA consume)"
        proxy.rule = lambda _: None
        worker.until_noted("finished", 3)
        assert "lease lost: this outcome does not count" not in worker.messages()


def test_a_report_that_is_refused_keeps_no_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.versions, "somebody else's", ex=3600)
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, "outcome") as worker:
        worker.until_noted("finished", 2)
        assert worker.logged("Redis refuses, going on without")["command"] == "report (EVALSHA report)"
        eventually(lambda: redis_client.llen(KEYS.processing) == 0, "settled")


def test_one_lease_that_cannot_be_renewed_costs_no_other(
    redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    def limited(request: Request) -> Answer | None:
        return Answer(b"-ERR max request size exceeded\r\n") if len(encoded(request)) > LIMIT else None

    queue, consumer = RedisMessageQueue("jobs", client=redis_client), Consumer(redis_client, "jobs")
    queue.publish_many([f"{number} " + "x" * (LIMIT if number == 3 else 10) for number in range(8)])
    claims = consumer.claim(8).claims
    failed: list[Exception] = []
    lost: list[Claim] = []
    with FaultProxy(redis_server.port, limited) as proxy:
        keeper = LeaseKeeper(ConnectionSettings(url=proxy.url).connect)
        leases = keeper.queue(
            "jobs",
            visibility_timeout_seconds=4,
            interval_seconds=0.5,
            on_lost=lambda claim, _: lost.append(claim),
            on_failed=lambda error, _: failed.append(error),
        )
        consumer.renew(claims)
        leases.add(*claims)
        eventually(lambda: lost, "the large one is not renewed")
        assert lost == [claims[3]]
        assert all("max request size" in str(error) for error in failed)
        assert min(leases.remaining_seconds(claim) for claim in claims if claim != claims[3]) > 0
        keeper.close()


def test_a_worker_that_leaves_settles_what_it_can_before_a_claim_that_is_refused(
    tmp_path: Path, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    """The reply to a claim was lost; what it was given cannot be asked for, because claims are refused."""

    def claims_are_lost(request: Request) -> Fault | Answer | None:
        if not claims(request):
            return None
        return Answer(b"-NOPERM no rights to claim\r\n") if proxy.faults else Fault.CUT_AFTER

    publish(redis_client, "a", "b")
    settings = {"concurrency": 2, "drain_timeout_seconds": 60}
    with (
        FaultProxy(redis_server.port) as proxy,
        WorkerProcess(tmp_path, proxy.url, "gated", **settings) as worker,
    ):
        worker.until_noted("started", 2)
        proxy.rule = claims_are_lost
        publish(redis_client, "c")
        worker.open_gate("a")
        worker.logged("Redis does not answer, trying again")
        worker.signal(signal.SIGTERM)
        worker.logged("drain started by SIGTERM")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
        assert (
            worker.logged("Redis refuses: leases are left to expire")["command"] == "claim (EVALSHA consume)"
        )
    after = counters(redis_client)
    assert (after.pending, after.in_flight) == (1, 1), "a is done, b is released, c's lease is left"


def test_a_burst_ends_although_a_result_is_refused(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.dead_letter, "somebody else's")
    publish(redis_client, "dead", "good")
    with WorkerProcess(tmp_path, redis_url, "outcome", burst=True) as worker:
        assert worker.wait() == 4
    assert worker.noted("finished") == ["good 1"]
    assert redis_client.llen(KEYS.processing) == 1


def test_a_worker_is_replaced_although_a_result_is_refused(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set(KEYS.dead_letter, "somebody else's")
    publish(redis_client, "dead", "a", "b")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_messages=2) as worker:
        worker.logged("starting afresh")
        worker.logged("started", count=2)
        publish(redis_client, "c")
        worker.until_noted("finished", 3)
