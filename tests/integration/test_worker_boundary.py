"""What a handler raises is its message's affair: the worker and the messages beside it never notice."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

MODULE = """
import asyncio, concurrent.futures, os, sys, threading, time
from pathlib import Path
from redisqueue_worker import Context, DeadLetter, Retry
from test_handlers import note

class Mute(Exception):
    def __str__(self):
        raise SystemExit("not even that")
    __repr__ = __str__

class Faceless(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")
    __notes__ = __cause__ = __class__

def circular():
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first

def of_a_class_that_cannot_be_pickled():
    class Local(Exception):
        def __init__(self):
            super().__init__("local")
            self.lock = threading.Lock()
    return Local()

ODD = {
    "mute": Mute,
    "faceless": Faceless,
    "circular": circular,
    "local": of_a_class_that_cannot_be_pickled,
    "group": lambda: BaseExceptionGroup("g", [Mute(), KeyboardInterrupt()]),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "stop": StopIteration,
    "path": lambda: FileNotFoundError(2, "no", os.fsdecode(b"caf\\xe9")),
    "huge": lambda: ValueError("x" * 30_000_000),
    "class": lambda: type("C" * 50_000, (Exception,), {})("long"),
    "endless": lambda: Retry(float("inf")),
    "beyond": lambda: Retry(10**400),
    "later": lambda: Retry(True),
}

POOL = concurrent.futures.ThreadPoolExecutor(1)
RESULTS = {
    "coroutine": lambda: leave(),
    "generator": lambda: (note("never", one) for one in "ab"),
    "future": lambda: POOL.submit(time.sleep, 0),
    "retry": lambda: Retry(1),
    "dead letter": lambda: DeadLetter("no"),
    "value": lambda: {"a": 1},
}

def give(payload: str):
    return RESULTS[payload]()

async def give_async(payload: str):
    return RESULTS[payload]()

def handle(payload: str, context: Context):
    if payload == "quiet":
        sys.stderr.close()
        raise ValueError("nobody can read it")
    if payload == "logs":
        context.logger.info("%d", "x", extra={"message": Mute(), "message_id": 7, "odd": Mute()})
    if payload in ODD:
        raise ODD[payload]()
    if payload == "dead":
        raise DeadLetter("y" * 3_000_000)
    note("finished", payload)

async def handle_async(payload: str, context: Context):
    await asyncio.sleep(0)
    if payload == "child":
        await asyncio.create_task(leave())
    if payload == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0.05)
    if payload == "stopped":
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
    handle(payload, context)

async def leave():
    await asyncio.sleep(0)
    sys.exit(3)
"""
CONTEXTS = """
import decimal
from contextvars import ContextVar
import sentry_sdk
from redisqueue_worker import on_startup
from test_handlers import note

names = ("imported", "hook", "async hook", "message")
VARIABLES = {name: ContextVar(name, default="-") for name in names}
VARIABLES["imported"].set("set")
if PRECISION != 28:  # Python's own
    decimal.getcontext().prec = PRECISION

def tell(event, hint):
    note("tags", sorted(event.get("tags", {}).items()))

sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", before_send=tell)

@on_startup
def set_base():
    VARIABLES["hook"].set("set")
    sentry_sdk.set_tag("base", "set")

@on_startup
async def set_base_as_well():
    VARIABLES["async hook"].set("set")

def handle(payload):
    seen = [variable.get() for variable in VARIABLES.values()]
    note("seen", f"{' '.join(seen)} {decimal.getcontext().prec}")
    sentry_sdk.capture_message(payload)
    VARIABLES["message"].set(payload)
    decimal.getcontext().prec = 3
    sentry_sdk.set_tag("customer", payload)

async def handle_async(payload):
    handle(payload)
