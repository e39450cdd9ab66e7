"""What handlers in process slots tell Prometheus is on the worker's page, whatever becomes of them."""

from __future__ import annotations

import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import WorkerProcess, counters, eventually, publish

from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import redis

HANDLERS = """
import multiprocessing, os
from pathlib import Path
from prometheus_client import Counter, Gauge, Histogram, Summary
from redisqueue_worker import Registry

FOLDER = Path(__file__).parent
ROWS = Counter("rows", "Rows read.", ["table"])
SIZES = Histogram("sizes", "Sizes.", buckets=(1, 10))
TIMES = Summary("times", "Times.")
ALL = Gauge("seen", "For each process.")
LIVE = Gauge("open_files", "Of those that live.", multiprocess_mode="livesum")
SUM = Gauge("sum", "A sum.", multiprocess_mode="sum")
HIGHEST = Gauge("highest", "The highest.", multiprocess_mode="max")
LOWEST = Gauge("lowest", "The lowest.", multiprocess_mode="min")
LAST = Gauge("last", "The most recent.", multiprocess_mode="mostrecent")

def tell(number):
    ROWS.labels("a").inc(number)
    SIZES.observe(number)
    TIMES.observe(number)
    SUM.inc(number)
    for gauge in (ALL, LIVE, HIGHEST, LOWEST, LAST):
        gauge.set(number)

def handle(payload: str):
    tell(int(payload))
    with open(FOLDER / "finished", "a") as file:
        file.write(f"{payload} {os.getpid()}\\n")

kinds = Registry()

@kinds("here")
@kinds("elsewhere", slots="processes")
def handle_either(payload: dict):
    handle(payload["n"])

def handle_and_crash(payload: str, context):
    if context.delivery_count == 1:
        handle(payload)
        os._exit(3)

def handle_in_a_fork(payload: str):
    child = multiprocessing.get_context("fork").Process(target=handle, args=(payload,))
    child.start()
    child.join()
"""


class Page:
    """The page of a worker whose slots are processes."""

    def __init__(self, tmp_path: Path, redis_url: str, handler: str = "handle", **settings: object) -> None:
        (tmp_path / "tells.py").write_text(HANDLERS)
        self.port = free_port()
        self.worker = WorkerProcess(
            tmp_path, redis_url, "", **{"slots": "processes", "http_port": self.port, **settings}
        )
        self.worker.settings["handler"] = f"tells:{handler}"

    def get(self) -> dict[str, float]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_SECONDS
        ) as answer:
            text = answer.read().decode()
        families = list(text_string_to_metric_families(text))
        assert len({family.name for family in families}) == len(families), "each once"
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.get().get(name + str(sorted(labels.items())))


@pytest.mark.parametrize("handler", ["handle", "handle_in_a_fork"])
def test_metrics_of_all_slots_are_added_up_on_the_page(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str
) -> None:
    publish(redis_client, "1", "2", "5", "20")
    page = Page(tmp_path, redis_url, handler, concurrency=2)
    with page.worker as worker:
        worker.until_noted("finished", 4)
        eventually(lambda: page.value("rows_total", table="a") == 28, "rows of all")
        assert page.value("sizes_count") == 4
        assert page.value("sizes_bucket", le="10.0") == 3
        assert page.value("times_sum") == 28
        assert page.value("redisqueue_worker_slots") == 2, "and the worker's own"
        eventually(lambda: page.value("redisqueue_worker_messages_total", outcome="done") == 4, "settled")
        assert page.value("process_open_fds") is not None


def test_what_handlers_tell_in_threads_and_in_processes_is_added_up(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    page = Page(tmp_path, redis_url, "kinds", slots="auto", concurrency=2)
    with page.worker as worker:
        publish(redis_client, '{"type": "here", "n": "3"}', '{"type": "elsewhere", "n": "4"}')
        worker.until_noted("finished", 2)
        eventually(lambda: page.value("rows_total", table="a") == 7, "rows of both")
        assert page.value("sizes_bucket", le="10.0") == 2
        assert page.value("times_sum") == 7
        assert page.value("highest") == 4
        assert page.value("redisqueue_worker_slots") == 2, "and the worker's own"


@pytest.mark.parametrize(("handler", "limit"), [("handle", {"max_messages": 1}), ("handle_and_crash", {})])
def test_what_processes_that_ended_had_told_stays_and_their_files_do_not(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, limit: dict[str, object]
) -> None:
    payloads = ["3", "9", "1", "4"]
    page = Page(tmp_path, redis_url, handler, **limit)
    with page.worker as worker:
        for number, payload in enumerate(payloads, start=1):
            publish(redis_client, payload)
            worker.logged("process replaced", count=number)
            assert page.value("rows_total", table="a") == sum(map(int, payloads[:number]))
        assert page.value("sizes_count") == 4
        assert page.value("sum") == 17
        assert page.value("highest") == 9
        assert page.value("lowest") <= 1
        assert not page.value("open_files"), "none of them lives"
        seen = [name for name in page.get() if name.startswith("seen")]
        assert len(seen) <= 2, "no series of each process that ever was"
        files = [file.name for file in (tmp_path / "worker-1" / "metrics").iterdir()]
        processes = {name.rpartition("_")[2] for name in files}
        assert len(processes) <= 3, "of those that ended, of the one that lives, of one that ends"


def test_a_fresh_worker_begins_with_none(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    page = Page(tmp_path, redis_url)
    with page.worker as worker:
        publish(redis_client, "7")
        eventually(lambda: page.value("rows_total", table="a") == 7, "told")
        # What is in hand when it is killed would be handled again by the next.
        eventually(lambda: counters(redis_client).processing == 0, "settled")
        worker.signal(signal.SIGKILL)
        worker.wait()
    with page.worker as worker:
        worker.logged("started", count=2)
        assert page.value("rows_total", table="a") is None


def test_a_folder_of_the_users_own_is_used(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's own metrics are there as well, and yet on the page once."""
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    page = Page(tmp_path, redis_url, max_messages=1)
    with page.worker as worker:
        for number, payload in enumerate(["3", "4"], start=1):
            publish(redis_client, payload)
            worker.logged("process replaced", count=number)
        assert page.value("rows_total", table="a") == 7
        assert page.value("redisqueue_worker_slots") == 1
    assert any(file.name.startswith("counter_") for file in folder.iterdir())


@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize("given", ["missing", "a file", "empty"])
def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, redis_url: str, slots: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    path = "" if given == "empty" else str(tmp_path / given)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", path)
    page = Page(tmp_path, redis_url, slots=slots)
    try:
        assert page.worker.start().wait() == 2
        said = page.worker.log_file.read_text()
        assert f"PROMETHEUS_MULTIPROC_DIR: '{path}' is no folder that can be written to" in said
        assert "Traceback" not in said
        command = page.worker.command("check")
        assert "PROMETHEUS_MULTIPROC_DIR: " in command.communicate(timeout=60)[0]
        assert command.returncode == 2
    finally:
        page.worker.__exit__()
