"""Whole workers that take part in `make bench-worker`, and what each scenario asks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.bench.contestants import ASYNQ, BULLMQ, CONTESTANTS, WORKER, Contestant, Foreign

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = ("redis==7.4.1", "tenacity==9.2.1", "prometheus-client==0.23.1")


@dataclass(frozen=True)
class Entry:
    """A contestant, about how many tasks one of its processes handles in a second, and what it can do."""

    contestant: Contestant | Foreign
    per_second: int
    scenarios: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How results and tables call it."""
        return self.contestant.name


@dataclass(frozen=True)
class Load:
    """What a scenario asks of a worker: slots, the size of messages, the mean duration of a handler.

    A duration is some whole number of ms between half and one and a half of `handler_ms`. `share` is the
    part of the usual rate that is to be expected at most.
    """

    title: str
    slots: int = 16
    payload_bytes: int = 100
    handler_ms: int = 0
    processes: int = 1
    share: float = 1.0

    def title_for(self, entry: Entry) -> str:
        """How a table calls the scenario of this contestant."""
        return self.title.format(**self.options(entry))

    def options(self, entry: Entry) -> dict[str, Any]:
        """What is told to the contestant's program."""
        asked = {"slots": self.slots, "payload_bytes": self.payload_bytes, "handler_ms": self.handler_ms}
        return {**asked, **entry.options}

    def per_second(self, entry: Entry) -> float:
        """The most that the processes may handle in a second, about."""
        rate = entry.per_second * self.share * min(self.processes, 2)
        return min(rate, self.processes * self.slots * 1000 / self.handler_ms) if self.handler_ms else rate


SCENARIOS = {
    "noop": Load("nothing to do, 100 B, {slots} slots"),
    "noop_100": Load("nothing to do, 100 B, {slots} slots", slots=100),
    "slow": Load("10 ± 5 ms of waiting, 100 B, {slots} slots", handler_ms=10),
    "large": Load("nothing to do, 10 KB, {slots} slots", payload_bytes=10_240, share=0.4),
    "four": Load("nothing to do, 100 B, 4 processes of {slots} slots", processes=4),
    "start": Load("start of the process → first message"),
    "idle": Load("idle"),
    "killed": Load("killed with 16 messages in hand"),
}
RATES = ("noop", "noop_100", "slow", "large", "four")
AS_THEY_COME = ("noop", "four", "idle")
SIDE_BY_SIDE = (*RATES, "start", "idle", "killed")


def _ours(name: str, program: str, per_second: int, scenarios: tuple[str, ...], **options: Any) -> Entry:
    contestant = Contestant(
        name, "bench-worker", ENVIRONMENT, f"our_worker:{program}", (), {"PYTHONPATH": str(WORKER)}
    )
    return Entry(contestant, per_second, scenarios, options)


def _peer(name: str, per_second: int) -> Entry:
    return Entry(next(one for one in CONTESTANTS if one.name == name), per_second, AS_THEY_COME)


# What is in none's hands comes back in the same way from threads and tasks.
_TASKS = tuple(what for what in SIDE_BY_SIDE if what != "killed")
OURS: tuple[Entry, ...] = (
    _ours("ours, threads", "Threads", 30_000, SIDE_BY_SIDE),
    _ours("ours, tasks", "Tasks", 30_000, _TASKS),
    _ours("ours, 1 thread", "Threads", 6000, AS_THEY_COME, slots=1),
)
FOREIGN: tuple[Entry, ...] = (
    Entry(ASYNQ, 20_000, SIDE_BY_SIDE),
    Entry(BULLMQ, 20_000, SIDE_BY_SIDE),
)
PEERS: tuple[Entry, ...] = (
    _peer("taskiq", 4000),
    _peer("dramatiq", 3500),
    _peer("saq", 2500),
    _peer("celery", 1600),
    _peer("rq", 500),
    _peer("arq", 500),
)
ENTRIES: tuple[Entry, ...] = (*OURS, *FOREIGN, *PEERS)
