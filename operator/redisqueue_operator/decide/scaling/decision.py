"""The answer of `decide`: a frozen value that can be logged, compared and shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redisqueue_operator.decide.budget.sharing import Allotment

LIMITS = ("MaxInFlight", "RateLimit")
"""Names of the terms that are ceilings: what `queue.limits` let through."""


def said(name: str, value: int, *, past: bool = False) -> str:
    """A term in words: `BacklogPerSlot asks for 3`, `RateLimit lets 3 work`."""
    if name in LIMITS:
        return f"{name} {'let' if past else 'lets'} {value} work"
    return f"{name} {'asked' if past else 'asks'} for {value}"


@dataclass(frozen=True, slots=True)
class Term:
    """One rule's opinion of how many replicas are needed, or of one of `LIMITS`, how many it lets work."""

    name: str
    value: int
    inputs: str = field(default="", compare=False)
    """The arithmetic with its numbers, for people."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured from Redis' counters; None is unknown."""

    arrivals_per_second: float | None = None
    claims_per_second: float | None = None
    eta_seconds: float | None = None
    """Until the backlog is gone at the present rates; None when unknown or when it grows."""
    waiting: int = 0
    """Messages pending or due at the last sample."""
    oldest_age_seconds: float | None = None
    """Age of the message that waits longest, a lower bound while the history is short."""
    handler_seconds: float | None = None
    """How long a slot works at one message, on average."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a RedisQueueBudget leaves a queue, and why."""

    budget: str
    """Its name; empty while the budgets were not read yet."""
    most: int | None
    """Workers; None: no more than there are, its share is not known yet."""
    text: str
    """Why, for people."""
    share: Allotment | None = None
    """The same as data; None while it is not known."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there shall be, and why.

    `reason`, the names of `terms`, `clamps` and `blocked_by` are CamelCase words and a stable API.
    """

    from_replicas: int
    to_replicas: int
    reason: str
    """What settled the number: the name of the largest term, or `ManualReplicas`, `Paused`, `Fallback`, …"""
    terms: tuple[Term, ...] = ()
    clamps: tuple[str, ...] = ()
    """The limits that cut the need, in the order they were applied."""
    blocked_by: str = ""
    """What keeps `to_replicas` from `wanted_replicas` for now; empty when nothing does."""
    victims: tuple[str, ...] = ()
    """Names of the pods to go, best first: as many as go, or fewer where pods do not exist yet."""
    recheck_after_seconds: float = math.inf
    """When time alone can change the answer; infinite when only a new fact can."""
    wanted_replicas: int = 0
    """The need within minimum and maximum, before anything holds it back. Where somebody else chooses (modes
    that write nothing, a person's number) what the rules would have written."""
    drain_busy: bool = False
    """The shrink stands although a victim is busy: a person's number, or `busyPolicy: Drain`."""
    rates: Rates = Rates()
    schedule: str = ""
    """The windows of `scaling.schedules` that were open; empty when none was."""

    @property
    def limit(self) -> int | None:
        """How many workers `queue.limits` let work; None without limits, or while that is not known."""
        return min((term.value for term in self.terms if term.name in LIMITS), default=None)

    unbudgeted_replicas: int = 0
    """The number that it would be without a RedisQueueBudget."""
    ceiling: Ceiling | None = None
    """What its RedisQueueBudget leaves it, where that cuts the number."""

    @property
    def budget(self) -> str:
        """The name of the RedisQueueBudget that cuts the number; empty where none does or is known."""
        return self.ceiling.budget if self.ceiling is not None else ""

    @property
    def because(self) -> str:
        """The reason, and of a budget its name."""
        return f"{self.reason} {self.budget}".strip() if self.reason == "Budget" else self.reason

    @property
    def changes(self) -> bool:
        """Whether a write is due."""
        return self.to_replicas != self.from_replicas

    def refused(self, why: str = "ScaleRefused") -> Decision:
        """The same where the change was refused: the number stays."""
        return replace(self, to_replicas=self.from_replicas, victims=(), blocked_by=why)