"""
ODD = [
    "mute",
    "faceless",
    "circular",
    "local",
    "group",
    "exit",
    "interrupt",
    "generator",
    "cancelled",
    "stop",
    "path",
    "huge",
    "class",
    "endless",
    "beyond",
    "later",
]


def a_worker(folder: Path, redis_url: str, handler: str, slots: str, **settings: object) -> WorkerProcess:
    worker = WorkerProcess(
        folder, redis_url, "x", slots=slots, circuit_breaker_failures=0, max_attempts=2, **settings
    )
    (folder / "mine.py").write_text(MODULE)
    worker.settings["handler"] = f"mine:{handler}"
    return worker


def records(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(record) for record in client.lrange(KEYS.dead_letter_info, 0, -1)]


@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize("handler", ["handle", "handle_async"])
def test_whatever_a_handler_raises_costs_its_own_message_alone(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str
) -> None:
    fine = [f"fine {number}" for number in range(5)]
    publish(redis_client, *fine[:3], *ODD, "dead", *fine[3:])
    with a_worker(tmp_path, redis_url, handler, slots, concurrency=3) as worker:
        eventually(
            lambda: counters(redis_client).dead_letter == len(ODD) + 1,
            "all the odd ones are dead letters",
        )
        eventually(lambda: counters(redis_client).processing == 0, "everything is settled")
        assert sorted(worker.until_noted("finished", len(fine))) == fine
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    told = records(redis_client)
    assert sum("attempt 2 of 2" in record["reason"] for record in told) == len(ODD)
    assert sum("ValueError: delay: " in record["reason"] for record in told) == 3
    assert all(len(record["reason"]) <= 1000 and len(record["detail"]) <= 4000 for record in told)
    assert len(worker.log_file.read_bytes()) < 1_000_000
    assert all(line.startswith("{") for line in worker.log_file.read_text().splitlines())


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_a_task_that_stops_the_event_loop_stops_nobody_else(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    publish(redis_client, "child", "callback", "stopped", "fine")
    with a_worker(tmp_path, redis_url, "handle_async", slots, concurrency=2) as worker:
        assert sorted(worker.until_noted("finished", 3)) == ["callback", "fine", "stopped"]
        eventually(lambda: counters(redis_client).dead_letter == 1, "its own message has failed")
        assert records(redis_client)[0]["reason"] == "SystemExit: 3 (attempt 2 of 2)"
        worker.logged("a task stopped the event loop: it goes on")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_a_log_call_never_fails_its_message(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    publish(redis_client, "logs", "quiet", "fine")
    with a_worker(tmp_path, redis_url, "handle", slots) as worker:
        assert sorted(worker.until_noted("finished", 2)) == ["fine", "logs"]
        eventually(
            lambda: counters(redis_client).dead_letter == 1, "the closed stderr fails its message alone"
        )
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    (line,) = [line for line in worker.log_lines() if line["logger"] == "handler"]
    assert line["message"].startswith("%d (its arguments cannot be shown: TypeError; mine.py, line ")
    assert line["message_id"] not in (None, 7)
    assert (line["message_id_"], line["message_"]) == (7, "<Mute without a text>")


@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize("handler", ["give", "give_async"])
def test_what_a_handler_returns_shows_whether_its_work_is_done(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str
) -> None:
    publish(redis_client, "coroutine", "generator", "future", "retry", "dead letter", "value")
    with a_worker(tmp_path, redis_url, handler, slots, keep_completed=10):
        eventually(lambda: counters(redis_client).dead_letter == 5, "five times nothing was done")
        eventually(lambda: redis_client.lrange(KEYS.completed, 0, -1) == [b"value"], "one was")
    told = " ".join(record["reason"] for record in records(redis_client))
    for problem in (
        "a coroutine that",
        "a generator that",
        "a Future that",
        "Retry; raise it",
        "DeadLetter; raise",
    ):
        assert f"NotDone: the handler returned {problem}" in told


@pytest.mark.parametrize("precision", [20, 28])
@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize("handler", ["handle", "handle_async"])
def test_each_message_has_the_context_of_the_start_and_leaves_nothing_in_it(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str, precision: int
) -> None:
    publish(redis_client, "a", "b", "c")
    (tmp_path / "contexts.py").write_text(f"PRECISION = {precision}\n{CONTEXTS}")
    worker = WorkerProcess(tmp_path, redis_url, "x", slots=slots)
    worker.settings["handler"] = f"contexts:{handler}"
    with worker:
        assert worker.until_noted("seen", 3) == [f"set set set - {precision}"] * 3
        assert worker.until_noted("tags", 3) == ["[('base', 'set')]"] * 3


LOUD = """
import logging, threading
from test_handlers import note

class Remote(logging.Handler):
    def emit(self, record):
        raise ConnectionError("the log server is away")

logging.getLogger().addHandler(Remote())
logging.getLogger("redisqueue_worker.consumer_loop").addFilter(lambda record: record.no_such_field)

def handle(payload, context):
    if payload == "thread":
        thread = threading.Thread(target=lambda: 1 / 0, name="consumer loop")
        thread.start()
        thread.join()
    context.logger.info("at work")
    if payload == "bad":
        raise ValueError("no")
    note("finished", payload)
"""


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_what_the_handlers_module_adds_to_logging_and_threads_ends_no_loop(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    publish(redis_client, "bad", "thread", "fine")
    worker = WorkerProcess(tmp_path, redis_url, "x", slots=slots, max_attempts=2)
    worker.settings["handler"] = "loud:handle"
    with worker:
        assert sorted(worker.until_noted("finished", 2)) == ["fine", "thread"]
        eventually(lambda: counters(redis_client).dead_letter == 1, "the bad one has failed")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
