"""What a handler's module may ask of the worker: types, hooks, publishing, stamps."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import RedisMessageQueue
from redisqueue_worker import stamp
from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import redis

MODULE = """
import asyncio, threading
from dataclasses import dataclass
from redisqueue_worker import Context, DeadLetter, handler, on_shutdown, on_startup
from test_handlers import note

@dataclass
class Resize:
    width: int

@handler("resize")
def resize(job: Resize):
    note("finished", f"resize {job.width}")

@handler("mail")
def mail(job: dict, context: Context):
    note("finished", f"mail {job['to']}")

def split(job: dict, context: Context):
    note("finished", f"{context.queue} {job['parts']} {context.enqueued_at is not None}")
    for part in range(job["parts"]):
        context.publish({"parts": 0, "part": part})

async def split_async(job: dict, context: Context):
    note("finished", f"{context.queue} {job['parts']} {context.enqueued_at is not None}")
    for part in range(job["parts"]):
        await context.publish_async({"parts": 0, "part": part})
"""
HOOKS = """
import asyncio
from redisqueue_worker import on_shutdown, on_startup
from test_handlers import note

@on_startup
def open_files():
    note("hooks", "open files")

@on_startup
async def open_session():
    global loop
    loop = asyncio.get_running_loop()
    note("hooks", "open session")

@on_shutdown
async def close_session():
    assert loop is asyncio.get_running_loop()
    note("hooks", "close session")

@on_shutdown
def close_files():
    note("hooks", "close files")

def handle(payload: str):
    note("hooks", payload)

async def handle_async(payload: str):
    note("hooks", f"{payload} in the same loop: {asyncio.get_running_loop() is loop}")
"""


def a_worker(folder: Path, redis_url: str, code: str, reference: str, **settings: object) -> WorkerProcess:
    worker = WorkerProcess(folder, redis_url, "gated", **settings)
    (folder / "mine.py").write_text(code)
    worker.settings["handler"] = reference
    return worker


def ended(worker: WorkerProcess) -> int:
    """The exit code of a worker that leaves by itself."""
    worker.start()
    try:
        return worker.wait()
    finally:
        worker.__exit__()


def test_the_type_chooses_the_handler(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(
        redis_client,
        '{"type": "resize", "width": 7}',
        '{"type": "mail", "to": "a"}',
        '{"type": "resize", "width": "7"}',
        '{"type": "print"}',
        "[]",
    )
    with a_worker(tmp_path, redis_url, MODULE, "mine") as worker:
        assert worker.until_noted("finished", 2) == ["resize 7", "mail a"]
        eventually(lambda: counters(redis_client).dead_letter == 3, "three dead letters")
        assert worker.running
    records = [json.loads(record) for record in redis_client.lrange(KEYS.dead_letter_info, 0, -1)]
    assert sorted(record["reason"] for record in records) == [
        "invalid payload: field width is a JSON str where int belongs",
        "invalid payload: not a JSON object with a text in its field 'type'",
        "unknown type 'print'; there are resize, mail (attempt 3 of 3)",
    ]


@pytest.mark.parametrize("function", ["split", "split_async"])
def test_a_handler_publishes_and_knows_what_its_producer_told(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, function: str
) -> None:
    port = free_port()
    RedisMessageQueue("jobs", client=redis_client).publish(stamp({"parts": 2}))
    with a_worker(tmp_path, redis_url, MODULE, f"mine:{function}", http_port=port) as worker:
        assert worker.until_noted("finished", 3) == ["jobs 2 True", "jobs 0 False", "jobs 0 False"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
            metrics = answer.read().decode().splitlines()
    assert "redisqueue_worker_queue_wait_seconds_count 1.0" in metrics


@pytest.mark.parametrize(
    ("function", "noted"), [("handle", "a"), ("handle_async", "a in the same loop: True")]
)
def test_hooks_run_once_before_the_first_message_and_after_the_last(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, function: str, noted: str
) -> None:
    publish(redis_client, "a")
    with a_worker(tmp_path, redis_url, HOOKS, f"mine:{function}") as worker:
        assert worker.until_noted("hooks", 3) == ["open files", "open session", noted]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.noted("hooks")[3:] == ["close files", "close session"]


def test_a_failing_start_up_hook_is_told_and_nothing_is_claimed(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    code = HOOKS + "\n@on_startup\ndef connect():\n    raise OSError('no route to the database')\n"
    worker = a_worker(tmp_path, redis_url, code, "mine:handle")
    assert ended(worker) == 3
    last = worker.log_file.read_text().splitlines()[-1]
    assert last == "redisqueue-worker: the start-up hook connect failed: OSError: no route to the database"
    assert (counters(redis_client).pending, worker.noted("hooks")) == (1, ["open files", "open session"])


@pytest.mark.parametrize("place", ["", "@on_startup\ndef slow():\n    "])
def test_a_worker_that_is_stopped_while_it_starts_leaves_with_0(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, place: str
) -> None:
    publish(redis_client, "a")
    # In many short waits: a signal just before a long one is heard at its end, Python looks for none between.
    code = f"{HOOKS}\nimport time\n{place}note('starting', ''); [time.sleep(0.05) for _ in range(6000)]\n"
    worker = a_worker(tmp_path, redis_url, code, "mine:handle").start()
    try:
        worker.until_noted("starting", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.__exit__()
    assert counters(redis_client).pending == 1


def test_a_shut_down_hook_that_hangs_does_not_keep_the_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    code = HOOKS + "\nimport time\n@on_shutdown\ndef hang():\n    time.sleep(60)\n"
    with a_worker(tmp_path, redis_url, code, "mine:handle") as worker:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert "shut-down hooks run for longer than 5 s: leaving without them" in worker.messages()
    assert counters(redis_client).workers == ()


def test_changed_code_is_loaded_again_and_wrong_code_waits_for_the_next_change(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    code = "import test_handlers as t\ndef handle(payload): t.note('finished', f'{payload} by {VERSION}')\n"
    with a_worker(tmp_path, redis_url, f"VERSION = 1\n{code}", "mine:handle", reload=True) as worker:
        publish(redis_client, "a")
        worker.until_noted("finished", 1)
        (tmp_path / "mine.py").write_text("VERSION =\n")
        eventually(lambda: "SyntaxError" in worker.log_file.read_text(), "told what is wrong")
        assert worker.running
        publish(redis_client, "b")
        (tmp_path / "mine.py").write_text(f"VERSION = 2\n{code}")
        assert worker.until_noted("finished", 2) == ["a by 1", "b by 2"]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
