"""Who takes part in `make bench-losses`, with which settings, and what befalls each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.contestants import ASYNQ, BULLMQ, PROGRAMS, WORKER, Foreign
from tests.bench.entries import ENVIRONMENT
from tests.support.environments import python_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SLOTS = 16
FOLDER = PROGRAMS / "losses"


@dataclass(frozen=True)
class Task:
    """What a worker is started for: where the messages are, where its handlers write, and how long they take.

    `folder` is that of the run; `start` counts its workers.
    """

    url: str
    folder: Path
    handler_seconds: float
    drain_seconds: int
    start: int = 0

    @property
    def book(self) -> Path:
        """Where the handlers write."""
        return self.folder / "book"

    @property
    def environment(self) -> dict[str, str]:
        """For the programs of `programs/losses`."""
        return {
            "LOSSES_URL": self.url,
            "LOSSES_BOOK": str(self.book),
            "LOSSES_SECONDS": str(self.handler_seconds),
            "LOSSES_DRAIN_SECONDS": str(self.drain_seconds),
            "PYTHONPATH": f"{FOLDER}:{WORKER}",
        }


def _short(name: str) -> str:
    return name.partition(" ")[0].strip(",")


@dataclass(frozen=True)
class Entry:
    """A contestant. `told` says what differs from its defaults; both commands raise Unavailable."""

    name: str
    told: str
    worker: Callable[[Task], Sequence[str]]
    enqueue: Callable[[Task, Sequence[str]], Sequence[str]]
    only: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Its name without the version."""
        return _short(self.name)


@dataclass(frozen=True)
class Scenario:
    """What befalls a worker that has 16 in hand and 16 waiting: so many seconds later, what is done."""

    title: str
    handler_seconds: float
    faults: tuple[tuple[float, str], ...]
    workers: int = 1


MESSAGES = 2 * SLOTS
GRACE_SECONDS = 10.0
DRAIN_SECONDS = 8
SCENARIOS = {
    "killed": Scenario("SIGKILL", 10, ((1, "kill"), (1, "start"))),
    "restarted": Scenario("Redis killed, back after 15 s", 10, ((1, "kill redis"), (16, "start redis"))),
    "paused": Scenario("Redis silent for 75 s", 20, ((3, "pause redis"), (78, "resume redis")), workers=2),
    "stopped": Scenario(
        "SIGTERM, 10 s of 20 s", 20, ((1, "terminate"), (1, "start"), (1 + GRACE_SECONDS, "kill"))
    ),
}


def _python(name: str, told: str, requirements: Sequence[str], *command: str) -> Entry:
    """One of Python: its program is beside the interpreter of an environment of its own."""

    def interpreter() -> Path:
        return python_with(f"losses-{_short(name)}", *requirements)

    def worker(task: Task) -> Sequence[str]:
        program, *words = command
        return [str(interpreter().with_name(program)), *(word.format(start=task.start) for word in words)]

    def enqueue(_: Task, messages: Sequence[str]) -> Sequence[str]:
        module = f"{_short(name)}_tasks"
        return [str(interpreter()), str(FOLDER / "enqueue.py"), module, *messages]

    return Entry(name, told, worker, enqueue)


def _foreign(name: str, contestant: Foreign, told: str) -> Entry:
    def command(task: Task, scenario: str, **options: object) -> Sequence[str]:
        return contestant.command("", scenario, task.url, task.handler_seconds, **options)

    def worker(task: Task) -> Sequence[str]:
        book, drain = str(task.book), task.drain_seconds
        return command(task, "book", slots=SLOTS, book=book, drain_seconds=drain)

    def enqueue(task: Task, messages: Sequence[str]) -> Sequence[str]:
        return command(task, "enqueue", messages=list(messages))

    return Entry(name, told, worker, enqueue)


