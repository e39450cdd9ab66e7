"""Functions of both kinds in one worker, chosen by the type of a message: side by side, in all slots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, eventually

from redis_message_queue import RedisMessageQueue
from redisqueue_worker import stamp

if TYPE_CHECKING:
    from pathlib import Path

    import redis

MODULE = """
import asyncio, contextvars, os, threading, time
from pathlib import Path
from pydantic import BaseModel, ConfigDict
from redisqueue_worker import handler, on_startup, on_shutdown

told = Path("told")
told.mkdir(exist_ok=True)
opened = contextvars.ContextVar("opened")

def note(name, text=""):
    (told / name).write_text(text)

def wait_for(*names):
    while not all((told / name).exists() for name in names):
        time.sleep(0.01)

class Order(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    number: int

@on_startup
async def open_it():
    opened.set("yes")

@on_shutdown
async def close_it():
    note("closed", opened.get())

@handler("order")
def order(one: Order, context):
    assert opened.get() == "yes" and context.enqueued_at is not None
    note(f"order {one.number}", threading.current_thread().name)

@handler("meet")
def meet(payload: dict):
    note(payload["me"])
    wait_for(*payload["wait_for"])

@handler("meet later")
async def meet_later(payload: dict):
    assert opened.get() == "yes"
    note(payload["me"], threading.current_thread().name)
    while not all((told / name).exists() for name in payload["wait_for"]):
        await asyncio.sleep(0.01)

@handler("hang")
async def hang(payload):
    try:
        await asyncio.sleep(600)
    finally:
        note("cancelled")

@handler("fail")
async def fail(payload: dict[str, int]):
    raise RuntimeError("no")
"""


@pytest.fixture
def queue(redis_client: redis.Redis, tmp_path: Path) -> RedisMessageQueue:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "tasks.py").write_text(MODULE)
    return RedisMessageQueue(QUEUE, client=redis_client, deduplication=False)


def worker(tmp_path: Path, url: str, **settings: Any) -> WorkerProcess:
    found = WorkerProcess(tmp_path, url, "outcome", **settings)
    found.settings["handler"] = "shop.tasks"
    return found


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_both_kinds_are_at_work_at_once_and_their_number_is_the_concurrency(
    queue: RedisMessageQueue, redis_client: redis.Redis, redis_url: str, tmp_path: Path, slots: str
) -> None:
    names = [f"{kind} {number}" for kind in ("thread", "task") for number in range(3)]
    with worker(tmp_path, redis_url, slots=slots, concurrency=6) as running:
        for name in names:
            kind = "meet" if name.startswith("thread") else "meet later"
            queue.publish({"type": kind, "me": name, "wait_for": [*names, "all may go"]})
        queue.publish(stamp({"type": "order", "number": 7}))
        eventually(lambda: all((tmp_path / "told" / name).exists() for name in names), "all six are at work")
        assert redis_client.llen(KEYS.pending) == 1, "no more at once than there are slots"
        (tmp_path / "told" / "all may go").write_text("")
        eventually((tmp_path / "told" / "order 7").exists, "the strict model took the order")
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")
        assert redis_client.llen(KEYS.dead_letter) == 0, running.log_file.read_text()
        running.process.terminate()  # type: ignore[union-attr]
        assert running.wait() == 0
    assert (tmp_path / "told" / "closed").read_text() == "yes"


def test_what_nothing_is_for_and_what_fails_is_the_message_s_affair(
    queue: RedisMessageQueue, redis_client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    with worker(tmp_path, redis_url, max_attempts=2, retry_initial_seconds=0.01):
        queue.publish({"type": "unheard of"})
        queue.publish("no object")
        queue.publish(stamp({"type": "fail", "a": 1}))
        queue.publish({"type": "order", "number": "7"})
        eventually(lambda: redis_client.llen(KEYS.dead_letter) == 4, "four dead letters")
        queue.publish(stamp({"type": "order", "number": 8}))
        eventually((tmp_path / "told" / "order 8").exists, "the worker goes on")
    found = [json.loads(one)["reason"] for one in redis_client.lrange(KEYS.dead_letter_info, 0, -1)]
    reasons = sorted(reason.partition(";")[0][:40] for reason in found)
    assert reasons[0].startswith("RuntimeError: no")
    assert all(reason.startswith("invalid payload: ") for reason in reasons[1:3])
    assert reasons[3] == "unknown type 'unheard of'"


def test_an_async_function_is_stopped_at_its_deadline_beside_sync_ones(
    queue: RedisMessageQueue, redis_client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    with worker(tmp_path, redis_url, handler_timeout_seconds=3, max_attempts=1, concurrency=2):
        queue.publish({"type": "hang"})
        queue.publish(stamp({"type": "order", "number": 9}))
        eventually((tmp_path / "told" / "order 9").exists, "the other one is handled")
        eventually(lambda: redis_client.llen(KEYS.failed) == 1, "it is failed")
        assert (tmp_path / "told" / "cancelled").exists()


def test_check_names_the_slots(queue: RedisMessageQueue, redis_url: str, tmp_path: Path) -> None:
    del queue
    process = worker(tmp_path, redis_url).command("check")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "handler  ok: shop.tasks (threads and tasks)" in output
