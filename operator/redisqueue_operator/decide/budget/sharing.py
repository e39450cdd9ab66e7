"""How RedisQueues share a budget of workers: what each wants goes in, what each may have comes out.

Nothing is remembered: who has what now is all the history there is. It moves only when a want does, and wants
are stabilized before they come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from redisqueue_operator.decide.budget.allocation import Allocation, Amount, Limit, less

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Verdict = Literal["Enough", "Limited", "Waiting", "GivesWay", "Uncounted"]
REASONS: Mapping[Verdict, str] = {
    "Enough": "it has all that it wants",
    "Limited": "the rest belongs to queues of a higher priority, or of the same one with no more",
    "Waiting": "it gets its part once workers of others have finished",
    "GivesWay": "it has more than its part: idle workers go, busy ones finish",
    "Uncounted": "its pods do not request what the budget limits, so that their number does not grow: "
    "set requests in spec.worker.resources",
}
"""Why a queue may have as many as it may, in words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one queue wants of a budget and has of it, in workers."""

    queue: str
    wanted: int
    """The need within the queue's own limits, after its stabilization windows."""
    current: int
    busy: int = 0
    """Those of `current` that work, or do not say: they are never taken."""
    minimum: int = 0
    priority: int = 0
    """The larger goes first."""
    held: int = 0
    """Workers that stay whatever is decided: the need is unknown, or somebody else chooses the number."""
    cost: Amount | None = (1, 0, 0)
    """Of one worker; None where its pod does not request what the budget limits."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What one queue may have of its budget, in workers."""

    ceiling: int
    """The most for now. Fewer than there are: idle ones go."""
    target: int
    """What it is to have once those who have too many gave way."""
    wanted: int
    verdict: Verdict


def shares(claims: Sequence[Claim], limit: Limit) -> dict[str, Allotment]:
    """Who may have how many: first all minimums, then the higher priority, within one the one who has fewer.

    All ceilings together stay within the limit, or within what there is already where that is more. A worker
    that would not fit before others have gone keeps its place: smaller ones do not take it again and again.
    """
    ordered = sorted(claims, key=lambda claim: claim.queue)
    costs = [(1, 0, 0) if claim.cost is None else claim.cost for claim in ordered]
    held = [claim.current if claim.cost is None else claim.held for claim in ordered]
    # What would be right, and what is possible as long as nobody's busy workers go.
    right = _entitled(ordered, costs, held, limit)
    busy = [max(each, min(claim.busy, claim.current)) for claim, each in zip(ordered, held, strict=True)]
    possible = _entitled(ordered, costs, busy, limit)
    goals = [max(min(a, b), each) for a, b, each in zip(right, possible, held, strict=True)]
    granted = Allocation(costs, [claim.current for claim in ordered], limit)
    granted.fill(goals, *_order(ordered), reserve=True)
    return {
        claim.queue: _share(claim, min(goals[n], granted.counts[n]), right[n])
        for n, claim in enumerate(ordered)
    }


def minimums_fit(claims: Sequence[Claim], limit: Limit) -> bool:
    """Whether the minimums, and what is held, are within the limit all together."""
    costs = [(1, 0, 0) if claim.cost is None else claim.cost for claim in claims]
    least = [claim.current if claim.cost is None else max(claim.held, claim.minimum) for claim in claims]
    return all(each >= 0 for each in less(limit, least, costs))


def used(claims: Sequence[Claim]) -> Amount:
    """What all have now."""
    return _total((claim, claim.current) for claim in claims)


def asked(claims: Sequence[Claim]) -> Amount:
    """What all want."""
    return _total((claim, max(claim.wanted, claim.held)) for claim in claims)


def _total(counts: Iterable[tuple[Claim, int]]) -> Amount:
    total = [0, 0, 0]
    for claim, count in counts:
        for part, each in enumerate(claim.cost or (1, 0, 0)):
            total[part] += each * count
    return total[0], total[1], total[2]


def _share(claim: Claim, ceiling: int, right: int) -> Allotment:
    wanted = max(claim.wanted, claim.held)
    if claim.cost is None:
        return Allotment(claim.current, claim.current, claim.wanted, "Uncounted")
    if ceiling >= wanted:
        return Allotment(ceiling, right, wanted, "Enough")
    if ceiling < claim.current:
        return Allotment(ceiling, right, wanted, "GivesWay")
    return Allotment(ceiling, right, wanted, "Waiting" if ceiling < right else "Limited")


def _entitled(claims: Sequence[Claim], costs: list[Amount], held: list[int], limit: Limit) -> list[int]:
    """How many each is to have where `held` cannot be taken from it."""
    wanted = [max(claim.wanted, kept) for claim, kept in zip(claims, held, strict=True)]
    if all(left >= 0 for left in less(limit, wanted, costs)):
        return wanted
    least = [
        max(kept, min(claim.minimum, want)) for claim, kept, want in zip(claims, held, wanted, strict=True)
    ]
    entitled = Allocation(costs, list(held), limit)
    # In proportion, where not even the minimums fit.
    entitled.fill(least, *_order(claims), parts=[max(1, each) for each in least])
    entitled.fill(wanted, *_order(claims))
    return entitled.counts


def _order(claims: Sequence[Claim]) -> tuple[list[int], list[int]]:
    """Of equals a queue comes first that had the worker already: nobody's leaves for another one's."""
    return [claim.priority for claim in claims], [claim.current for claim in claims]


@dataclass(frozen=True, slots=True)
class Selecting:
    """A budget, for the question whose a queue is."""

    name: str
    created_at: str
    """As the API server writes it: the order of texts is that of time."""


def owner_of(budgets: Sequence[Selecting]) -> Selecting | None:
    """Of all budgets that select one queue, the oldest counts."""
    return min(budgets, key=lambda each: (each.created_at, each.name), default=None)


def why(share: Allotment | None, budget: str) -> str:
    """A share in words; without one it is not known yet."""
    if share is None:
        return f"budget {budget}: the share is not known yet"
    reason = REASONS.get(share.verdict, share.verdict)  # of a status that a newer operator wrote
    part = f", {share.target} are its part" if share.target != share.ceiling else ""
    return f"budget {budget}: {share.ceiling} of {share.wanted} wanted{part}: {reason}"


def held_by_budget(status: Mapping[str, Any]) -> str:
    """Of a RedisQueue's status: which budget leaves it less than it wants, and why; empty where none does."""
    if budget := status.get("budget"):
        known = "ceiling" in budget
        numbers = (budget.get(part, 0) for part in ("ceiling", "share", "wanted", "reason"))
        return why(Allotment(*numbers) if known else None, budget["name"])
    decision = status.get("decision") or {}  # all that an older operator, or definition, says
    held = decision.get("blockedBy") == "Budget" and decision.get("budget")
    return f"budget {decision['budget']}" if held else ""
