"""How a worker process stops."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import envelope

if TYPE_CHECKING:
    from pathlib import Path

    import redis


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_sigterm_lets_the_handler_finish_and_claims_no_more(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, handler) as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGTERM)
        line = worker.logged("drain started by SIGTERM")
        assert (line["reason"], line["in_flight"]) == ("SIGTERM", 1)
        eventually(
            lambda: [one.draining for one in counters(redis_client).workers] == [True], "it is reported"
        )
        worker.open_gate()
        assert worker.wait() == 0
    assert worker.noted("finished") == ["a"]
    steps = ("SIGTERM received", "drain started by SIGTERM", "drained")
    assert [message for message in worker.messages() if message in steps] == list(steps)
    after = counters(redis_client)
    assert (after.pending, after.processing, after.workers) == (1, 0, ())


@pytest.mark.parametrize("handler", ["gated", "gated_async"])
def test_an_idle_worker_stops_at_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    with WorkerProcess(tmp_path, redis_url, handler, drain_timeout_seconds=600) as worker:
        eventually(lambda: counters(redis_client).workers, "registered")
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0


def test_at_the_deadline_the_message_returns_to_the_front_uncounted(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, "gated", drain_timeout_seconds=0.5) as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
        assert worker.logged("giving up what still runs")["in_flight"] == 1
    front = redis_client.lindex(KEYS.pending, -1)
    assert envelope.decode(front).payload == b"a"
    after = counters(redis_client)
    assert (after.pending, after.processing, after.in_flight) == (2, 0, 0)
    assert redis_client.hlen(KEYS.delivery_counts) == 0


def test_the_lease_is_left_if_that_is_wished(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    settings = {"drain_timeout_seconds": 0.3, "on_drain_timeout": "LeaveLease"}
    with WorkerProcess(tmp_path, redis_url, "gated", **settings) as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
    after = counters(redis_client)
    assert (after.pending, after.processing, after.in_flight) == (0, 1, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_releases_and_leaves_at_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, number: signal.Signals
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "gated_async", drain_timeout_seconds=600) as worker:
        worker.until_noted("started", 1)
        worker.signal(number)
        worker.logged(f"drain started by {number.name}")
        worker.signal(number)
        assert worker.wait() == 4
    after = counters(redis_client)
    assert (after.pending, after.processing) == (1, 0)


def test_drain_by_command_waits_stays_and_can_be_taken_back(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a", "b")
    with WorkerProcess(tmp_path, redis_url, "gated") as worker:
        worker.until_noted("started", 1)
        drain = worker.command("drain")
        assert drain.stdout is not None
        assert drain.stdout.readline().startswith("draining in_flight=1 reason=command remaining_seconds=")
        worker.open_gate()
        told, _ = drain.communicate(timeout=PATIENCE_SECONDS)
        assert drain.returncode == 0
        assert told.splitlines()[-1] == "drained in_flight=0 reason=command"
        assert counters(redis_client).pending == 1
        looked, _ = worker.command("drain", "--status").communicate(timeout=PATIENCE_SECONDS)
        assert looked.startswith("drained")
        assert worker.answer("resume") == ("running\n", 0)
        assert worker.until_noted("finished", 2) == ["a", "b"]
        assert worker.running


def test_the_log_tells_the_order_of_a_pods_end(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "gated", drain_timeout_seconds=20) as worker:
        worker.until_noted("started", 1)
        drain = worker.command("drain")
        worker.logged("drain started by command")
        worker.signal(signal.SIGTERM)
        worker.logged("SIGTERM received")
        worker.open_gate()
        assert worker.wait() == 0
        told, _ = drain.communicate(timeout=PATIENCE_SECONDS)
        assert drain.returncode == 0, told
    ends = [line["message"] for line in worker.log_lines() if line["logger"] == "redisqueue_worker.worker"]
    assert ends == ["started", "drain started by command", "SIGTERM received", "drained"]
    refused = worker.command("resume")
    assert refused.communicate(timeout=PATIENCE_SECONDS)[0].startswith("error: no worker listens")
    assert refused.returncode == 1


def test_threads_that_handlers_leave_behind_do_not_hold_up_the_exit(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "leave_a_thread") as worker:
        worker.until_noted("finished", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_drain_never_fails_a_pre_stop_hook(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, redis_url, "gated")
    nobody = worker.command("drain")
    assert nobody.communicate(timeout=PATIENCE_SECONDS)[0].startswith("error: no worker listens")
    assert nobody.returncode == 0


def test_drain_by_command_gives_up_waiting_but_not_the_drain(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with WorkerProcess(tmp_path, redis_url, "gated") as worker:
        worker.until_noted("started", 1)
        drain = worker.command("drain", "--timeout", "0.3")
        assert "no end after 0.3 s" in drain.communicate(timeout=PATIENCE_SECONDS)[0]
        assert drain.returncode == 0
        assert worker.noted("finished") == []
        assert worker.running
