"""What handlers start: it can be ended as anywhere else, and ends with its worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.required import missing
from tests.support.worker_process import WorkerProcess, alive, counters, descendants, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis

HANDLERS = """
import ctypes, multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path

FOLDER = Path(__file__).parent
forks = multiprocessing.get_context("fork")

def note(what, text):
    with open(FOLDER / what, "a") as file:
        file.write(f"{text}\\n")

def wait_for_ever():
    signal.pause()

def terminated(payload: str):
    child = forks.Process(target=wait_for_ever)
    child.start()
    (child.terminate if payload == "SIGTERM" else lambda: os.kill(child.pid, signal.SIGINT))()
    child.join(60)
    child.kill()
    note("finished", child.exitcode)

async def terminated_async(payload: str):
    terminated(payload)

def double(number):
    return 2 * number

def pooled(payload: str):
    for _ in range(int(payload)):
        with forks.Pool(2) as pool:
            result = pool.map(double, range(3))
    note("finished", result)

def started(how):
    match how:
        case "fork":
            child = forks.Process(target=wait_for_ever)
            child.start()
            return child.pid
        case "fork in a fork":
            reader, writer = forks.Pipe()
            forks.Process(target=lambda: (writer.send(started("fork")), wait_for_ever())).start()
            return reader.recv()
        case "spawn":
            child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
            child.start()
            return child.pid
        case "fork under another name":
            area = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:49]
            begin, end = int(area[2]), int(area[3])
            ctypes.memset(begin, 0, end - begin)  # as setproctitle does with the environment
            return started("fork")
        case "program":
            return subprocess.Popen(["sleep", "600"]).pid
        case "daemon":
            return subprocess.Popen(["sleep", "600"], start_new_session=True).pid

def wait_for_go():
    while not (FOLDER / "go").exists():
        time.sleep(0.01)

def leave_behind(payload: str):
    note("left", started(payload))
    wait_for_go()

def leave_all_behind(payload: str):
    for how in ("program", "daemon", "spawn", "fork"):
        note("left", started(how))
    wait_for_go()

async def leave_behind_async(payload: str):
    note("left", started(payload))

def stuck(payload: str):
    if not (FOLDER / "left").exists():
        note("left", started(payload))
        time.sleep(60)
    note("finished", payload)

def orphan(payload: str):
    program = f"sleep 0.1 & exit {payload}"
    note("finished", subprocess.run(["sh", "-c", program]).returncode)
