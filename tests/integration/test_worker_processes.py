"""Slots that are processes: whatever a handler does to its own one, the worker and the rest go on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, alive, counters, eventually, publish

if TYPE_CHECKING:
    import redis


def pids(notes: list[str]) -> list[int]:
    return [int(note.split()[1]) for note in notes]


def processes(tmp_path: Path, redis_url: str, handler: str, **settings: object) -> WorkerProcess:
    return WorkerProcess(tmp_path, redis_url, handler, slots="processes", **settings)


@pytest.mark.parametrize("handler", ["own_pid", "own_pid_async"])
def test_each_slot_is_a_process_of_its_own(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    with processes(tmp_path, redis_url, handler, concurrency=2) as worker:
        publish(redis_client, *(f"m{number}" for number in range(20)))
        done = worker.until_noted("finished", 20)
        assert worker.process is not None
        assert 1 <= len(set(pids(done))) <= 2
        assert worker.process.pid not in pids(done)
        assert worker.logged("started")["slots"] == "processes"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert not any(alive(pid) for pid in pids(done))
    assert counters(redis_client).processing == 0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("exit", "ProcessDied: the handler's process left with exit code 3"),
        ("kill", "ProcessDied: the handler's process was killed by SIGKILL (out of memory, perhaps)"),
        ("crash", "ProcessDied: the handler's process was killed by SIGSEGV"),
        ("hang", "timeout: ran for"),
        ("boom", "RuntimeError: boom happened"),
    ],
)
def test_a_handler_that_ends_its_process_has_failed_and_is_tried_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, payload: str, reason: str
) -> None:
    publish(redis_client, payload, "other")
    # The others have no timeout: a busy machine may be slower than any that is short.
    timeout = {"handler_timeout_seconds": 2} if payload == "hang" else {}
    with processes(tmp_path, redis_url, "perish", **timeout) as worker:
        assert sorted(worker.until_noted("finished", 2)) == sorted([payload, "other"])
        line = worker.logged("not handled")
        assert line["reason"].startswith(reason)
        said = [line for line in worker.log_lines() if line["message"] == "perish survived"]
        assert line["message_id"] in {line["message_id"] for line in said}, "the process logs with the id"
        eventually(lambda: counters(redis_client).processing == 0, "both settled")


def test_a_message_that_always_kills_its_process_becomes_a_dead_letter(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "exit")
    with processes(tmp_path, redis_url, "perish_always", max_attempts=2) as worker:
        eventually(lambda: counters(redis_client).dead_letter == 1, "dead letter")
        publish(redis_client, "fine")
        worker.until_noted("finished", 1)
    (record,) = redis_client.lrange(KEYS.dead_letter_info, 0, -1)
    told = json.loads(record)["reason"]
    assert told == "ProcessDied: the handler's process left with exit code 3 (attempt 2 of 2)"


def test_a_traceback_comes_from_the_process_of_the_handler(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "retry", "dead", "boom")
    with processes(tmp_path, redis_url, "outcome", max_attempts=1) as worker:
        eventually(lambda: counters(redis_client).failed == 1, "one failed message")
        eventually(lambda: counters(redis_client).dead_letter == 1, "one dead letter")
        assert worker.until_noted("finished", 1) == ["retry 2"]
        (line,) = [line for line in worker.log_lines() if "traceback" in line]
    assert "in outcome" in line["traceback"]
    assert line["traceback"].endswith("RuntimeError: boom happened\n")


def test_deadline_and_drain_go_through_the_pipe(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with processes(tmp_path, redis_url, "lasting", handler_timeout_seconds=2) as worker:
        worker.until_noted("started", 1)
        begun = time.monotonic()
        eventually(lambda: time.monotonic() > begun + 2.5, "longer than it has without `extend`")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.noted("finished") == ["a draining"]


def test_a_drain_that_was_taken_back_is_over_for_the_next_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with processes(tmp_path, redis_url, "lasting", concurrency=1) as worker:
        worker.until_noted("started", 1)
        told, code = worker.answer("drain")
        assert code == 0, told
        assert worker.noted("finished") == ["a draining"]
        assert worker.answer("resume") == ("running\n", 0)
        worker.open_gate("b")
        publish(redis_client, "b")
        assert worker.until_noted("finished", 2) == ["a draining", "b"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, number: signal.Signals
) -> None:
    publish(redis_client, "a")
    with processes(tmp_path, redis_url, "gated", drain_timeout_seconds=0.3, concurrency=2) as worker:
        worker.until_noted("started", 1)
        assert worker.process is not None
        parent = worker.process.pid
        children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        assert len(children) == 2
        worker.signal(number)
        assert worker.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 4}[number]
        eventually(lambda: not any(alive(pid) for pid in children), "all gone")
    after = counters(redis_client)
    assert (after.pending, after.processing) == ((0, 1) if number is signal.SIGKILL else (1, 0))


def test_a_worn_process_is_replaced_and_the_worker_stays(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abcdef")
    with processes(tmp_path, redis_url, "own_pid", max_messages=3) as worker:
        done = worker.until_noted("finished", 6)
        assert [note[0] for note in done] == list("abcdef")
        assert len(set(pids(done))) == 2
        assert worker.logged("process replaced")["reason"] == "3 messages"
        assert "starting afresh" not in worker.messages()


def test_a_process_that_eats_memory_is_replaced(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *(f"m{number}" for number in range(30)))
    with processes(tmp_path, redis_url, "leak", max_memory_mib=120) as worker:
        done = worker.until_noted("finished", 30)
        assert worker.logged("process replaced")["reason"].endswith(" MiB")
    assert len(done) == 30
    assert len(set(pids(done))) >= 2


def test_a_handler_that_cannot_be_imported_is_told_by_the_worker(tmp_path: Path, redis_url: str) -> None:
    worker = processes(tmp_path, redis_url, "absent").start()
    try:
        assert worker.wait() == 2
        assert "has no 'absent'; it offers" in worker.log_file.read_text()
    finally:
        worker.__exit__()


def test_slots_that_do_not_fit_the_handler_are_refused(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, redis_url, "gated", slots="tasks").start()
    try:
        assert worker.wait() == 2
        assert "REDISQUEUE_SLOTS (--slots): 'tasks' are for handlers with" in worker.log_file.read_text()
    finally:
        worker.__exit__()


HOOKED = """
import os
from pathlib import Path
from redisqueue_worker import on_shutdown, on_startup

