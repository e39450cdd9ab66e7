"""What a worker process does with messages."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def dead_letter_info(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(record) for record in client.lrange(KEYS.dead_letter_info, 0, -1)]


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_handles_each_message_once_and_leaves_nothing_behind(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    payloads = [f"m{number}" for number in range(40)]
    with WorkerProcess(tmp_path, redis_url, handler, concurrency=4) as worker:
        worker.open_gate()
        publish(redis_client, *payloads)
        assert sorted(worker.until_noted("finished", 40)) == sorted(payloads)
        eventually(lambda: counters(redis_client).in_flight == 0, "all settled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert sorted(worker.noted("started")) == sorted(payloads)
    after = counters(redis_client)
    assert (after.pending, after.processing, after.dead_letter, after.failed) == (0, 0, 0, 0)
    assert after.workers == ()


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_claims_for_free_slots_only(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    publish(redis_client, "a", "b", "c", "d", "e")
    with WorkerProcess(tmp_path, redis_url, handler, concurrency=3, pod_uid="uid-1") as worker:
        assert sorted(worker.until_noted("started", 3)) == ["a", "b", "c"]
        now = counters(redis_client)
        assert (now.pending, now.in_flight) == (2, 3)
        (state,) = now.workers
        assert (state.id, state.pod_uid, state.slots, state.busy) == ("worker-1", "uid-1", 3, 3)
        worker.open_gate("b")
        assert worker.until_noted("started", 4)[3] == "d"
        worker.open_gate()
        assert sorted(worker.until_noted("finished", 5)) == ["a", "b", "c", "d", "e"]


def test_the_handlers_outcome_decides_what_becomes_of_the_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "ok", "retry", "dead", "boom")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=2) as worker:
        eventually(lambda: counters(redis_client).dead_letter == 2, "two dead letters")
        assert sorted(worker.until_noted("finished", 2)) == ["ok 1", "retry 2"]
    assert sorted(worker.noted("started")) == ["boom 1", "boom 2", "dead 1", "ok 1", "retry 1", "retry 2"]
    dead, boom = sorted(dead_letter_info(redis_client), key=lambda record: "boom" in str(record))
    assert dead["reason"] == "nobody wants it"
    assert boom["reason"] == "RuntimeError: boom happened (attempt 2 of 2)"
    assert "in outcome" in boom["detail"]


def test_with_one_attempt_a_failure_is_final(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "boom")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=1) as worker:
        eventually(lambda: counters(redis_client).failed == 1, "one failed message")
    assert worker.noted("started") == ["boom 1"]
    assert counters(redis_client).dead_letter == 0


def test_a_payload_of_the_wrong_type_is_a_dead_letter_and_never_logged(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, '{"id": "secret-7"}', '{"id": 8}')
    with WorkerProcess(tmp_path, redis_url, "order") as worker:
        assert worker.until_noted("finished", 1) == ["8"]
        eventually(lambda: counters(redis_client).dead_letter == 1, "one dead letter")
    (record,) = dead_letter_info(redis_client)
    assert record["reason"] == "invalid payload: field id is a JSON str where int belongs"
    assert "secret-7" not in worker.log_file.read_text()


def test_an_async_handler_that_overruns_is_cancelled(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "hang_once_async", handler_timeout_seconds=2) as worker:
        assert worker.until_noted("finished", 1) == ["a"]
        assert worker.logged("not handled")["reason"].startswith("timeout: ran for")
        assert "starting afresh" not in worker.messages()


def test_a_thread_that_overruns_makes_the_process_start_afresh(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "hang_once", handler_timeout_seconds=2) as worker:
        assert worker.until_noted("finished", 1) == ["a"]
        worker.logged("started", count=2)
        assert len(worker.noted("started")) == 2
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.messages().index("handler timed out") < worker.messages().index("starting afresh")
    assert counters(redis_client).processing == 0


def test_an_async_handler_that_refuses_to_end_makes_the_process_start_afresh(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "stubborn", handler_timeout_seconds=2) as worker:
        assert worker.until_noted("finished", 1) == ["a"]
        assert worker.noted("cancelled") == ["a"]
        assert "starting afresh" in worker.messages()


def test_starts_afresh_after_max_messages(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated", max_messages=3) as worker:
        worker.open_gate()
        for count, payloads in enumerate(("abc", "defg"), start=1):
            publish(redis_client, *payloads)
            worker.logged("starting afresh", count=count)
        worker.logged("started", count=3)
    assert worker.noted("finished") == worker.noted("started") == list("abcdefg")
