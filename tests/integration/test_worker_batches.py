"""Handlers of many messages in real workers: how batches fill, what becomes of each, what a crash costs."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, descendants, eventually, publish

from redis_message_queue import RedisMessageQueue
from redis_message_queue.results import Result

if TYPE_CHECKING:
    from pathlib import Path

    import redis

MODULE = """
import asyncio, json, os, signal, threading, time
from pathlib import Path
from redisqueue_worker import BatchContext, Backoff, DeadLetter, Retry, batch_handler, handler

HERE = Path(__file__).parent
LIMITS = json.loads((HERE / "limits.json").read_text())
SOON = Backoff(initial_seconds=0.01, max_seconds=0.02)

def note(what, text):
    with open(HERE / what, "a") as file:
        file.write(f"{text}\\n")

def gate_is_open():
    return (HERE / "go").exists()

def begin(items, context):
    note("called", json.dumps([item["n"] for item in items]))
    note("places", f"{os.getpid()} {threading.current_thread().name}")
    assert [one.id for one in context.contexts] == [f"m{item['n']}" for item in items]
    for item in items:
        if item.get("do") == "raise":
            raise ValueError("poison")
        if item.get("do") == "never":
            raise DeadLetter("nobody wants it")
        if item.get("do") == "exit" and item.get("worker"):
            os.kill(int((HERE / "pid").read_text()), 9)
        if item.get("do") == "exit":
            os._exit(7)

def end(items, context):
    outcomes = []
    for item, one in zip(items, context.contexts):
        first = one.delivery_count == 1
        outcomes.append(Retry(0.01) if item.get("do") == "retry" and first else {"n": item["n"]})
    note("finished", json.dumps([item["n"] for item in items]))
    return outcomes

def waits(items, context):
    if any(item.get("do") == "look" for item in items):
        return not context.cancelled
    return any(item.get("do") == "wait" for item in items) and not gate_is_open()

def sync(items: list[dict], context: BatchContext):
    begin(items, context)
    while waits(items, context):
        time.sleep(0.01)
    return end(items, context)

async def asynchronous(items: list[dict], context: BatchContext):
    begin(items, context)
    while waits(items, context):
        await asyncio.sleep(0.01)
    return end(items, context)

KIND = LIMITS.pop("kind")
@batch_handler(max_size=4, max_wait_seconds=2)
def texts(payloads: list[str]):
    note("called", json.dumps([int(text) for text in payloads]))

many = batch_handler("many", retry=SOON, **LIMITS, slots="processes" if KIND == "processes" else None)
many(asynchronous if KIND == "tasks" else sync)

@handler("one")
def one(payload: dict):
    note("ones", payload["n"])
