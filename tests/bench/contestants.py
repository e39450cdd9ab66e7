"""Who takes part, in which environment, and in what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.environments import python_with
from tests.support.v7 import REQUIREMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = Path(__file__).parent / "programs"
WORKER = Path(__file__).parents[2] / "worker"
BASE = "redis-message-queue 7.0.0"
OURS = "this library"


@dataclass(frozen=True)
class Contestant:
    """A library in an environment of its own, and the scenarios that it can do."""

    name: str
    environment: str
    requirements: tuple[str, ...]
    program: str
    scenarios: tuple[str, ...]
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    programs: Path = PROGRAMS

    def program_for(self, scenario: str) -> tuple[str, str]:
        """Module and class of the program for a scenario."""
        module, program = self.program.split(":")
        return module, "InFlight" if scenario in STATE else program

    def python(self) -> Path:
        """Its interpreter, installed at the first use. Raises Unavailable."""
        return python_with(self.environment, *self.requirements)


_QUEUE = ("publish_dedup", "publish", "process", "async_publish_dedup", "async_publish", "async_process")
_BATCHED = ("publish_many", "loop", "batches", "async_publish_many", "async_loop", "async_batches")
STATE = ("oldest", "expired", "memory")
_BARE = ("publish", "process", "publish_many", "async_publish", "async_process")


def _peer(name: str, program: str, *requirements: str) -> Contestant:
    return Contestant(name, f"bench-{name}", requirements, f"peers:{program}", ("publish", "process", "idle"))


# redis-py 7 is what 7.0.0 can use: the same client under both makes the ratio one of the two libraries.
CONTESTANTS = (
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
)
