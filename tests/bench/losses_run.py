"""One run: a worker with 16 in hand, a fault, and whoever is started again after it; thin I/O."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.bench.losses_count import Line, begun, is_over, lines_of, row, undone
from tests.bench.losses_entries import (
    DRAIN_SECONDS,
    EXTRA_ENVIRONMENT,
    FOLDER,
    MESSAGES,
    SLOTS,
    Entry,
    Scenario,
    Task,
)
from tests.bench.worker_process import Failed

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIMIT_SECONDS = 150.0
# Longer than the lease and the looks for lost ones of any of them: what is doubled is begun by then.
QUIET_SECONDS = 60.0
START_SECONDS = 240.0
SECOND_WORKER_SECONDS = 8.0
LOOK_SECONDS = 0.1
# As queues are in use: some look for what was abandoned when a message comes, and only then.
ANOTHER_EVERY_SECONDS = 20.0
AGAIN_SECONDS = 1.0
MARK = "LOSSES_WORKER"


class Worker:
    """A worker's process, and all that it has started: known by a mark in their environment."""

    def __init__(self, command: Sequence[str], task: Task) -> None:
        self._mark = uuid.uuid4().hex
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = {**own, **EXTRA_ENVIRONMENT, **task.environment, MARK: self._mark}
        with (task.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=FOLDER, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.told_to_end = False
        self.ended_at = 0.0

    def terminate(self) -> None:
        """SIGTERM, to the first process, as the kubelet does."""
        self.told_to_end = True
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to all of them, as when a container ends."""
        self.told_to_end = True
        while found := _processes_with(f"{MARK}={self._mark}"):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.01)
        self.process.wait()


def _processes_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


class Run:
    """A server, the workers on it, and the book."""

    def __init__(self, entry: Entry, scenario: Scenario, server: EmbeddedRedis, task: Task) -> None:
        self._entry, self._scenario, self._server, self._task = entry, scenario, server, task
        self.messages = [f"message-{number:03}" for number in range(MESSAGES)]
        self._workers: list[Worker] = []
        self.ended_by_themselves = 0

    def enqueue(self, messages: Sequence[str]) -> None:
        """As a producer does. Raises Failed."""
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            self._entry.enqueue(self._task, messages),
            cwd=FOLDER,
            env={**own, **self._task.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["enqueueing failed"])[-1])

    def start(self) -> None:
        """One more worker."""
        task = replace(self._task, start=len(self._workers))
        self._workers.append(Worker(self._entry.worker(task), task))

    def lines(self) -> list[Line]:
        """What the book says by now."""
        book = self._task.book
        return lines_of(book.read_text() if book.exists() else "", self.messages)

    def until_in_hand(self) -> None:
        """Wait until as many are in hand as one worker has slots. Raises Failed."""
        self._wait_for(SLOTS, START_SECONDS)
        if (count := len(begun(self.lines()))) < SLOTS:
            raise Failed(f"{count} in hand after {START_SECONDS:.0f} s")
        # One that prefetches leaves nothing for a second worker, which is idle then.
        self._wait_for(SLOTS * self._scenario.workers, SECOND_WORKER_SECONDS)

    def _wait_for(self, count: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        while len(begun(self.lines())) < count and time.monotonic() < until:
            self._start_again()
            time.sleep(LOOK_SECONDS)

    def watch(self) -> float:
        """Do what befalls them, and look on until it is over; the Unix time of the fault."""
        faults = list(self._scenario.faults)
        began = time.time()
        fault_at = began + faults[0][0]
        over_at = began + faults[-1][0]
        another_at = over_at + ANOTHER_EVERY_SECONDS
        while (now := time.time()) < over_at + LIMIT_SECONDS:
            while faults and now >= began + faults[0][0]:
                self._do(faults.pop(0)[1])
            self._start_again()
            if is_over(self.messages, self.lines(), now, over_at, QUIET_SECONDS):
                break
            if not faults and now >= another_at:
                another_at = now + ANOTHER_EVERY_SECONDS
                with contextlib.suppress(Failed):
                    self.enqueue([f"another-{now:.0f}"])
            time.sleep(LOOK_SECONDS)
        return fault_at

    def _do(self, what: str) -> None:
        assert self._server.process is not None or what == "start redis"
        match what:
            case "kill":
                self._workers[0].kill()
            case "terminate":
                self._workers[0].terminate()
            case "start":
                self.start()
            case "kill redis":
                self._server.stop(kill=True)
            case "start redis":
                self._server.start()
            case "pause redis":
                self._server.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
            case "resume redis":
                self._server.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]

    def _start_again(self) -> None:
        """What a Deployment does for a container that has ended by itself."""
        for number, worker in enumerate(self._workers):
            if worker.told_to_end or worker.process.poll() is None:
                continue
            if not worker.ended_at:
                worker.ended_at = time.monotonic()
                self.ended_by_themselves += 1
            elif time.monotonic() > worker.ended_at + AGAIN_SECONDS:
                worker.kill()
                task = replace(self._task, start=number)
                self._workers[number] = Worker(self._entry.worker(task), task)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.kill()


def whereabouts(client: Any, messages: Iterable[str]) -> dict[str, set[str]]:
    """The keys that have each of these messages, in their name or their value; without those in none."""
    sought = {message: message.encode() for message in messages}
    found: dict[str, set[str]] = {}
    for key in client.scan_iter(count=1000):
        content = key + b" " + _content(client, key)
        for message, text in sought.items():
            if text in content:
                found.setdefault(message, set()).add(key.decode().replace(message, "…"))
    return found


def _content(client: Any, key: bytes) -> bytes:
    reads = {
        b"string": lambda: client.get(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: client.xrange(key),
    }
    # One that has gone since it was listed is of the type "none".
    read = reads.get(client.type(key))
    return repr(read()).encode() if read else b""


def measure(entry: Entry, scenario: Scenario, folder: Path) -> dict[str, Any]:
    """One row. Raises Failed."""
    with EmbeddedRedis(arguments=("--appendonly", "yes")) as server:
        task = Task(server.url, folder, scenario.handler_seconds, DRAIN_SECONDS)
        run = Run(entry, scenario, server, task)
        try:
            run.enqueue(run.messages)
            for _ in range(scenario.workers):
                run.start()
            run.until_in_hand()
            fault_at = run.watch()
            lines = run.lines()
            with redis.Redis.from_url(server.url, socket_timeout=10) as client:
                left = whereabouts(client, undone(run.messages, lines))
            counted = row(run.messages, lines, left, fault_at)
            return {**counted, "ended_by_themselves": run.ended_by_themselves}
        finally:
            run.close()
