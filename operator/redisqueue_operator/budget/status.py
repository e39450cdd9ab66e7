"""`.status` of a RedisQueueBudget, from how it was shared out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import Verdict, conditions_of, dated
from redisqueue_operator.decide.budget import asked, minimums_fit, used
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redisqueue_operator.budget.shares import Sharing

Json = dict[str, Any]
SHOWN = 50
"""So many queues are listed, those first that lack most; all are counted."""
NAMED = 5
EXCEEDED = (
    "All minReplicas together, and what cannot be taken, are more than the budget: the higher priority has"
    " its minimum first, those of one priority have parts of theirs. Raise the budget, or lower"
    " spec.scaling.minReplicas."
)
UNCOUNTED = (
    "The workers of {} do not request what is limited, so that their number does not grow: set requests in"
    " spec.worker.resources of each."
)


def build_status(sharing: Sharing, previous: Mapping[str, Any], now: float) -> Json:
    """The status to write in place of `previous`; `now` in seconds since the epoch."""
    claims, got = sharing.claims, sharing.shares
    have = used(claims)
    rows = sorted(claims, key=lambda each: (got[each.queue].ceiling - got[each.queue].wanted, each.queue))
    short = [each.queue for each in claims if got[each.queue].verdict != "Enough"]
    return {
        "observedGeneration": sharing.budget.generation,
        "queues": len(claims),
        "limited": len(short),
        "wanted": sum(share.wanted for share in got.values()),
        "workers": have[0],
        **({"cpu": f"{have[1]}m"} if sharing.budget.limit[1] < float("inf") else {}),
        **({"memory": str(have[2])} if sharing.budget.limit[2] < float("inf") else {}),
        "shares": [
            {
                "queue": each.queue,
                "priority": each.priority,
                "minimum": each.minimum,
                "wanted": got[each.queue].wanted,
                "workers": each.current,
                "busy": min(each.busy, each.current),
                "share": got[each.queue].target,
                "ceiling": got[each.queue].ceiling,
                "reason": got[each.queue].verdict,
            }
            for each in rows[:SHOWN]
        ],
        "conditions": list(_conditions(sharing, short, previous, timestamp(now))),
    }


RESOURCES = (("workers", 1), ("cpu", 1000), ("memory", 1))
"""What is limited, and how many of an Amount's units are one: processors and bytes."""


def numbers(sharing: Sharing) -> Iterator[tuple[str, str, float]]:
    """What a metric tells: limit, used or asked, of which resource, how much.

    Only of what is limited; used and asked once a queue was looked at.
    """
    claims, limit = sharing.claims, sharing.budget.limit
    have, want = used(claims), asked(claims)
    for part, (resource, units) in enumerate(RESOURCES):
        if limit[part] == float("inf"):
            continue
        yield "limit", resource, limit[part] / units
        if claims:
            yield "used", resource, have[part] / units
            yield "asked", resource, want[part] / units


def unusable(generation: int, problem: str, previous: Mapping[str, Any], now: float) -> Json:
    """The status of one whose spec says nothing usable: it limits nothing."""
    stalled: Verdict = ("False", "InvalidSpec", f"It limits nothing: {problem}")
    verdicts: dict[str, Verdict] = {
        "Ready": stalled,
        "Reconciling": ("False", *stalled[1:]),
        "Stalled": ("True", *stalled[1:]),
    }
    return {
        "observedGeneration": generation,
        "conditions": list(dated(verdicts, generation, previous, timestamp(now))),
    }


def news_of(status: Mapping[str, Any]) -> tuple[object, ...]:
    """What people are told at once when it changes."""
    conditions = conditions_of(status)
    return (
        status.get("observedGeneration"),
        *((kind, each["status"], each["reason"]) for kind, each in conditions.items()),
    )


def _conditions(sharing: Sharing, short: list[str], previous: Mapping[str, Any], now: str) -> Iterator[Json]:
    claims, got = sharing.claims, sharing.shares
    verdicts: dict[str, Verdict] = {"Ready": ("True", "InForce", f"{_queues(len(claims))} share it.")}
    if not claims:
        verdicts["Ready"] = ("True", "NoQueues", "It selects no RedisQueue that this operator has looked at.")
    if short:
        text = f"{_queues(len(short))} of {len(claims)} have less than they want: {_some(short)}."
        verdicts["Limited"] = ("True", "Scarce", text)
    else:
        verdicts["Limited"] = ("False", "Enough", "Everybody has what it wants.")
    fits = minimums_fit(claims, sharing.budget.limit)
    verdicts["MinimumsFit"] = (
        ("True", "Fit", "All minReplicas together are within the budget.")
        if fits
        else (
            "False",
            "MinimumsExceedBudget",
            EXCEEDED,
        )
    )
    uncounted = [each.queue for each in claims if got[each.queue].verdict == "Uncounted"]
    verdicts["Countable"] = (
        (
            "False",
            "MissingRequests",
            UNCOUNTED.format(_some(uncounted)),
        )
        if uncounted
        else ("True", "Counted", "Each worker requests what is limited.")
    )
    verdicts["Exclusive"] = _exclusive(sharing)
    ends = ("False", "InForce", "Nothing is under way.")
    yield from dated(
        {**verdicts, "Reconciling": ends, "Stalled": ("False", "NotStalled", "Nobody needs to act.")},
        sharing.budget.generation,
        previous,
        now,
    )


def _exclusive(sharing: Sharing) -> Verdict:
    texts = []
    if sharing.lost:
        texts.append(f"{_pairs(sharing.lost)} belong to an older budget, which counts")
    if sharing.won:
        texts.append(f"{_pairs(sharing.won)} are selected by a younger budget too, which does not count")
    if texts:
        return ("False", "Overlapping", f"{'; '.join(texts)}: have one budget select each RedisQueue.")
    return ("True", "NoOverlap", "No other budget selects its queues.")


def _queues(number: int) -> str:
    return f"{number} RedisQueue{'s' * (number != 1)}"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(sorted(names)[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    return _some([f"{queue} ({budget})" for queue, budget in pairs])