def _ours(name: str, told: str, *only: str, in_place: bool = False) -> Entry:
    def python() -> str:
        return str(python_with("bench-worker", *ENVIRONMENT))

    def worker(task: Task) -> Sequence[str]:
        settings = {
            "queue": "bench",
            "redis-url": task.url,
            "concurrency": SLOTS,
            "visibility-timeout-seconds": 30,
            "drain-timeout-seconds": task.drain_seconds,
            "http-port": 0,
            "run-dir": task.folder / f"run-{0 if in_place else task.start}",
            "worker-id": f"worker-{0 if in_place else task.start}",
        }
        options = [f"--{option}={value}" for option, value in settings.items()]
        return [python(), "-m", "redisqueue_worker.cli", "run", "book:handle", *options]

    def enqueue(_: Task, messages: Sequence[str]) -> Sequence[str]:
        return [python(), str(FOLDER / "enqueue.py"), "our_tasks", *messages]

    return Entry(name, told, worker, enqueue, only)


_RQ_OPTIONS = ("--maintenance-interval", "15", "--job-monitoring-interval", "5", "bench")
OURS = "ours"
ENTRIES: tuple[Entry, ...] = (
    _ours(OURS, "threads; a lease of 30 s (120 s); a drain of 8 s"),
    _ours(
        "ours, in its pod again",
        "the same run directory, as a container has that is started again in its pod",
        "killed",
        in_place=True,
    ),
    _python(
        "rq 3.0.0",
        "16 workers; `Retry(max=5)` (none: a job whose worker died is failed); looks for abandoned ones every"
        " 15 s (10 min), which have been silent for 60 s and a heartbeat of 5 s (30 s)",
        ("rq==3.0.0", "redis==8.1.0"),
        "python",
        str(FOLDER / "rq_tasks.py"),
        str(SLOTS),
        *_RQ_OPTIONS,
    ),
    _python(
        "celery 5.7.0",
        "prefork; `acks_late`, `reject_on_worker_lost`, prefetch multiplier 1, visibility timeout 30 s (1 h),"
        " looks for what is older every 5 s (100 s), tries to connect for ever (100 times), cancels tasks"
        " when the connection is lost, soft shutdown of 8 s with `REMAP_SIGTERM=SIGQUIT`",
        ("celery[redis]==5.7.0",),
        "celery",
        "--app=celery_tasks",
        "worker",
        "--hostname=worker-{start}@%h",
        f"--concurrency={SLOTS}",
        "--loglevel=WARNING",
    ),
    _python(
        "dramatiq 2.2.1",
        "one process of 16 threads; a heartbeat timeout of 30 s (60 s); every tenth command looks for"
        " messages of the dead (every thousandth); shutdown timeout 8 s (10 min)",
        ("dramatiq[redis]==2.2.1",),
        "dramatiq",
        "dramatiq_tasks",
        "--processes=1",
        f"--threads={SLOTS}",
        f"--worker-shutdown-timeout={DRAIN_SECONDS * 1000}",
    ),
    _python(
        "arq 0.28.0",
        "`job_timeout` 30 s (300 s), `job_completion_wait` 8 s (0), no results",
        ("arq==0.28.0",),
        "arq",
        "arq_tasks.WorkerSettings",
    ),
    _python(
        "taskiq 0.13.0",
        "stream broker of taskiq-redis 1.2.4; `idle_timeout` 30 s (10 min), reads one at a time (100), a lock"
        " of 10 s (for ever); one process, `--wait-tasks-timeout` 8 s (none)",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4"),
        "taskiq",
        "worker",
        "taskiq_tasks:broker",
        "--workers=1",
        f"--max-async-tasks={SLOTS}",
        "--ack-type=when_executed",
        f"--wait-tasks-timeout={DRAIN_SECONDS}",
    ),
    _python(
        "saq 0.26.4",
        "a timeout of 30 s (10 s), 6 attempts (1), sweeps every 5 s (60 s), grace of 8 s (none)",
        ("saq[redis]==0.26.4", "typing_extensions"),
        "saq",
        "saq_tasks.settings",
    ),
    _foreign(
        ASYNQ.name,
        ASYNQ,
        "a retry after 1 s (15 to 44 s), looks for due ones every second (5 s); lease (30 s) and the minute"
        " between two looks for lost ones cannot be set; handlers heed their context",
    ),
    _foreign(
        BULLMQ.name,
        BULLMQ,
        "looks for stalled jobs every 5 s (30 s); a lock of 30 s; `worker.close()` at SIGTERM",
    ),
)
EXTRA_ENVIRONMENT = {"REMAP_SIGTERM": "SIGQUIT"}
"""Only celery reads it."""
