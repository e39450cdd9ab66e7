"""A handler shares its process and its event loop with the worker and its neighbours, and hurts neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

HANDLERS = """
import asyncio, os, sys, time
from pathlib import Path

FOLDER = Path(__file__).parent

def note(what, text):
    with open(FOLDER / what, "a") as file:
        file.write(f"{text}\\n")

def forking(payload: str):
    child = os.fork()
    if child == 0:
        match payload:
            case "raises":
                raise ValueError("in the child")
            case "exits":
                sys.exit(0)
        return
    note("children", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    while not (FOLDER / f"go-{payload}").exists():
        time.sleep(0.01)
    note("finished", payload)

async def forking_async(payload: str):
    forking(payload)

async def tidy(payload: str):
    note("started", payload)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if payload == "cancels all":
        for task in others:
            task.cancel()
    elif payload == "waits for all":
        await asyncio.gather(*others)
    elif payload == "cancels itself":
        asyncio.current_task().cancel()
    else:
        while not (FOLDER / f"go-{payload}").exists():
            await asyncio.sleep(0.01)
    note("finished", payload)
"""


def worker_on(folder: Path, redis_url: str, function: str, **settings: object) -> WorkerProcess:
    (folder / "company.py").write_text(HANDLERS)
    worker = WorkerProcess(folder, redis_url, "", **settings)
    worker.settings["handler"] = f"company:{function}"
    return worker


@pytest.mark.parametrize(
    ("function", "slots"),
    [
        ("forking", "threads"),
        ("forking", "processes"),
        ("forking_async", "tasks"),
        ("forking_async", "processes"),
    ],
)
def test_a_forked_child_that_comes_back_out_of_its_handler_ends_and_settles_nothing(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str, function: str, slots: str
) -> None:
    with worker_on(tmp_path, redis_url, function, slots=slots) as worker:
        for number, (payload, code) in enumerate([("returns", "0"), ("raises", "1"), ("exits", "0")]):
            publish(redis_client, payload)
            assert worker.until_noted("children", number + 1)[number] == code
            assert counters(redis_client).in_flight == 1
            worker.open_gate(payload)
            eventually(lambda: counters(redis_client).in_flight == 0, "settled")
        assert worker.noted("finished") == ["returns", "raises", "exits"]
        assert worker.running
    assert (
        not counters(redis_client).failed
        + counters(redis_client).dead_letter
        + counters(redis_client).delayed
    )


@pytest.mark.parametrize("slots", ["tasks", "processes"])
def test_a_handler_that_means_all_tasks_of_its_loop_means_its_own(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str, slots: str
) -> None:
    with worker_on(tmp_path, redis_url, "tidy", slots=slots, concurrency=2) as worker:
        publish(redis_client, "held")
        worker.until_noted("started", 1)
        publish(redis_client, "cancels all", "waits for all", "cancels itself")
        worker.until_noted("finished", 3)
        eventually(lambda: counters(redis_client).in_flight == 1, "all but one are settled")
        worker.open_gate("held")
        eventually(lambda: counters(redis_client).in_flight == 0, "settled")
        assert sorted(worker.noted("started")) == ["cancels all", "cancels itself", "held", "waits for all"]
        assert "not handled" not in worker.messages()
        assert "process replaced" not in worker.messages()
        assert worker.running
