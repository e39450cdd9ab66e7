"""Functions around handlers in real workers: in threads, tasks and processes, within the handler's limits."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, descendants, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

HOOKS = """
import os, threading
from contextvars import ContextVar
from pathlib import Path
from redisqueue_worker import Retry, around

HERE = Path(__file__).parent
CURRENT = ContextVar("current", default="nothing")

def note(what, text):
    with open(HERE / what, "a") as file:
        file.write(f"{text}\\n")

def place():
    return f"{os.getpid()} {threading.current_thread().name}"

def begin(payload, context):
    note("before", CURRENT.get())
    note("hook", f"{payload['name']} {place()}")
    CURRENT.set(f"{payload['name']} {context.delivery_count}")
    if payload["name"] == "later" and context.delivery_count == 1:
        raise Retry(0)
    return {**payload, "name": payload["name"].upper()}

@around(handlers="sync")
def outer(call_next, payload, context):
    try:
        return call_next(begin(payload, context))
    finally:
        note("left", payload["name"])

@around(handlers="async")
async def outer_async(call_next, payload, context):
    try:
        return await call_next(begin(payload, context))
    finally:
        note("left", payload["name"])
"""
HANDLERS = """
import asyncio, time
from redisqueue_worker import Backoff, handler
from own_hooks import CURRENT, note, place

def end(payload):
    note("handler", f"{payload['name']} {place()}")
    note("finished", CURRENT.get())

@handler("sync")
def sync(payload: dict):
    end(payload)

@handler("async")
async def asynchronous(payload: dict):
    await asyncio.sleep(0)
    end(payload)

@handler("process", slots="processes")
def in_a_process(payload: dict):
    end(payload)

@handler("hang", timeout_seconds=1, max_attempts=1)
async def hang(payload: dict):
    await asyncio.sleep(600)
"""


def worker(folder: Path, url: str, handler: str = "hooked", **settings: Any) -> WorkerProcess:
    (folder / "own_hooks.py").write_text(HOOKS)
    (folder / "hooked.py").write_text(HANDLERS)
    found = WorkerProcess(folder, url, "", **{"concurrency": 3, **settings})
    found.settings["handler"] = handler
    return found


def send(client: redis.Redis, kind: str, *names: str) -> None:
    publish(client, *(json.dumps({"type": kind, "name": name}) for name in names))


@pytest.mark.parametrize("kind", ["sync", "async", "process"])
def test_hooks_run_beside_their_handler_wherever_that_runs(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, kind: str
) -> None:
    send(redis_client, kind, "a", "b", "later")
    with worker(tmp_path, redis_url, concurrency=1) as running:
        finished = running.until_noted("finished", 3)
        assert finished == ["a 1", "b 1", "later 2"], "what a hook sets is there for the handler"
        assert set(running.noted("before")) == {"nothing"}, "and not for the next message"
        hooks = dict(line.split(" ", 1) for line in running.noted("hook"))
        handlers = dict(line.split(" ", 1) for line in running.noted("handler"))
        assert handlers == {name.upper(): where for name, where in hooks.items()}
        pid = int(hooks["a"].split()[0])
        assert pid in descendants(running.pid) if kind == "process" else pid == running.pid
        eventually(lambda: not redis_client.exists(KEYS.processing), "all are settled")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert "LATER" not in running.noted("left")


def test_each_kind_has_its_hook_in_one_worker_of_processes(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    for kind in ("sync", "async", "process"):
        send(redis_client, kind, kind)
    with worker(tmp_path, redis_url, slots="processes", concurrency=1) as running:
        assert sorted(running.until_noted("finished", 3)) == ["async 1", "process 1", "sync 1"]
        assert {int(line.split()[1]) for line in running.noted("hook")} <= set(descendants(running.pid))


def test_a_timeout_ends_the_handler_within_its_hooks(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    send(redis_client, "hang", "hang")
    with worker(tmp_path, redis_url) as running:
        assert running.until_noted("left", 1) == ["hang"]
        assert running.logged("not handled")["reason"].startswith("timeout: ")
        eventually(lambda: redis_client.llen(KEYS.failed) == 1, "it has failed")


def test_hooks_that_the_handlers_do_not_know_are_named_by_a_setting(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    (tmp_path / "platform_hooks.py").write_text(
        "from own_hooks import note\n"
        "from redisqueue_worker import around, on_startup\n"
        "on_startup(lambda: note('up', 'platform'))\n"
        "@around(handlers='sync')\n"
        "def outermost(call_next, payload, context):\n"
        "    note('hook', 'outermost')\n"
        "    return call_next(payload)\n"
    )
    publish(redis_client, json.dumps({"type": "sync", "name": "a"}))
    with worker(tmp_path, redis_url, hooks="platform_hooks, own_hooks") as running:
        running.until_noted("finished", 1)
        assert set(running.noted("up")) == {"platform"}, "in the worker and in its process"
        hooks = [line.split()[0] for line in running.noted("hook")]
        # It imports `own_hooks` first, whose hooks are therefore outside of its own.
        assert hooks == ["a", "outermost"]
        checking = running.command("check")
        told = checking.communicate()[0]
        assert checking.returncode == 0, told
        assert "hooks    around each handler: outer, outer_async, outermost\n" in told


def test_a_hook_of_the_wrong_kind_ends_the_start_and_is_named(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    (tmp_path / "wrong.py").write_text(
        "from redisqueue_worker import around\n"
        "@around\n"
        "def session(call_next, payload, context): return call_next(payload)\n"
        "async def handle(payload): pass\n"
    )
    for slots in ("auto", "processes"):
        running = worker(tmp_path, redis_url, "wrong:handle", slots=slots).start()
        assert running.wait() == 2
        text = running.log_file.read_text()
        assert "'wrong:handle': the hook session has def and the handler has async def" in text
        assert "@around(handlers='async')" in text