def note(what):
    with open(Path(__file__).parent / what, "a") as file:
        file.write(f"{os.getpid()}\\n")

@on_startup
async def begin():
    note("begun")

@on_shutdown
def end():
    note("ended")

def handle(payload: str):
    note("handled")
"""

FAILING_HOOK = """
from redisqueue_worker import on_startup

@on_startup
def begin():
    1 / 0

def handle(payload):
    return None
"""


def test_hooks_run_in_each_process(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    (tmp_path / "hooked.py").write_text(HOOKED)
    worker = processes(tmp_path, redis_url, "", concurrency=2)
    worker.settings["handler"] = "hooked:handle"
    with worker:
        begun = worker.until_noted("begun", 2)
        publish(redis_client, "a", "b", "c")
        assert set(worker.until_noted("handled", 3)) <= set(begun)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert sorted(worker.noted("ended")) == sorted(begun)


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import os; os._exit(5)", 2, "the handler's process left with exit code 5 before it was ready"),
        ("import nowhere", 2, "cannot import 'broken': ModuleNotFoundError"),
        (FAILING_HOOK, 3, "the start-up hook begin failed: ZeroDivisionError"),
    ],
    ids=["dies", "does not import", "hook fails"],
)
def test_processes_that_cannot_start_are_told_by_the_worker(
    tmp_path: Path, redis_url: str, source: str, code: int, said: str
) -> None:
    (tmp_path / "broken.py").write_text(source)
    worker = processes(tmp_path, redis_url, "")
    worker.settings["handler"] = "broken:handle"
    try:
        assert worker.start().wait() == code
        assert said in worker.log_file.read_text()
    finally:
        worker.__exit__()


GREEDY = """
import resource
from pathlib import Path
from redisqueue_worker import on_startup

@on_startup
def bound():
    resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))

def handle(payload: str, context):
    if payload == "greedy":
        bytearray(600 << 20)
    with open(Path(__file__).parent / "finished", "a") as file:
        file.write(f"{payload}\\n")
"""


def test_a_memory_limit_of_each_slot_costs_the_greedy_handler_alone(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    worker = processes(tmp_path, redis_url, "", max_attempts=1)
    worker.settings["handler"] = "greedy:handle"
    publish(redis_client, "greedy", "modest")
    with worker:
        assert worker.until_noted("finished", 1) == ["modest"]
        assert worker.logged("not handled")["reason"].startswith("MemoryError")
        assert "process replaced" not in worker.messages()
