"""Handlers with limits of their own, in threads, tasks and processes side by side in one worker."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import (
    KEYS,
    WorkerProcess,
    alive,
    counters,
    descendants,
    eventually,
    publish,
)

if TYPE_CHECKING:
    from pathlib import Path

    import redis

MODULE = """
import asyncio, os, threading, time
from pathlib import Path
from redisqueue_worker import Backoff, handler, on_shutdown

HERE = Path(__file__).parent
SOON = Backoff(initial_seconds=0.01, max_seconds=0.02)

def note(what, text):
    with open(HERE / what, "a") as file:
        file.write(f"{text}\\n")

def begin(kind, payload):
    note("started", f"{kind} {os.getpid()} {threading.current_thread().name}")
    if payload.get("fail"):
        raise RuntimeError(kind)

def may_go():
    return (HERE / "go").exists()

@on_shutdown
def close():
    note("closed", os.getpid())

@handler("fetch", max_attempts=2, retry=SOON, slots="tasks")
async def fetch(payload: dict):
    begin("fetch", payload)
    while not may_go():
        await asyncio.sleep(0.01)
    note("finished", "fetch")

@handler("save", max_attempts=1)
def save(payload: dict):
    begin("save", payload)
    while not may_go():
        time.sleep(0.01)
    note("finished", "save")

@handler("resize", max_attempts=4, retry=SOON, slots="processes")
def resize(payload: dict):
    begin("resize", payload)
    while not may_go():
        time.sleep(0.01)
    note("finished", "resize")

@handler("stuck task", max_attempts=1, timeout_seconds=1)
async def stuck_task(payload: dict):
    await asyncio.sleep(600)

@handler("stuck thread", max_attempts=1, timeout_seconds=1)
def stuck_thread(payload: dict):
    time.sleep(600)

@handler("stuck process", max_attempts=1, timeout_seconds=1, slots="processes")
def stuck_process(payload: dict):
    time.sleep(600)
"""
NEWER = """
@handler("fax")
def fax(payload: dict, context):
    note("finished", f"fax {context.delivery_count}")
