"""Who takes part, in which environment, and in what."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.environments import Unavailable, go_program, node_program, python_with
from tests.support.v7 import REQUIREMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PROGRAMS = Path(__file__).parent / "programs"
WORKER = Path(__file__).parents[2] / "worker"
BASE = "redis-message-queue 7.0.0"
OURS = "this library"


@dataclass(frozen=True)
class Contestant:
    """A library in an environment of its own, and the scenarios of `run.py` that it can do."""

    name: str
    environment: str
    requirements: tuple[str, ...]
    program: str
    scenarios: tuple[str, ...]
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    programs: Path = PROGRAMS

    def provide(self) -> None:
        """Install it, where that was not done before. Raises Unavailable.

        Its source has its bytecode, as pip and the image make it: compiling is no part of a start.
        """
        python = python_with(self.environment, *self.requirements)
        if source := self.extra_environment.get("PYTHONPATH"):
            subprocess.run([python, "-m", "compileall", "-q", source], check=True)

    def command(self, starter: str, scenario: str, url: str, amount: float, **options: Any) -> list[str]:
        """What does a scenario, by `run.py` or `work.py`. Raises Unavailable."""
        python = python_with(self.environment, *self.requirements)
        module, program = self.program.split(":")
        if scenario in STATE:
            program = "InFlight"
        command = [python, self.programs / starter, module, program, scenario, url, amount]
        return [*map(str, command), *_as_json(options)]


@dataclass(frozen=True)
class Foreign:
    """A task queue of another language: one program does all that it can do of every scenario."""

    name: str
    program: Callable[[], tuple[str, ...]]
    scenarios: tuple[str, ...]
    extra_environment: Mapping[str, str] = field(default_factory=dict)

    def provide(self) -> None:
        """As `Contestant.provide`."""
        self.program()

    def command(self, _: str, scenario: str, url: str, amount: float, **options: Any) -> list[str]:
        """As `Contestant.command`."""
        return [*self.program(), scenario, url, str(amount), *_as_json(options)]


def missing(contestants: Iterable[Contestant | Foreign]) -> dict[str, str]:
    """Install all of them; what is missing for those that cannot take part here, by name."""
    reasons = {}
    for contestant in contestants:
        try:
            contestant.provide()
        except Unavailable as problem:
            reasons[contestant.name] = str(problem)
    return reasons


def runtimes() -> str:
    """What runs the contestants of other languages here."""
    found = []
    for words in (("go", "env", "GOVERSION"), ("node", "--version")):
        if shutil.which(words[0]):
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
            found.append(f", {words[0]} {said.removeprefix(words[0]).removeprefix('v')}")
    return "".join(found)


def _as_json(options: Mapping[str, Any]) -> list[str]:
    return [json.dumps(options)] if options else []


def _asynq() -> tuple[str, ...]:
    return (str(go_program("bench-asynq", PROGRAMS / "asynq")),)


def _bullmq() -> tuple[str, ...]:
    node, program = node_program("bench-bullmq", PROGRAMS / "bullmq")
    return str(node), str(program)


_QUEUE = ("publish_dedup", "publish", "process", "async_publish_dedup", "async_publish", "async_process")
_BATCHED = ("publish_many", "loop", "batches", "async_publish_many", "async_loop", "async_batches")
STATE = ("oldest", "expired", "memory")
_BARE = ("publish", "process", "publish_many", "async_publish", "async_process")


def _peer(name: str, program: str, *requirements: str) -> Contestant:
    return Contestant(name, f"bench-{name}", requirements, f"peers:{program}", ("publish", "process", "idle"))


ASYNQ = Foreign("asynq 0.26 (Go)", _asynq, ("publish_dedup", "publish"))
BULLMQ = Foreign("BullMQ 6.7 (Node)", _bullmq, ("publish_dedup", "publish", "publish_many"))
# redis-py 7 is what 7.0.0 can use: the same client under both makes the ratio one of the two libraries.
CONTESTANTS: tuple[Contestant | Foreign, ...] = (
    Contestant(
        OURS,
        "bench-ours",
        ("redis==7.4.1", "tenacity==9.2.1"),
        "redis_queues:Ours",
        (*_QUEUE, *_BATCHED, "idle", *STATE, "sampling"),
        {"PYTHONPATH": str(WORKER)},
    ),
    Contestant(BASE, "v7", (REQUIREMENT,), "redis_queues:MessageQueue", (*_QUEUE, "idle", *STATE)),
    Contestant(
        "redis-message-queue 11.0.1",
        "bench-v11",
        ("redis-message-queue==11.0.1",),
        "redis_queues:MessageQueue",
        (*_QUEUE, "idle"),
    ),
    Contestant(
        "bare redis-py",
        "bench-ours",
        ("redis==7.4.1", "tenacity==9.2.1"),
        "redis_queues:RedisPy",
        (*_BARE, "idle"),
    ),
    _peer("rq", "Rq", "rq"),
    _peer("dramatiq", "Dramatiq", "dramatiq[redis]"),
    _peer("arq", "Arq", "arq"),
    _peer("saq", "Saq", "saq[redis]", "typing_extensions"),
    _peer("taskiq", "Taskiq", "taskiq", "taskiq-redis"),
    _peer("celery", "Celery", "celery[redis]"),
    ASYNQ,
    BULLMQ,
)
