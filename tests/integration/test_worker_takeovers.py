"""A handler's module may do to logging and signals what it likes: the worker is heard, and drains."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import WorkerProcess, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

COMMON = """
import logging, logging.config, os, signal, sys, threading, time
from pathlib import Path
from redisqueue_worker import on_startup

FOLDER = Path(__file__).parent

def note(what, text):
    with open(FOLDER / what, "a") as file:
        file.write(f"{text}\\n")

def silenced():
    logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}})

def diverted():
    logging.basicConfig(stream=open(os.devnull, "w"), level="DEBUG", force=True)

def disabled():
    logging.disable(logging.CRITICAL)

def quiet():
    logging.getLogger("redisqueue_worker").setLevel("CRITICAL")
    logging.getLogger("handler").disabled = True

def emptied():
    logging.root.handlers.clear()

def exits():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))

def ignores():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def blocks():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

def handle(payload: str, context):
    context.logger.info("said by the handler")
    note("started", payload)
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    note("finished", payload)

async def handle_async(payload: str, context):
    handle(payload, context)
"""
LOGGING = ("silenced", "diverted", "disabled", "quiet", "emptied")
SIGNALS = ("exits", "ignores", "blocks")
WARNING = "the handler's code took over what the worker needs: set again"


def worker_with(tmp_path: Path, redis_url: str, source: str, handler: str, slots: str) -> WorkerProcess:
    (tmp_path / "greedy.py").write_text(COMMON + source)
    worker = WorkerProcess(tmp_path, redis_url, "", slots=slots)
    worker.settings["handler"] = f"greedy:{handler}"
    return worker


@pytest.mark.parametrize(
    ("handler", "slots"), [("handle", "auto"), ("handle_async", "auto"), ("handle", "processes")]
)
@pytest.mark.parametrize("taken", [*LOGGING, *SIGNALS])
def test_what_a_module_takes_at_its_import_is_set_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, taken: str, handler: str, slots: str
) -> None:
    publish(redis_client, "a")
    with worker_with(tmp_path, redis_url, f"{taken}()", handler, slots) as worker:
        warning = worker.logged(WARNING)
        assert warning["level"] == "warning"
        assert warning["reason"] == ("logging" if taken in LOGGING else "SIGTERM")
        worker.until_noted("started", 1)
        worker.logged("said by the handler")
        worker.signal(signal.SIGTERM)
        worker.logged("SIGTERM received")
        worker.open_gate()
        assert worker.wait() == 0
        assert worker.noted("finished") == ["a"]
        assert worker.logged("drained")
        assert worker.messages().count(WARNING) == 1


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_start_up_hooks_may_take_it_as_well(tmp_path: Path, redis_url: str, slots: str) -> None:
    source = """
@on_startup
def take():
    silenced()
    if threading.current_thread() is threading.main_thread():
        exits()
"""
    with worker_with(tmp_path, redis_url, source, "handle", slots) as worker:
        assert worker.logged(WARNING)["reason"] == "SIGTERM, logging"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.logged("drained")


def test_a_handler_that_takes_logging_is_noticed_while_it_runs(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    source = """
def late(payload: str, context):
    silenced()
    handle(payload, context)
"""
    publish(redis_client, "a")
    with worker_with(tmp_path, redis_url, source, "late", "auto") as worker:
        assert worker.logged(WARNING)["reason"] == "logging"
        worker.open_gate()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.logged("drained")


def test_loggers_of_the_module_stay_as_it_wants_them(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    source = """
logging.basicConfig(filename=FOLDER / "own.log", format="own %(message)s", level="INFO", force=True)

def own(payload: str, context):
    logging.getLogger("mine").info("line")
    handle(payload, context)
"""
    publish(redis_client, "a")
    with worker_with(tmp_path, redis_url, source, "own", "auto") as worker:
        worker.until_noted("started", 1)
        worker.logged("said by the handler")
        assert (tmp_path / "own.log").read_text() == "own line\n"
        assert "line" not in worker.messages()


def test_a_module_that_takes_nothing_is_not_warned_of(tmp_path: Path, redis_url: str) -> None:
    source = """
logging.basicConfig(level="DEBUG")
logging.getLogger("mine").setLevel("ERROR")
logging.root.handlers[0].addFilter(lambda record: True)
"""
    with worker_with(tmp_path, redis_url, source, "handle", "auto") as worker:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert WARNING not in worker.messages()


def test_a_hook_for_crashed_threads_is_called_and_does_not_keep_a_broken_worker_alive(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    source = """
threading.excepthook = lambda crash: note("crashed", crash.thread.name)

def crash():
    1 / 0

def handle_by_thread(payload: str):
    thread = threading.Thread(target=crash, name=payload)
    thread.start()
    thread.join()
    note("finished", payload)
"""
    publish(redis_client, "mine")
    with worker_with(tmp_path, redis_url, source, "handle_by_thread", "auto") as worker:
        worker.until_noted("finished", 1)
        assert worker.noted("crashed") == ["mine"]
        assert worker.logged("thread mine crashed")["level"] == "critical"
        assert worker.running


@pytest.mark.parametrize(
    ("handler", "slots"), [("labelled", "auto"), ("labelled_async", "auto"), ("labelled", "processes")]
)
def test_a_record_factory_that_raises_ends_no_loop_of_the_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, slots: str
) -> None:
    source = """
import contextvars

request = contextvars.ContextVar("request")
make = logging.getLogRecordFactory()

def label(*about, **also):
    record = make(*about, **also)
    record.request = request.get()  # a LookupError wherever no handler has set it
    return record

logging.setLogRecordFactory(label)

def labelled(payload: str, context):
    context.logger.info("no label yet")
    request.set("r7")
    context.logger.info("has a label")
    note("started", payload)
    raise ValueError("bad")

async def labelled_async(payload: str, context):
    labelled(payload, context)
"""
    publish(redis_client, "a")
    with worker_with(tmp_path, redis_url, source, handler, slots) as worker:
        assert worker.logged("has a label")["request"] == "r7"
        assert "request" not in worker.logged("no label yet")
        assert "ValueError: bad" in worker.logged("not handled")["reason"]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.logged("drained")