"""
KINDS = ("fetch", "save", "resize")


def worker(folder: Path, url: str, more: str = "", **settings: Any) -> WorkerProcess:
    (folder / "media.py").write_text(MODULE + more)
    found = WorkerProcess(folder, url, "", **{"concurrency": 3, **settings})
    found.settings["handler"] = "media"
    return found


def send(client: redis.Redis, *kinds: str, **fields: Any) -> None:
    publish(client, *(json.dumps({"type": kind, **fields}) for kind in kinds))


def started(running: WorkerProcess, count: int = 3) -> dict[str, tuple[int, str]]:
    """By type: the process and the thread in which a handler began."""
    lines = [line.split(" ", 2) for line in running.until_noted("started", count)]
    return {kind: (int(pid), thread) for kind, pid, thread in lines}


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_each_handler_has_its_kind_of_slot_and_their_number_is_the_concurrency(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    send(redis_client, *KINDS, "save")
    with worker(tmp_path, redis_url, slots=slots) as running:
        assert running.logged("started")["slots"] in ("threads, tasks and processes", "tasks and processes")
        found = started(running)
        assert found["fetch"] == (running.pid, "redisqueue-event-loop")
        if slots == "auto":
            assert found["save"][0] == running.pid
            assert found["save"][1].startswith("slot-")
            assert len(descendants(running.pid)) == 1, "no more processes than are needed"
        else:
            assert found["save"][0] in descendants(running.pid)
        assert found["resize"][0] in descendants(running.pid)
        assert counters(redis_client).pending == 1, "no more at once than there are slots"
        running.open_gate()
        assert sorted(running.until_noted("finished", 4)) == sorted([*KINDS, "save"])
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert str(running.pid) in running.noted("closed")
    assert str(found["resize"][0]) in running.noted("closed"), "each process runs its shut-down hooks"


def test_processes_are_as_many_as_are_needed_at_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, "resize", "resize")
    with worker(tmp_path, redis_url) as running:
        running.until_noted("started", 2)
        assert len(descendants(running.pid)) == 2
        running.open_gate()
        send(redis_client, *["resize"] * 8)
        running.until_noted("finished", 10)
        assert len({line.split()[1] for line in running.noted("started")}) <= 3
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_each_handler_has_its_own_attempts(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    with worker(tmp_path, redis_url, slots=slots, circuit_breaker_failures=0) as running:
        send(redis_client, *KINDS, fail=True)
        eventually(lambda: counters(redis_client).dead_letter == 2, "two dead letters")
        eventually(lambda: redis_client.llen(KEYS.failed) == 1, "one attempt: it is failed")
    begun = [line.split()[0] for line in running.noted("started")]
    assert {kind: begun.count(kind) for kind in KINDS} == {"fetch": 2, "save": 1, "resize": 4}
    reasons = [json.loads(one)["reason"] for one in redis_client.lrange(KEYS.dead_letter_info, 0, -1)]
    assert sorted(reasons) == [
        "RuntimeError: fetch (attempt 2 of 2)",
        "RuntimeError: resize (attempt 4 of 4)",
    ]


def test_each_handler_has_its_own_timeout(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    with worker(tmp_path, redis_url) as running:
        send(redis_client, "save", "stuck task", "stuck process")
        eventually(lambda: redis_client.llen(KEYS.failed) == 2, "both are stopped")
        assert running.messages().count("handler timed out") == 2
        running.open_gate()
        assert running.until_noted("finished", 1) == ["save"], "which has no timeout"
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")
        assert running.messages().count("started") == 1, "and the worker is the same"


def test_a_thread_that_overruns_costs_its_own_message_alone(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, "resize", "stuck thread")
    with worker(tmp_path, redis_url) as running:
        running.until_noted("started", 1)
        running.logged("handler timed out")
        running.open_gate()
        running.logged("started", 2)
        eventually(lambda: redis_client.llen(KEYS.failed) == 1, "its one attempt is over")
        send(redis_client, "resize")
        assert running.until_noted("finished", 2) == ["resize", "resize"]
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")


def test_a_handler_without_a_timeout_has_the_worker_s(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with worker(tmp_path, redis_url, handler_timeout_seconds=1) as running:
        send(redis_client, "resize")
        eventually(lambda: counters(redis_client).dead_letter == 1, "a dead letter")
        assert running.messages().count("handler timed out") == 4


def test_a_type_that_only_a_newer_worker_knows_waits_for_it(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    old, new = (tmp_path / name for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    with worker(old, redis_url, retry_initial_seconds=300) as running:
        send(redis_client, "fax")
        eventually(lambda: counters(redis_client).delayed == 1, "it is tried again later")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    (waiting,) = redis_client.zrange(KEYS.delayed, 0, -1)
    redis_client.zadd(KEYS.delayed, {waiting: 0})  # its time has come
    with worker(new, redis_url, NEWER, worker_id="worker-2") as running:
        assert running.until_noted("finished", 1) == ["fax 2"]


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_at_the_deadline_of_a_drain_all_kinds_return_to_the_front(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    send(redis_client, *KINDS)
    with worker(tmp_path, redis_url, slots=slots, drain_timeout_seconds=0.5) as running:
        pid = started(running)["resize"][0]
        running.signal(signal.SIGTERM)
        assert running.wait() == 4
        eventually(lambda: not alive(pid), "its process is gone")
    after = counters(redis_client)
    assert (after.pending, after.processing, after.dead_letter) == (3, 0, 0)


def test_a_drain_lets_all_kinds_finish(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    send(redis_client, *KINDS)
    with worker(tmp_path, redis_url) as running:
        started(running)
        running.signal(signal.SIGTERM)
        running.logged("drain started by SIGTERM")
        running.open_gate()
        assert running.wait() == 0
    assert sorted(running.noted("finished")) == sorted(KINDS)
    assert counters(redis_client).processing == 0


def test_a_killed_worker_leaves_no_process_and_loses_nothing(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, *KINDS)
    with worker(tmp_path, redis_url) as first:
        pid = started(first)["resize"][0]
        first.signal(signal.SIGKILL)
        first.wait()
        eventually(lambda: not alive(pid), "its process is gone")
    first.open_gate()
    with worker(tmp_path, redis_url) as second:  # in the run directory of the dead one
        assert sorted(second.until_noted("finished", 3)) == sorted(KINDS)
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")


def test_check_shows_what_holds_for_each_handler(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    process = worker(tmp_path, redis_url, max_attempts=6).command("check")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "handler  ok: media (threads, tasks and processes)" in output
    assert "handler  fetch: tasks, no timeout, 2 attempts, backoff 0.01 s to 0.02 s" in output
    assert "handler  save: threads, no timeout, 1 attempt, backoff 0.05 s to 300 s" in output
    assert "handler  stuck process: processes, timeout 1 s, 1 attempt" in output


WRONG = {
    "a limit": (
        '@handler("bad", max_attempts=0)\ndef bad(payload: str): ...',
        {},
        "@handler('bad'): max_attempts: 0 must be a whole number",
    ),
    "deliveries": ("", {"max_delivery_count": 3}, "@handler('resize'): max_attempts: 4 must not exceed"),
    "slots": (
        '@handler("bad", slots="tasks")\ndef bad(payload: str): ...',
        {},
        "@handler('bad'): slots: 'tasks' are for handlers with async def",
    ),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize("case", WRONG)
def test_a_limit_that_cannot_be_is_named_at_the_start(
    tmp_path: Path, redis_url: str, case: str, slots: str, command: str
) -> None:
    more, settings, problem = WRONG[case]
    more = f"\n{more}\n"
    settings = {"max_attempts": 2, **settings, "slots": slots}
    process = worker(tmp_path, redis_url, more, **settings).command(command)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2, output
    assert "REDISQUEUE_HANDLER (--handler): " in output
    assert problem in output
    assert "Traceback" not in output