"""


@pytest.fixture(params=["threads", "tasks", "processes"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def worker(folder: Path, url: str, kind: str, limits: dict[str, Any], **settings: Any) -> WorkerProcess:
    chosen = {"max_size": 5, "max_wait_seconds": 0.2, "kind": kind, **limits}
    (folder / "limits.json").write_text(json.dumps(chosen))
    (folder / "media.py").write_text(MODULE)
    found = WorkerProcess(folder, url, "", **{"concurrency": 10, "circuit_breaker_failures": 0, **settings})
    found.settings["handler"] = "media"
    return found


def send(client: redis.Redis, *numbers: int, of: str = "many", **fields: Any) -> None:
    queue = RedisMessageQueue("jobs", client=client, deduplication=False)
    for number in numbers:
        queue.enqueue({"type": of, "n": number, **fields}, message_id=f"m{number}")


def noted(running: WorkerProcess, what: str) -> list[list[int]]:
    return [json.loads(line) for line in running.noted(what)]


def settled(client: redis.Redis) -> None:
    eventually(
        lambda: not client.exists(KEYS.processing, KEYS.pending, KEYS.delayed), "every message is settled"
    )


def done(running: WorkerProcess) -> list[int]:
    """All that came to their end."""
    return sorted(number for part in noted(running, "finished") for number in part)


def test_a_full_batch_begins_at_once_and_one_that_is_not_when_its_time_is_over(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, *range(7))
    with worker(tmp_path, redis_url, kind, {"max_wait_seconds": 2}) as running:
        eventually(lambda: len(done(running)) == 7, "all are handled")
        assert sorted(noted(running, "called")) == [[0, 1, 2, 3, 4], [5, 6]], "in the order of the queue"
        settled(redis_client)
        (place, *_) = running.noted("places")
        pid, thread = place.split(" ", 1)
        if kind == "processes":
            assert int(pid) in descendants(running.pid)
        else:
            assert (int(pid), thread.startswith("slot-")) == (running.pid, kind == "threads")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_a_full_batch_waits_for_nothing(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    send(redis_client, *range(20))
    with worker(tmp_path, redis_url, "threads", {"max_wait_seconds": 3600}) as running:
        eventually(lambda: done(running) == [*range(20)], "all are handled")
        assert {len(part) for part in noted(running, "called")} == {5}


def test_a_poisoned_message_takes_no_other_down(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, 0, 1)
    send(redis_client, 2, do="raise")
    send(redis_client, 3)
    send(redis_client, 4, do="never")
    with worker(tmp_path, redis_url, kind, {"max_attempts": 2}) as running:
        eventually(lambda: redis_client.llen(KEYS.dead_letter) == 2, "two are given up")
        settled(redis_client)
        assert done(running) == [0, 1, 3]
        letters = RedisMessageQueue("jobs", client=redis_client).dead_letters()
        reasons = {letter.message_id: letter.reason for letter in letters}
        assert reasons == {"m4": "nobody wants it", "m2": "ValueError: poison (attempt 2 of 2)"}
        assert noted(running, "called")[-1] == [2], "at its last attempt it is alone"


@pytest.mark.parametrize("kind", ["processes"])
def test_one_that_ends_its_process_takes_no_other_down(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, 0, 1, 2)
    send(redis_client, 3, do="exit")
    send(redis_client, 4)
    with worker(tmp_path, redis_url, kind, {"max_attempts": 2}) as running:
        eventually(lambda: redis_client.llen(KEYS.dead_letter) == 1, "one is given up")
        settled(redis_client)
        assert done(running) == [0, 1, 2, 4]
        (letter,) = RedisMessageQueue("jobs", client=redis_client).dead_letters()
        assert letter.message_id == "m3"
        assert "exit code 7" in letter.reason


def test_one_is_retried_and_another_does_not_fit(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, 0)
    send(redis_client, 1, do="retry")
    publish(redis_client, '{"type": "many", "n": 2}x')
    send(redis_client, 3)
    limits = {"max_size": 4, "max_wait_seconds": 2}
    with worker(tmp_path, redis_url, kind, limits, results_ttl_seconds=600) as running:
        eventually(lambda: len(noted(running, "finished")) == 2, "two batches")
        settled(redis_client)
        assert noted(running, "finished") == [[0, 1, 3], [1]]
        assert redis_client.llen(KEYS.dead_letter) == 1
        queue = RedisMessageQueue("jobs", client=redis_client)
        results = [queue.result(f"m{number}") for number in (0, 1, 3)]
        assert [result and result.value for result in results] == [{"n": 0}, {"n": 1}, {"n": 3}]


def test_a_timeout_is_that_of_a_call_and_waiting_is_none_of_it(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    for kind in ("tasks", "processes"):
        folder = tmp_path / kind
        folder.mkdir()
        send(redis_client, 0, 1)
        limits = {"timeout_seconds": 1, "max_wait_seconds": 1.5, "max_attempts": 3}
        with worker(folder, redis_url, kind, limits) as running:
            eventually(
                lambda running=running: done(running) == [0, 1], "waiting for longer than that is fine"
            )
            send(redis_client, 2, do="wait")
            send(redis_client, 3)
            eventually(lambda: redis_client.llen(KEYS.dead_letter) == 1, "the slow one is given up")
            settled(redis_client)
            (letter,) = RedisMessageQueue("jobs", client=redis_client).dead_letters()
            assert letter.message_id == "m2"
            assert letter.reason.startswith("timeout: ")
            assert done(running) == [0, 1, 3], "alone at its last attempt, the other one is done"
        redis_client.flushall()


def test_a_thread_that_overruns_is_left_behind_with_its_batch(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, 0, do="wait")
    send(redis_client, 1)
    with worker(tmp_path, redis_url, "threads", {"timeout_seconds": 1, "max_attempts": 1}) as running:
        eventually(lambda: redis_client.llen(KEYS.failed) == 2, "both have failed")
        running.logged("started", 2)


def test_leases_last_while_a_batch_fills(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    send(redis_client, 0)
    with worker(
        tmp_path, redis_url, "threads", {"max_wait_seconds": 5}, visibility_timeout_seconds=2
    ) as running:
        eventually(lambda: done(running) == [0], "it is handled")
        settled(redis_client)
        assert noted(running, "called") == [[0]]
        assert "lease lost: this outcome does not count" not in running.messages()


def test_a_drain_begins_with_what_waits(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, 0, 1)
    send(redis_client, 2, of="one")
    with worker(tmp_path, redis_url, kind, {"max_wait_seconds": 3600}) as running:
        running.until_noted("ones", 1)  # so the worker knows of those before it, too
        assert noted(running, "called") == []
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert done(running) == [0, 1]
    assert not redis_client.exists(KEYS.processing, KEYS.pending)


def test_what_a_drain_cannot_wait_for_goes_back(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, 0, do="wait")
    send(redis_client, 1)
    with worker(tmp_path, redis_url, "threads", {}, drain_timeout_seconds=1) as running:
        running.until_noted("called", 1)
        running.signal(signal.SIGTERM)
        running.wait()
    assert not redis_client.exists(KEYS.processing)
    queue = RedisMessageQueue("jobs", client=redis_client)
    assert [queue.find(f"m{number}").state for number in (0, 1)] == ["pending", "pending"]


def test_a_killed_worker_loses_nothing_of_a_batch(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, 0, 1, do="wait")
    send(redis_client, 2)
    settings: dict[str, Any] = {"visibility_timeout_seconds": 2}
    with worker(tmp_path, redis_url, kind, {}, **settings) as running:
        running.until_noted("called", 1)
        send(redis_client, 3)
        running.signal(signal.SIGKILL)
        running.wait()
    running.open_gate()
    with worker(tmp_path, redis_url, kind, {}, **settings) as running:
        eventually(lambda: done(running) == [0, 1, 2, 3], "all are handled")
        settled(redis_client)


def test_one_that_ends_its_worker_takes_no_other_down(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, 0, 1)
    send(redis_client, 2, do="exit")
    send(redis_client, 3)
    settings: dict[str, Any] = {"visibility_timeout_seconds": 2, "max_delivery_count": 3, "max_attempts": 3}
    for _ in range(20):
        with worker(tmp_path, redis_url, "threads", {"max_size": 4}, **settings) as running:
            eventually(
                lambda running=running: not running.running or redis_client.llen(KEYS.dead_letter),
                "it ends, or the one is given up",
            )
            if running.running:
                eventually(lambda running=running: done(running) == [0, 1, 3], "the others are done")
                settled(redis_client)
                break
    assert RedisMessageQueue("jobs", client=redis_client).peek(source="dead_letter") == [
        json.dumps({"do": "exit", "n": 2, "type": "many"}).encode()
    ]


def test_others_go_on_beside_while_a_batch_fills(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, 0)
    send(redis_client, *range(100, 130), of="one")
    send(redis_client, 1)
    with worker(tmp_path, redis_url, "tasks", {"max_wait_seconds": 3600, "max_size": 5}) as running:
        running.until_noted("ones", 30)
        eventually(lambda: redis_client.llen(KEYS.processing) == 2, "two wait for more")
        assert noted(running, "called") == []
        send(redis_client, 2, 3, 4)
        eventually(lambda: done(running) == [0, 1, 2, 3, 4], "the batch is full")
        assert noted(running, "called") == [[0, 1, 2, 3, 4]]
        settled(redis_client)


def test_a_service_that_is_away_is_not_asked_for_each_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, *range(64), do="raise")
    with worker(
        tmp_path,
        redis_url,
        "threads",
        {"max_size": 64, "max_attempts": 1, "max_wait_seconds": 3600},
        concurrency=64,
    ) as running:
        eventually(lambda: redis_client.llen(KEYS.failed) == 64, "all have failed")
        assert len(noted(running, "called")) <= 11


def test_a_queue_of_one_kind_needs_no_type(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, *map(str, range(6)))
    running = worker(tmp_path, redis_url, "threads", {})
    running.settings["handler"] = "media:texts"
    with running:
        eventually(lambda: sorted(noted(running, "called")) == [[0, 1, 2, 3], [4, 5]], "all are handled")
        settled(redis_client)
        assert "handler  media:texts: batches of 4 within 2 s" in running.command("check").communicate()[0]


def test_a_burst_waits_for_no_more_than_there_is(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, *range(7))
    running = worker(tmp_path, redis_url, kind, {"max_wait_seconds": 3600}, burst="true").start()
    assert running.wait() == 0
    assert done(running) == [*range(7)]


def test_a_batch_larger_than_the_concurrency_ends_the_start(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    running = worker(tmp_path, redis_url, "threads", {"max_size": 50}, concurrency=4).start()
    assert running.wait() == 2
    text = running.log_file.read_text()
    assert (
        "@batch_handler('many'): max_size: 50 must not exceed REDISQUEUE_CONCURRENCY (--concurrency) = 4"
        in text
    )
    checking = worker(tmp_path, redis_url, "threads", {}).command("check")
    assert "handler  many: batches of 5 within 0.2 s, threads" in checking.communicate()[0]


@pytest.mark.parametrize("kind", ["tasks", "processes"])
def test_one_that_is_cancelled_stops_no_other(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    send(redis_client, 0, do="wait")
    send(redis_client, 1, 2)
    with worker(tmp_path, redis_url, kind, {"max_size": 3, "max_wait_seconds": 2}) as running:
        running.until_noted("called", 1)
        queue.cancel("m1")
        running.logged("cancelled: its handler is told")
        send(redis_client, 3)
        eventually(lambda: 3 in done(running), "the worker goes on")
        running.open_gate()
        eventually(lambda: {0, 2} <= {*done(running)}, "the others come to their end")
        settled(redis_client)
        assert noted(running, "called") == [[0, 1, 2], [3]], "and were not disturbed"


def test_a_batch_that_sees_that_all_are_cancelled_ends_so(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    """It is not stopped, for it is more than one: what it saw has to come to the worker."""
    queue = RedisMessageQueue("jobs", client=redis_client)
    send(redis_client, 0, 1, do="look")
    with worker(tmp_path, redis_url, kind, {"max_size": 2}, results_ttl_seconds=600) as running:
        running.until_noted("called", 1)
        for one in ("m0", "m1"):
            assert queue.cancel(one) == "requested"
        for one in ("m0", "m1"):
            ended = queue.result(one, timeout_seconds=PATIENCE_SECONDS)
            assert ended == Result("cancelled", None, "cancelled while it was handled")
        assert done(running) == [0, 1], "by itself"


def test_one_that_is_cancelled_while_it_waits_is_left_out(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    send(redis_client, 0, 1)
    send(redis_client, 2, of="one")
    with worker(tmp_path, redis_url, "threads", {"max_wait_seconds": 3600, "max_size": 3}) as running:
        running.until_noted("ones", 1)
        queue.cancel("m1")
        running.logged("cancelled: its handler is told")
        send(redis_client, 3)
        eventually(lambda: done(running) == [0, 3], "the batch is full")
        settled(redis_client)
        assert noted(running, "called") == [[0, 3]]
        assert queue.find("m1").state == "unknown"
