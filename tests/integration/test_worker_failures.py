"""What happens to messages when processes, Redis or settings fail."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue.stats import retire, unretire
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from pathlib import Path


def test_after_sigkill_only_the_unfinished_message_is_handled_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, "gated", visibility_timeout_seconds=1) as first:
        first.open_gate("a")
        first.until_noted("started", 2)
        eventually(lambda: counters(redis_client).in_flight == 1, "a is settled")
        first.signal(signal.SIGKILL)
        first.wait()
    settings = {"visibility_timeout_seconds": 1, "worker_id": "worker-2"}
    with WorkerProcess(tmp_path, redis_url, "gated", **settings) as second:
        second.open_gate()
        assert second.until_noted("finished", 2) == ["a", "b"]
    assert second.noted("started") == ["a", "b", "b"]


def test_the_lease_is_kept_for_as_long_as_the_handler_runs(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    lease = {"visibility_timeout_seconds": 4, "heartbeat_seconds": 0.5}
    with (
        WorkerProcess(tmp_path, redis_url, "gated", **lease) as first,
        WorkerProcess(tmp_path, redis_url, "gated", **lease, worker_id="worker-2") as second,
    ):
        first.until_noted("started", 1)

        def lease_end() -> float:
            return max(end for _, end in redis_client.zrange(KEYS.lease_deadlines, 0, -1, withscores=True))

        first_end = lease_end()
        eventually(lambda: lease_end() > first_end + 5000, "renewed for longer than a lease lasts")
        assert counters(redis_client).expired == 0
        first.open_gate()
        eventually(lambda: counters(redis_client).processing == 0, "settled")
        assert first.noted("started") == ["a"]
        assert second.running


def test_redis_away_and_back(tmp_path: Path) -> None:
    arguments = ("--appendonly", "yes", "--appendfsync", "always")
    with EmbeddedRedis(arguments=arguments) as server, redis.Redis.from_url(server.url) as client:
        publish(client, "a", "b")
        with WorkerProcess(tmp_path, server.url, "gated", visibility_timeout_seconds=30) as worker:
            worker.until_noted("started", 1)
            server.stop()
            worker.open_gate()  # it ends while nobody can be told
            worker.logged("Redis does not answer, trying again")
            server.start()
            assert worker.until_noted("finished", 2) == ["a", "b"]
            eventually(lambda: counters(client).processing == 0, "both settled")
            worker.logged("Redis answers again")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert worker.noted("started") == ["a", "b"]


def test_a_worker_starts_without_redis_and_works_when_it_comes(tmp_path: Path) -> None:
    with EmbeddedRedis() as server:
        server.stop()
        with WorkerProcess(tmp_path, server.url, "gated") as worker:
            worker.open_gate()
            # Tries become rare, and none is taken for an answer, although this worker has nothing to renew.
            assert worker.logged("Redis does not answer, trying again", count=4)["failures"] == 8
            assert "Redis answers again" not in worker.messages()
            server.start()
            with redis.Redis.from_url(server.url) as client:
                publish(client, "a")
                assert worker.until_noted("finished", 1) == ["a"]
            worker.logged("Redis answers again")


def test_a_drain_ends_while_redis_is_away(tmp_path: Path) -> None:
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        publish(client, "a")
        with WorkerProcess(tmp_path, server.url, "gated", drain_timeout_seconds=0.5) as worker:
            worker.until_noted("started", 1)
            server.stop(kill=True)
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 4


def test_a_retired_worker_claims_nothing(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated") as worker:
        worker.open_gate()
        eventually(lambda: counters(redis_client).workers, "registered")
        assert retire(redis_client, KEYS, ["worker-1"], ttl_seconds=30) == ("worker-1",)
        publish(redis_client, "a")
        worker.logged("retired by the operator: not claiming")
        assert counters(redis_client).pending == 1
        unretire(redis_client, KEYS, ["worker-1"])
        assert worker.until_noted("finished", 1) == ["a"]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_probes_and_metrics(tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str) -> None:
    base = f"http://127.0.0.1:{(port := free_port())}"
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, handler, http_port=port) as worker:
        worker.open_gate("a")
        worker.until_noted("started", 2)
        assert get(f"{base}/livez") == (200, "ok\n")
        assert get(f"{base}/readyz") == (200, "ok\n")
        worker.signal(signal.SIGTERM)
        worker.logged("drain started by SIGTERM")
        assert get(f"{base}/readyz")[0] == 503
        assert get(f"{base}/livez")[0] == 200
        done = 'redisqueue_worker_messages_total{outcome="done"} 1.0'
        eventually(lambda: done in get(f"{base}/metrics")[1].splitlines(), "the first is settled and counted")
        metrics = get(f"{base}/metrics")[1]
        assert float(metrics.partition("\nredisqueue_worker_drain_seconds ")[2].partition("\n")[0]) > 0
        worker.open_gate()
        assert worker.wait() == 0
    for line in (
        "redisqueue_worker_handler_seconds_count 1.0",
        "redisqueue_worker_in_flight 1.0",
        "redisqueue_worker_slots 1.0",
        "redisqueue_worker_draining 1.0",
    ):
        assert line in metrics.splitlines()


def test_check_says_what_is_wrong(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, redis_url, "gated")
    fine = worker.command("check")
    said, _ = fine.communicate(timeout=PATIENCE_SECONDS)
    assert (fine.returncode, said.count(" ok: ")) == (0, 3), said
    worker.settings["redis_url"] = "redis://:secret@127.0.0.1:1"
    away = worker.command("check")
    said, _ = away.communicate(timeout=PATIENCE_SECONDS)
    assert away.returncode == 1, said
    assert "Redis at redis://" in said
    assert "secret" not in said
    worker.settings |= {"redis_url": redis_url, "handler": "test_handlers:absent"}
    wrong = worker.command("check")
    said, _ = wrong.communicate(timeout=PATIENCE_SECONDS)
    assert wrong.returncode == 2, said
    assert "has no 'absent'; it offers" in said
