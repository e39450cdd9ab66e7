"""Starts real worker processes on a handler module of the test's own, and waits for what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.waiting import PATIENCE_SECONDS, eventually
from tests.support.whole_lines import whole_lines

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import QueueSample, sample

if TYPE_CHECKING:
    import redis

QUEUE = "jobs"
KEYS = QueueKeys(QUEUE)

# Handlers talk to the test by files, so that they do not care whether Redis is there.
HANDLERS = """
import asyncio, os, threading, time
from dataclasses import dataclass
from pathlib import Path
from redisqueue_worker import Context, DeadLetter, Retry

FOLDER = Path(__file__).parent

def note(what, text):
    with open(FOLDER / what, "a") as file:
        file.write(f"{text}\\n")

def gate_is_open(text):
    return (FOLDER / "go").exists() or (FOLDER / f"go-{text}").exists()

def gated(payload: str, context: Context):
    note("started", payload)
    while not gate_is_open(payload):
        time.sleep(0.01)
    note("finished", payload)

async def gated_async(payload: str, context: Context):
    note("started", payload)
    while not gate_is_open(payload):
        await asyncio.sleep(0.01)
    note("finished", payload)

def outcome(payload: str, context: Context):
    note("started", f"{payload} {context.delivery_count}")
    if payload == "retry" and context.delivery_count == 1:
        raise Retry(0.05)
    if payload == "dead":
        raise DeadLetter("nobody wants it")
    if payload == "boom":
        raise RuntimeError("boom happened")
    note("finished", f"{payload} {context.delivery_count}")

def returning(payload: str, context: Context):
    outcome(payload, context)
    return b"odd" if payload == "odd" else {"told": payload, "delivery": context.delivery_count}

async def returning_async(payload: str, context: Context):
    return returning(payload, context)