"""
KINDS = ("auto", "processes")


def children_of(tmp_path: Path, redis_url: str, handler: str, **settings: object) -> WorkerProcess:
    (tmp_path / "parents.py").write_text(HANDLERS)
    worker = WorkerProcess(tmp_path, redis_url, "", **settings)
    worker.settings["handler"] = f"parents:{handler}"
    return worker


@pytest.mark.parametrize("slots", KINDS)
@pytest.mark.parametrize("handler", ["terminated", "terminated_async"])
def test_a_forked_child_ends_by_the_signals_that_stop_the_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str, handler: str
) -> None:
    publish(redis_client, "SIGTERM", "SIGINT")
    with children_of(tmp_path, redis_url, handler, slots=slots) as worker:
        by_signal, by_interrupt = worker.until_noted("finished", 2)
        assert int(by_signal) == -signal.SIGTERM
        assert int(by_interrupt) in (1, -signal.SIGINT), "a KeyboardInterrupt, once Python runs"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.parametrize("slots", KINDS)
def test_a_pool_of_processes_ends(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    """Its children are told to end while some are hardly there yet."""
    publish(redis_client, "20")
    with children_of(tmp_path, redis_url, "pooled", slots=slots) as worker:
        assert worker.until_noted("finished", 1) == ["[0, 2, 4]"]


@pytest.mark.parametrize("slots", KINDS)
@pytest.mark.parametrize(
    "how", ["fork", "fork in a fork", "fork under another name", "spawn", "program", "daemon"]
)
def test_nothing_that_a_handler_started_outlives_a_killed_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str, how: str
) -> None:
    publish(redis_client, how)
    with children_of(tmp_path, redis_url, "leave_behind", slots=slots) as worker:
        (child,) = worker.until_noted("left", 1)
        assert alive(int(child))
        worker.signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
    eventually(lambda: not alive(int(child)), "it has ended")


@pytest.mark.parametrize("slots", KINDS)
@pytest.mark.parametrize("handler", ["leave_behind", "leave_behind_async"])
def test_nothing_that_a_handler_left_behind_outlives_a_drained_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str, handler: str
) -> None:
    publish(redis_client, "daemon", "program")
    with children_of(tmp_path, redis_url, handler, slots=slots) as worker:
        worker.open_gate()
        left = worker.until_noted("left", 2)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    eventually(lambda: not any(alive(int(child)) for child in left), "they have ended")


@pytest.mark.parametrize("how", ["fork", "spawn", "program"])
def test_a_slot_that_is_killed_takes_along_what_its_handler_started(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, how: str
) -> None:
    publish(redis_client, how)
    with children_of(tmp_path, redis_url, "stuck", slots="processes", handler_timeout_seconds=3) as worker:
        (child,) = worker.until_noted("left", 1)
        worker.until_noted("finished", 1)
        eventually(lambda: not alive(int(child)), "it has ended")
        assert worker.running


class Container:
    """A worker that is process 1, as in a container, with the files of `worker`."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        own = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if not shutil.which("unshare") or subprocess.run([*own, "true"], check=False).returncode:
            missing("this machine lets nobody make a process namespace")
        with worker.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*own, sys.executable, "-m", "redisqueue_worker.cli", "run"],
                env=worker.environment,
                cwd=worker.folder,
                stderr=log,
            )

    def __enter__(self) -> Container:
        try:
            self.worker.logged("started")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def first(self) -> int:
        """Process 1, by its number outside."""
        return descendants(self.process.pid)[0]

    @property
    def zombies(self) -> int:
        return sum(not alive(pid) for pid in descendants(self.first))


@pytest.mark.parametrize("slots", KINDS)
def test_process_1_reaps_orphans_and_leaves_handlers_the_exit_codes_of_their_own(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    codes = [str(number) for number in range(1, 11)]
    publish(redis_client, *codes)
    with Container(children_of(tmp_path, redis_url, "orphan", slots=slots)) as container:
        assert container.worker.until_noted("finished", len(codes)) == codes
        eventually(lambda: container.zombies == 0, "all are reaped")
        os.kill(container.first, signal.SIGTERM)
        assert container.process.wait(60) == 0
        assert container.worker.logged("drained")["reason"] == "SIGTERM"


def test_process_1_ends_as_the_worker_does(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, "daemon")
    worker = children_of(tmp_path, redis_url, "stuck", drain_timeout_seconds=0.2)
    with Container(worker) as container:
        worker.until_noted("left", 1)
        everything = descendants(container.process.pid)
        os.kill(container.first, signal.SIGINT)
        assert container.process.wait(60) == 4, "forced, with a message in hand"
        eventually(lambda: not any(alive(pid) for pid in everything), "all have ended")
    assert counters(redis_client).pending == 1


def test_process_1_tells_of_a_killed_worker_as_a_shell_does(tmp_path: Path, redis_url: str) -> None:
    with Container(children_of(tmp_path, redis_url, "orphan")) as container:
        (worker,) = descendants(container.first)
        os.kill(worker, signal.SIGKILL)
        assert container.process.wait(60) == 128 + signal.SIGKILL


def test_a_fresh_start_has_no_children_of_its_predecessor(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "all")
    worker = children_of(tmp_path, redis_url, "leave_all_behind", max_messages=1)
    with Container(worker) as container:
        worker.until_noted("left", 4)
        assert len(descendants(container.first)) > 4
        worker.open_gate()
        worker.logged("started", count=2)
        eventually(lambda: len(descendants(container.first)) == 1, "the worker is alone")
