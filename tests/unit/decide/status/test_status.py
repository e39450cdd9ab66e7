"""The fields of `.status`, and whether they are worth a write."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.observations import Story, fleet, once, pod, queue, seen, worker
from tests.support.resources import redis_queue

from redisqueue_operator.decide.scaling import Ceiling, Decision, Policy, Rates
from redisqueue_operator.decide.status import COUNTERS_SECONDS, build_status, worth_writing
from redisqueue_operator.decide.status.worth import rounded, significant
from redisqueue_operator.observe.facts import ApplyOutcome, Observation

OK = ApplyOutcome(ok=True, reason="", message="")
RQ = redis_queue()


def _status(
    observation: Observation, previous: dict[str, Any] | None = None, *, now: float = 0.0, **change: Any
) -> dict[str, Any]:
    decision = dataclasses.replace(once(observation), **change)
    return build_status(RQ, observation, decision, OK, previous or {}, now)


def test_the_scale_subresource_gets_a_number_and_a_selector() -> None:
    status = _status(fleet(queue(1), idle=2))
    assert (status["replicas"], status["selector"]) == (2, "redisqueue.dev/queue=emails")


def test_counters() -> None:
    of = queue(
        12_345, in_flight=7, expired=1, delayed=150, due=99, orphaned=1, failed=101, dead_letter=1000, at=5.0
    )
    assert _status(seen(of, replicas=0))["queue"] == {
        "pending": 12_000,
        "delayed": 150,
        "delayedDue": 99,
        "inFlight": 7,
        "expired": 1,
        "orphaned": 1,
        "failed": 100,
        "deadLetter": 1000,
        "oldestAgeSeconds": 0,
        "sampledAt": "1970-01-01T00:00:05Z",
    }


def test_next_due_is_a_point_in_time_that_does_not_drift() -> None:
    early = _status(seen(queue(delayed=1, next_due=90.4, at=1000.0), replicas=0))
    later = _status(seen(queue(delayed=1, next_due=31.1, at=1059.3), replicas=0))
    assert early["queue"]["nextDue"] == later["queue"]["nextDue"] == "1970-01-01T00:18:10Z"


def test_workers() -> None:
    pods = [pod("busy"), pod("idle"), pod("new", ready=False), pod("leaving", terminating=True)]
    reports = [worker("busy", 2, slots=2), worker("idle"), worker("leaving", 1, draining=True)]
    workers = _status(seen(queue(50), pods, reports))["workers"]
    assert workers == {"desired": 10, "ready": 2, "busy": 1, "draining": 1}


def test_rates_when_they_are_known() -> None:
    assert "rates" not in _status(fleet(queue(1), idle=1))
    rates = Rates(arrivals_per_second=123.4, claims_per_second=0.1234, eta_seconds=None)
    assert _status(fleet(queue(1), idle=1), rates=rates)["rates"] == {"arrivals": 120.0, "claims": 0.12}


def test_counters_that_cannot_be_read_stay_as_they_were() -> None:
    before = _status(fleet(queue(12, in_flight=1), busy=1))
    assert _status(seen(None, replicas=1), before)["queue"] == before["queue"]
    assert "queue" not in _status(seen(None, replicas=1))


def test_how_many_are_busy_stays_as_it_was_while_nobody_can_say() -> None:
    before = _status(fleet(queue(12, in_flight=1), busy=1))
    away = seen(None, [pod("busy-0")])
    assert _status(away, before)["workers"]["busy"] == before["workers"]["busy"] == 1
    assert "busy" not in _status(away)["workers"]
    assert _status(seen(None, [], replicas=0), before)["workers"]["busy"] == 0, "without a worker nobody is"


@pytest.mark.parametrize(
    ("exact", "shown"), [(0, 0), (1, 1), (99, 99), (100, 100), (149, 150), (1_234_567, 1_200_000)]
)
def test_rounding(exact: int, shown: int) -> None:
    assert rounded(exact) == shown


@pytest.mark.parametrize(("exact", "shown"), [(0.0, 0.0), (0.01234, 0.012), (9.87, 9.9), (98.7, 99.0)])
def test_two_digits(exact: float, shown: float) -> None:
    assert significant(exact) == pytest.approx(shown)


def _decided(observation: Observation, decision: Decision, previous: dict[str, Any], now: float) -> Any:
    return build_status(RQ, observation, decision, OK, previous, now).get("decision")


def test_the_decision_of_the_last_change() -> None:
    story, of = Story(), seen(queue(80), replicas=0)
    assert _decided(of, story.at(0.0, of), {}, 100.0) == {
        "at": "1970-01-01T00:01:40Z",
        "from": 0,
        "to": 10,
        "reason": "BacklogPerSlot",
        "terms": [{"name": "BacklogPerSlot", "value": 16}, {"name": "Activation", "value": 1}],
        "clamps": ["MaxReplicas"],
        "blockedBy": "",
    }


def test_a_decision_without_a_change_leaves_the_last_one() -> None:
    grown = _status(seen(queue(80), replicas=0), now=100.0)
    later = _status(seen(queue(80), replicas=10), grown, now=200.0)
    assert later["decision"] == grown["decision"]
    assert "decision" not in _status(fleet(queue()))


def test_what_holds_the_number_is_shown_although_nothing_changes() -> None:
    grown = _status(seen(queue(80), replicas=0), now=100.0)
    refused = _status(seen(queue(80), replicas=2, replica_failure="exceeded quota"), grown, now=200.0)
    assert refused["decision"] == {**grown["decision"], "blockedBy": "ReplicaFailure"}
    assert worth_writing(grown, refused, 0.0)
    first = _status(seen(queue(80), replicas=2, replica_failure="exceeded quota"))
    assert (first["decision"]["to"], first["decision"]["blockedBy"]) == (2, "ReplicaFailure")


def test_a_hold_that_comes_and_goes_by_itself_waits_for_the_counters() -> None:
    before = _status(fleet(queue(), idle=1))
    held = {**before, "decision": {**before["decision"], "blockedBy": "BusyWorkers"}}
    assert not worth_writing(before, held, 0.0)
    assert worth_writing(before, held, 60.0)


def _budgeted(observation: Observation, most: int, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    decision = once(observation, Policy(ceiling=Ceiling("shop", most, "budget shop: so many")))
    return build_status(RQ, observation, decision, OK, previous or {}, 100.0)


def test_what_a_budget_cuts_or_holds_names_it_as_long_as_it_does() -> None:
    cut = _budgeted(seen(queue(40), replicas=0), 2)["decision"]
    assert (cut["to"], cut["reason"], cut["budget"], cut["blockedBy"]) == (2, "Budget", "shop", "")
    never = _budgeted(seen(queue(40), replicas=0), 0)["decision"]
    assert (never["from"], never["to"], never["budget"]) == (0, 0, "shop")

    grown = _status(seen(queue(10), replicas=0))
    held = _budgeted(seen(queue(40), replicas=2), 2, grown)
    assert held["decision"] == {**grown["decision"], "blockedBy": "Budget", "budget": "shop"}
    assert not worth_writing(grown, held, 0.0), "such a hold comes and goes with every message"
    assert worth_writing(grown, held, COUNTERS_SECONDS)
    assert held["decision"]["reason"] == "BacklogPerSlot", "which still says what the last change was"
    free = _budgeted(seen(queue(10), replicas=2), 9, held)
    assert free["decision"] == grown["decision"]
    kept = _budgeted(seen(queue(10), replicas=2), 9, {"decision": cut})
    assert kept["decision"] == cut, "the last change was the budget's"


def test_the_same_change_again_is_not_news() -> None:
    first = _status(seen(queue(80), replicas=0), now=100.0)
    lagging = _status(seen(queue(85), replicas=0), first, now=101.0)
    assert lagging["decision"] == first["decision"]


def test_a_dry_run_shows_what_it_would_do() -> None:
    observation = seen(queue(80), replicas=0)
    decision = once(observation, Policy(mode="DryRun"))
    shown = _decided(observation, decision, {}, 0.0)
    assert (shown["from"], shown["to"], shown["reason"]) == (0, 10, "DryRun")


def test_a_decision_is_worth_a_write_at_once() -> None:
    before = _status(fleet(queue(5), idle=1))
    after = _status(fleet(queue(80), idle=1), before)
    assert worth_writing(before, after, 0.0)


def test_a_condition_is_worth_a_write_at_once() -> None:
    before = _status(fleet(queue(), idle=1))
    assert worth_writing(before, _status(seen(None, [pod("idle-0")]), before), 0.0)


def test_a_new_generation_is_worth_a_write_at_once() -> None:
    observation = fleet(queue(), idle=1)
    before = _status(observation)
    newer = build_status(redis_queue(generation=2), observation, once(observation), OK, before, 0.0)
    assert worth_writing(before, newer, 0.0)


def test_counters_wait() -> None:
    before = _status(fleet(queue(4), idle=1))
    after = _status(fleet(queue(3), idle=1), before)
    assert not worth_writing(before, after, COUNTERS_SECONDS - 0.1)
    assert worth_writing(before, after, COUNTERS_SECONDS)


def test_a_count_in_a_message_waits_too() -> None:
    before = _status(fleet(queue(dead_letter=5), idle=1))
    after = _status(fleet(queue(dead_letter=6), idle=1), before)
    assert not worth_writing(before, after, 1.0)
    assert worth_writing(before, after, COUNTERS_SECONDS)


def test_noise_is_never_worth_a_write() -> None:
    before = _status(fleet(queue(12_345, at=1000.0), idle=10))
    after = _status(fleet(queue(12_399, at=5000.0), idle=10), before)
    assert not worth_writing(before, after, 1e9)


def test_a_restarted_operator_does_not_forget_the_rates() -> None:
    rates = Rates(arrivals_per_second=1.0, claims_per_second=1.0, eta_seconds=0.0)
    before = _status(fleet(queue(1), idle=1), rates=rates)
    after = _status(fleet(queue(1), idle=1), before, rates=Rates())
    assert not worth_writing(before, after, 1e9)


def test_an_idle_queue_writes_once() -> None:
    story, status, writes = Story(), {}, 0
    for step in range(600):
        observation = fleet(queue(at=1000.0 + step))
        new = build_status(RQ, observation, story.at(float(step), observation), OK, status, float(step))
        if worth_writing(status, new, 1e9):
            status, writes = new, writes + 1
    assert writes == 1
