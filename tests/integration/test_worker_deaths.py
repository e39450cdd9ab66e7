"""Proof of death gives messages back at once; silence, however long, does not."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.waiting import eventually
from tests.support.worker_process import KEYS, WorkerProcess, counters, freeze, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def test_a_worker_that_starts_in_the_place_of_a_dead_one_gives_back_its_messages(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """With leases as long as usual."""
    names = [f"m{number}" for number in range(16)]
    publish(redis_client, *names)
    with WorkerProcess(tmp_path, redis_url, "gated", concurrency=16) as worker:
        worker.until_noted("started", 16)
        worker.signal(signal.SIGKILL)
        worker.wait()
        assert sum(holder.messages for holder in counters(redis_client).holders) == 16
        worker.open_gate()
        with worker:
            told = worker.logged("the process before this one has died: its messages are back")
            assert told["returned"] == 16
            assert sorted(worker.until_noted("finished", 16)) == sorted(names)
            eventually(lambda: not redis_client.exists(KEYS.pending, KEYS.processing), "all is settled")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    assert not redis_client.exists(KEYS.workers)
    assert len(worker.noted("finished")) == 16


def test_a_worker_that_is_stopped_keeps_its_messages(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with (
        WorkerProcess(tmp_path, redis_url, "gated", concurrency=4) as silent,
        WorkerProcess(tmp_path, redis_url, "gated", worker_id="other") as other,
    ):
        freeze(other.pid, redis_client)
        publish(redis_client, *"abcd")
        silent.until_noted("started", 4)
        freeze(silent.pid, redis_client)
        other.signal(signal.SIGCONT)
        # Nor does who starts in its run directory take it for dead.
        late = WorkerProcess(
            tmp_path, redis_url, "gated", run_dir=silent.settings["run_dir"], worker_id="late"
        )
        try:
            assert late.start().wait() == 2
        finally:
            late.__exit__()
        other.open_gate()
        publish(redis_client, "free")
        eventually(lambda: other.noted("finished") == ["free"], "the other one works")
        eventually(lambda: counters(redis_client).in_flight == 4, "only its own are not settled")
        silent.signal(signal.SIGCONT)
        finished = silent.until_noted("finished", 5)
        eventually(lambda: not redis_client.exists(KEYS.pending, KEYS.processing), "all is settled")
    assert Counter(silent.noted("started")) == Counter(finished) == Counter([*"abcd", "free"])


def test_a_worker_that_is_cut_off_keeps_its_messages(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    redis_client.execute_command("ACL", "SETUSER", "far", "reset", "on", ">secret", "~*", "&*", "+@all")
    try:
        far = redis_url.replace("redis://", "redis://far:secret@")
        with (
            WorkerProcess(tmp_path, far, "gated", concurrency=4) as silent,
            WorkerProcess(tmp_path, redis_url, "gated", worker_id="other") as other,
        ):
            freeze(other.pid, redis_client)
            publish(redis_client, *"abcd")
            silent.until_noted("started", 4)
            redis_client.execute_command("ACL", "SETUSER", "far", "off")
            redis_client.execute_command("CLIENT", "KILL", "USER", "far")
            other.signal(signal.SIGCONT)
            other.open_gate()
            publish(redis_client, "free")
            eventually(lambda: "free" in other.noted("finished"), "the other one works")
            silent.until_noted("finished", 5)
            eventually(lambda: counters(redis_client).in_flight == 4, "only its own are not settled")
            redis_client.execute_command("ACL", "SETUSER", "far", "on")
            eventually(lambda: not redis_client.exists(KEYS.pending, KEYS.processing), "all is settled")
        assert Counter(silent.noted("started")) == Counter([*"abcd", "free"])
    finally:
        redis_client.execute_command("ACL", "DELUSER", "far")


def test_what_a_worker_leaves_under_its_lease_stays_there(
    redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """Its end is no accident: whoever sees it finds nothing to give back."""
    publish(redis_client, "left")
    settings = {"on_drain_timeout": "LeaveLease", "drain_timeout_seconds": 0.1}
    with WorkerProcess(tmp_path, redis_url, "gated", **settings) as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 4
        assert counters(redis_client).holders == ()
        worker.open_gate()
        publish(redis_client, "next")
        with worker:
            worker.until_noted("finished", 1)
            assert worker.noted("started") == ["left", "next"]
            assert counters(redis_client).in_flight >= 1