def looking(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    while not gate_is_open(payload) and not (payload.startswith("looks") and context.cancelled):
        time.sleep(0.01)
    note("finished", payload)
    return payload

async def looking_async(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    try:
        while not gate_is_open(payload):
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note("cancelled", f"{payload} {context.cancelled}")
        raise
    note("finished", payload)
    return payload

def broken(payload: str, context: Context):
    note("started", f"{payload} {context.delivery_count}")
    if payload == "dead":
        raise DeadLetter("nobody wants it")
    if payload == "retry" and context.delivery_count < 3:
        raise Retry(0)
    if not payload.startswith("good") and not (FOLDER / "fixed").exists():
        raise RuntimeError("broken")
    note("finished", f"{payload} {context.delivery_count}")

def gated_or_dead(payload: str, context: Context):
    if payload == "dead":
        raise DeadLetter("nobody wants it")
    gated(payload, context)

def size(payload: str):
    note("finished", len(payload))

def postponing(payload: str, context: Context):
    note("started", payload)
    if payload.startswith("again") and not gate_is_open("done"):
        raise Retry(float(payload.partition(" ")[2]))
    note("finished", payload)

SEEN = set()

def broken_at_first(payload: str, context: Context):
    note("started", payload)
    while not gate_is_open(payload):
        time.sleep(0.01)
    if payload not in SEEN:
        SEEN.add(payload)
        raise RuntimeError("broken")
    note("finished", f"{payload} {context.delivery_count}")

@dataclass
class Order:
    id: int

def order(order: Order):
    note("finished", order.id)

def hang_once(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    if context.delivery_count == 1:
        time.sleep(600)
    note("finished", payload)

async def stubborn(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    while context.delivery_count == 1:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            note("cancelled", payload)
    note("finished", payload)

def leave_a_thread(payload: str):
    threading.Thread(target=time.sleep, args=(600,)).start()
    note("finished", payload)

def perish(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    if context.delivery_count == 1:
        match payload:
            case "exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), 9)
            case "crash":
                import ctypes
                ctypes.string_at(0)
            case "hang":
                time.sleep(600)
            case "boom":
                raise RuntimeError("boom happened")
    context.logger.info("perish survived")
    note("finished", payload)

def perish_always(payload: str):
    if payload == "exit":
        os._exit(3)
    note("finished", payload)

def lasting(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    context.extend(60)
    while not context.draining and not gate_is_open(payload):
        time.sleep(0.01)
    note("finished", f"{payload} draining" if context.draining else payload)

async def own_pid_async(payload: str):
    await asyncio.sleep(0)
    note("finished", f"{payload} {os.getpid()}")

def own_pid(payload: str):
    note("finished", f"{payload} {os.getpid()}")

def record(payload: str):
    note("started", payload)
    time.sleep(0.002)

def suicidal(payload: str, context: Context):
    note("started", payload)
    if payload == "poison" or context.delivery_count == 1:
        os._exit(7)
    note("finished", payload)

WORKER = os.getppid() if os.environ.get("REDISQUEUE_SLOTS") == "processes" else os.getpid()

# "poison" kills its worker always; "2 kills 1 failure" does so twice, and then raises once.
def deadly(payload: str, context: Context):
    note("events", f"start\\t{WORKER}\\t{payload}\\t{context.delivery_count}")
    time.sleep(0.15)
    kills, _, failures = payload.partition(" kills ") if " kills " in payload else ("0", "", "0")
    if payload.startswith("poison") or context.delivery_count <= int(kills):
        os.kill(WORKER, 9)
        time.sleep(60)
    if context.delivery_count <= int(kills) + int(failures.split()[0]):
        raise RuntimeError("passing trouble")
    note("events", f"end\\t{WORKER}\\t{payload}\\t{context.delivery_count}")
    note("finished", payload)

async def deadly_async(payload: str, context: Context):
    await asyncio.to_thread(deadly, payload, context)

TALLY = open(FOLDER / "tally", "a", buffering=1)

def tally(payload: str):
    if payload.startswith("held"):
        gated(payload, None)
    TALLY.write(payload + "\\n")

async def tally_async(payload: str):
    if payload.startswith("held"):
        await gated_async(payload, None)
    TALLY.write(payload + "\\n")

RUNNING, PEAKS = set(), open(FOLDER / "peaks", "a", buffering=1)

def brief(payload: str):
    RUNNING.add(payload)
    PEAKS.write(f"{len(RUNNING)}\\n")
    time.sleep(0.002)
    tally(payload)
    RUNNING.discard(payload)

async def brief_async(payload: str):
    RUNNING.add(payload)
    PEAKS.write(f"{len(RUNNING)}\\n")
    await asyncio.sleep(0.002)
    await tally_async(payload)
    RUNNING.discard(payload)

BEGUN = open(FOLDER / "begun", "a", buffering=1)

def brief_unless_bad(payload: str):
    BEGUN.write(payload + "\\n")
    time.sleep(0.002)
    if payload.startswith("bad") and not (FOLDER / "fixed").exists():
        raise RuntimeError("broken")
    TALLY.write(payload + "\\n")

async def brief_unless_bad_async(payload: str):
    BEGUN.write(payload + "\\n")
    await asyncio.sleep(0.002)
    if payload.startswith("bad") and not (FOLDER / "fixed").exists():
        raise RuntimeError("broken")
    TALLY.write(payload + "\\n")

LEAK = []

def leak(payload: str):
    LEAK.append(b"x" * 8_000_000)
    note("finished", f"{payload} {os.getpid()}")

async def hang_once_async(payload: str, context: Context):
    note("started", f"{payload} {os.getpid()}")
    if context.delivery_count == 1:
        await asyncio.sleep(600)
    note("finished", payload)
"""


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return _state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or before it is read
        return False


def freeze(pid: int, client: redis.Redis) -> None:
    """SIGSTOP, and wait until the process stands still and Redis has done all that it was asked for by it."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _state_of(pid) == "T", f"{pid} is stopped")
    client.ping()


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started, and those that these did; zombies too."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found += map(int, thread.read_text().split())
    return found + [one for child in found for one in descendants(child)]


def publish(client: redis.Redis, *payloads: str) -> None:
    """Put messages at the end of the queue, in this order."""
    client.lpush(KEYS.pending, *(envelope.encode(payload) for payload in payloads))


def counters(client: redis.Redis) -> QueueSample:
    """The queue's counters."""
    found = sample(client, [KEYS])[0]
    assert isinstance(found, QueueSample), found
    return found


class WorkerProcess:
    """One `redisqueue-worker run`; a context manager that never leaves a process behind.

    Args:
        folder: where the handler module and what it notes live; shared by workers of one test.
        settings: by their names, such as `max_attempts=1`.
    """

    def __init__(self, folder: Path, redis_url: str, handler: str, **settings: object) -> None:
        self.folder = folder
        (folder / "test_handlers.py").write_text(HANDLERS)
        self.name = str(settings.get("worker_id", "worker-1"))
        self.run_dir = folder / self.name
        self.settings = {
            "redis_url": redis_url,
            "queue": QUEUE,
            "handler": f"test_handlers:{handler}",
            "worker_id": self.name,
            "run_dir": self.run_dir,
            "http_port": 0,
            "retry_initial_seconds": 0.05,
            **settings,
        }
        self.log_file = folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        ours = {f"REDISQUEUE_{name.upper()}": str(value) for name, value in self.settings.items()}
        others = {name: value for name, value in os.environ.items() if not name.startswith("REDISQUEUE_")}
        return {**others, **ours}

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start another sub-command with the same environment."""
        return subprocess.Popen(
            [sys.executable, "-m", "redisqueue_worker.cli", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def answer(self, *words: str) -> tuple[str, int]:
        """What another sub-command says, and its exit code."""
        process = self.command(*words)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return said, process.returncode

    def start(self) -> WorkerProcess:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "redisqueue_worker.cli", "run"],
                env=self.environment,
                cwd=self.folder,
                stderr=log,
            )
        return self

    def __enter__(self) -> WorkerProcess:
        self.start()
        try:
            self.logged("started")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code."""
        assert self.process is not None
        return self.process.wait(timeout_seconds)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_lines(self) -> list[dict[str, Any]]:
        lines = whole_lines(self.log_file)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.log_lines()]

    def logged(self, message: str, count: int = 1) -> dict[str, Any]:
        """Wait for a log line with this text (the `count`-th)."""

        def look() -> dict[str, Any] | None:
            found = [line for line in self.log_lines() if line["message"] == message]
            return found[count - 1] if len(found) >= count else None

        try:
            line = eventually(look, f"log line {message!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log_file.read_text()}") from None
        assert line is not None
        return line

    def noted(self, what: str) -> list[str]:
        """What handlers noted, in order, but the line that is being written."""
        return whole_lines(self.folder / what)

    def until_noted(self, what: str, count: int) -> list[str]:
        """Wait until handlers noted something `count` times."""
        return eventually(
            lambda: noted if len(noted := self.noted(what)) >= count else None, f"{count} x {what}"
        )

    def open_gate(self, payload: str = "") -> None:
        """Let gated handlers finish: all, or those of one payload."""
        (self.folder / (f"go-{payload}" if payload else "go")).touch()
