"""A worker that only fails stops eating the queue; real processes."""

from __future__ import annotations

import signal
import urllib.request
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import redis

OPENED = "failures in a row: claiming nothing for a while, then one message"
CLOSED = "a message was handled: claiming as before"


def test_a_worker_that_only_fails_stops_claiming(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"m{number}" for number in range(3)))
    settings = {"circuit_breaker_failures": 3, "http_port": (port := free_port())}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:

        def metric(name: str) -> float:
            url = f"http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                text = answer.read().decode()
            return float(text.partition(f"\nredisqueue_worker_{name} ")[2].partition("\n")[0])

        def tripped() -> bool:
            return any(worker.tripped for worker in counters(redis_client).workers)

        first, second = worker.logged(OPENED), worker.logged(OPENED, count=2)
        assert (first["failures"], second["failures"]) == (3, 4), "a run, and one try"
        assert 1 <= first["pause_seconds"] <= 1.25
        assert 2 <= second["pause_seconds"] <= 2.5
        eventually(tripped, "told in Redis")
        assert metric("circuit_open") == 1
        assert metric("circuit_openings_total") >= 2
        (tmp_path / "fixed").touch()
        worker.logged(CLOSED)
        worker.until_noted("finished", 3)
        eventually(lambda: not tripped(), "told in Redis")
        assert metric("circuit_open") == 0
        assert counters(redis_client).dead_letter == 0


def test_what_was_in_hand_goes_back_uncounted(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abcdefgh")
    settings = {"circuit_breaker_failures": 3, "concurrency": 8, "max_attempts": 2}
    with WorkerProcess(tmp_path, redis_url, "broken_at_first", **settings) as worker:
        worker.until_noted("started", 8)
        worker.open_gate()
        finished = worker.until_noted("finished", 8)
        assert sorted(line.split()[1] for line in finished) == ["1"] * 5 + ["2"] * 3
        assert len(worker.noted("started")) == 16


def test_a_last_attempt_that_goes_back_is_no_dead_letter(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abcdefgh")
    settings = {"circuit_breaker_failures": 3, "concurrency": 8, "max_attempts": 1, "keep_failed": 100}
    with WorkerProcess(tmp_path, redis_url, "broken_at_first", **settings) as worker:
        worker.until_noted("started", 8)
        worker.open_gate()
        worker.until_noted("finished", 5)
        eventually(lambda: counters(redis_client).processing == 0, "all settled")
        assert counters(redis_client).failed == 3


def test_a_message_that_always_fails_does_not_stop_the_others(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "poison", *(f"good{number}" for number in range(10)))
    settings = {"circuit_breaker_failures": 1, "max_attempts": 2}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        worker.until_noted("finished", 10)
        eventually(lambda: counters(redis_client).dead_letter == 1, "the poison is a dead letter")
        assert counters(redis_client).pending == 0


def test_what_a_handler_asks_for_is_no_failure(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *["dead", "retry"] * 4)
    (tmp_path / "fixed").touch()
    with WorkerProcess(tmp_path, redis_url, "broken", circuit_breaker_failures=1) as worker:
        eventually(lambda: counters(redis_client).dead_letter == 4, "all dead")
        worker.until_noted("finished", 4)
        assert OPENED not in worker.messages()


def test_a_payload_that_does_not_fit_is_no_failure(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "no JSON", '{"id": "seven"}', '{"id": 7}')
    with WorkerProcess(tmp_path, redis_url, "order", circuit_breaker_failures=1) as worker:
        assert worker.until_noted("finished", 1) == ["7"]
        assert OPENED not in worker.messages()


def test_zero_switches_it_off(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, *(f"m{number}" for number in range(20)))
    settings = {"circuit_breaker_failures": 0, "max_attempts": 1}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        eventually(lambda: counters(redis_client).failed == 20, "all failed")
        assert OPENED not in worker.messages()


def test_a_burst_ends_although_everything_failed(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abc")
    settings = {"circuit_breaker_failures": 2, "max_attempts": 1, "burst": True}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        assert worker.wait() == 0
        assert counters(redis_client).failed == 3


def test_it_drains_at_once_while_it_claims_nothing(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"m{number}" for number in range(10)))
    with WorkerProcess(tmp_path, redis_url, "broken", circuit_breaker_failures=1) as worker:
        worker.logged(OPENED, count=2)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_a_process_slot_that_dies_is_a_failure(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "exit", "good")
    settings = {"circuit_breaker_failures": 1, "max_attempts": 1, "slots": "processes"}
    with WorkerProcess(tmp_path, redis_url, "perish", **settings) as worker:
        worker.logged(OPENED)
        assert worker.until_noted("finished", 1) == ["good"]
        worker.logged(CLOSED)


def test_a_version_counts_its_outcomes(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, "good", "dead", "bad", "good")
    settings = {"config_hash": "v1", "max_attempts": 2}
    with WorkerProcess(tmp_path, redis_url, "broken", **settings) as worker:
        eventually(lambda: counters(redis_client).dead_letter == 2, "one on request, one after two attempts")
        worker.until_noted("finished", 2)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    (version,) = counters(redis_client).versions
    assert (version.config_hash, version.done, version.failed, version.dead_letters) == ("v1", 2, 2, 2)
    assert redis_client.ttl(KEYS.versions) > 80_000
