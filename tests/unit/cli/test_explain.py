"""What `redisqueue explain` makes of a status, where no operator can be asked."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.redisqueue_cases import budget, schedule

from redisqueue_operator.budget import resource as budgets
from redisqueue_operator.budget.shares import Sharing
from redisqueue_operator.budget.status import build_status as status_of_budget
from redisqueue_operator.cli.commands.cluster.explain import recorded
from redisqueue_operator.cli.explained import EXPLAINERS
from redisqueue_operator.cli.kubectl import plain_name
from redisqueue_operator.cli.options import UserError
from redisqueue_operator.decide.budget import Claim, shares, why
from redisqueue_operator.decide.due import progress_of
from redisqueue_operator.schedule import resource as schedules
from redisqueue_operator.schedule.status import IN_FORCE, SUSPENDED
from redisqueue_operator.schedule.status import build_status as status_of_schedule


@pytest.mark.parametrize(
    ("reason", "blocked_by", "lines"),
    [
        ("Budget", "", ["2026-01-01T00:00:00Z: from 1 to 3 workers: Budget shop"]),
        (
            "BacklogPerSlot",
            "Budget",
            ["2026-01-01T00:00:00Z: from 1 to 3 workers: BacklogPerSlot", "held back by Budget shop"],
        ),
    ],
)
def test_a_budget_is_named(reason: str, blocked_by: str, lines: list[str]) -> None:
    decision = {"at": "2026-01-01T00:00:00Z", "from": 1, "to": 3, "reason": reason, "budget": "shop"}
    assert list(recorded({"decision": {**decision, "blockedBy": blocked_by}})) == lines


def test_a_budget_of_a_status_of_before_has_no_name() -> None:
    decision = {"at": "2026-01-01T00:00:00Z", "from": 1, "to": 3, "reason": "Budget"}
    assert list(recorded({"decision": decision})) == ["2026-01-01T00:00:00Z: from 1 to 3 workers: Budget"]


@pytest.mark.parametrize("kind", ["rqb", "rqs"])
def test_what_nobody_has_looked_at_has_no_numbers(kind: str) -> None:
    """The status is what the definition gives to a new object."""
    assert list(EXPLAINERS[kind]({"observedGeneration": -1})) == ["no operator has looked at it yet"]
    (told,) = EXPLAINERS[kind]({"observedGeneration": 3, "conditions": []})
    assert told in ("it is not shared out", "no schedule is in force")


def test_of_a_budget_it_says_who_has_what_and_why() -> None:
    claims = (
        Claim("low", wanted=9, current=3, busy=3),
        Claim("high", wanted=2, current=1, busy=1, minimum=1, priority=5),
    )
    sharing = Sharing(budgets.parse(budget(maxReplicas=4)), claims, shares(claims, (4, math.inf, math.inf)))
    first, *lines = EXPLAINERS["rqb"](status_of_budget(sharing, {}, 0))
    assert first == "2 queues want 11 workers and have 4"
    rows = {line.split()[0]: line for line in lines}
    assert [*rows] == ["QUEUE", "low", "high"], "who lacks most comes first"
    assert rows["low"].split()[1:8] == ["0", "0", "9", "3", "3", "2", "2"]
    assert rows["low"].endswith("has more than its part: idle workers go, busy ones finish")
    assert rows["high"].endswith("gets its part once workers of others have finished")
    assert why(sharing.shares["high"], "shop").split(": ") == [
        "budget shop",
        "1 of 2 wanted, 2 are its part",
        "it gets its part once workers of others have finished",
    ], "explain of the queue itself has the same words"


def test_of_a_schedule_it_says_what_became_of_its_ticks_and_when_the_next_one_is() -> None:
    obj = schedule(schedule="@daily", timeZone="Europe/Berlin")
    obj["metadata"] |= {"uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    parsed, now = schedules.parse(obj), datetime(2026, 1, 5, tzinfo=UTC)
    fresh = progress_of({}, ("@daily", "Europe/Berlin", False), parsed.created)
    days = [now - timedelta(days=each) for each in (3, 2, 1)]
    progress = fresh.enqueued(days[0], "u-1", days[0]).left_out(days[1], 2, "QueueMissing", now)
    progress = progress.left_out(days[2], 1, "", now)
    status = status_of_schedule(parsed, progress, IN_FORCE, {}, now, queue="emails", upcoming=now)
    assert [" ".join(line.split()) for line in EXPLAINERS["rqs"](status)] == [
        "@daily (Europe/Berlin) into the queue emails",
        "next tick: 2026-01-05T00:00:00Z",
        "TICK OUTCOME MISSED AT WHY OR WHICH MESSAGE",
        "2026-01-04T00:00:00Z Missed 1 2026-01-05T00:00:00Z nobody was there in time",
        "2026-01-03T00:00:00Z Missed 2 2026-01-05T00:00:00Z QueueMissing",
        "2026-01-02T00:00:00Z Enqueued - 2026-01-02T00:00:00Z u-1",
    ]
    stopped = progress.under("@daily", "Europe/Berlin", suspend=True, now=now)
    assert "suspended: no tick is enqueued" in EXPLAINERS["redisqueueschedules"](
        status_of_schedule(parsed, stopped, SUSPENDED, status, now)
    )


@pytest.mark.parametrize("kind", ["rqb", "rqs"])
def test_of_what_nobody_has_looked_at_it_says_so(kind: str) -> None:
    assert list(EXPLAINERS[kind]({})) == ["no operator has looked at it yet"]


def test_a_name_of_another_kind_is_refused_before_kubectl_is_asked() -> None:
    for name in ("emails", "rq/emails", "redisqueue.redisqueue.dev/emails"):
        assert plain_name(name) == "emails"
    with pytest.raises(UserError, match="'rqr/emails' is no RedisQueue: give rq/emails"):
        plain_name("rqr/emails")
