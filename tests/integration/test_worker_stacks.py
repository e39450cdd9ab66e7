"""`redisqueue-worker stacks`: where the handler of each message in hand stands, in each kind of slot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, eventually

from redis_message_queue import envelope

if TYPE_CHECKING:
    from pathlib import Path

    import redis

DEEP = """
import asyncio, time
from pathlib import Path
from redisqueue_worker import Context

FOLDER = Path(__file__).parent

def gate_is_open():
    return (FOLDER / "go").exists()

def wait_for_the_supplier(payload):
    with open(FOLDER / "started", "a") as file:
        file.write(payload + "\\n")
    while not gate_is_open():
        time.sleep(0.01)

def deep(payload: str, context: Context):
    wait_for_the_supplier(payload)

async def ask_the_supplier(payload):
    with open(FOLDER / "started", "a") as file:
        file.write(payload + "\\n")
    while not gate_is_open():
        await asyncio.sleep(0.01)

async def within_a_task(payload):
    await asyncio.create_task(ask_the_supplier(payload))

async def deep_async(payload: str, context: Context):
    await within_a_task(payload)
"""


def asked(worker: WorkerProcess, *words: str) -> str:
    process = worker.command("stacks", *words)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    return told


@pytest.mark.parametrize(
    ("handler", "slots", "slot"),
    [
        ("deep", "auto", "thread"),
        ("deep_async", "auto", "task"),
        ("deep", "processes", "process"),
        ("deep_async", "processes", "process"),
    ],
    ids=["threads", "tasks", "processes", "tasks in processes"],
)
def test_the_stack_of_each_handler_is_told(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str, slot: str
) -> None:
    (tmp_path / "deep_handlers.py").write_text(DEEP)
    worker = WorkerProcess(tmp_path, redis_url, handler, slots=slots, concurrency=2)
    worker.settings["handler"] = f"deep_handlers:{handler}"
    inner = "ask_the_supplier" if handler == "deep_async" else "wait_for_the_supplier"

    def both() -> Any:
        found = json.loads(asked(worker, "--json"))
        return found if len(found) == 2 and all(inner in str(one["stack"]) for one in found) else None

    with worker:
        assert asked(worker) == "no message in hand\n"
        redis_client.lpush(KEYS.pending, *(envelope.encode(name, name) for name in ("a", "b")))
        worker.until_noted("started", 2)
        found = eventually(both, "both are told")
        assert sorted(one["message_id"] for one in found) == ["a", "b"]
        for one in found:
            assert one["slot"] == slot
            assert (one["pid"] is not None) == (slot == "process")
            assert "redisqueue_worker" not in one["stack"][0]
            text = "\n".join(one["stack"])
            names = [handler, *(["within_a_task"] if handler == "deep_async" else []), inner]
            places = [text.index(f"in {name}\n") for name in names]
            assert places == sorted(places), text
        (tmp_path / "go").touch()
        eventually(lambda: not redis_client.exists(KEYS.processing), "both are done")


def test_without_a_worker_it_says_so(tmp_path: Path, redis_url: str) -> None:
    process = WorkerProcess(tmp_path, redis_url, "gated").command("stacks")
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no worker listens at" in told
