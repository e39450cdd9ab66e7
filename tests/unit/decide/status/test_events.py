"""Events are told once, at the change."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.observations import fleet, once, pod, queue, seen
from tests.support.resources import redis_queue

from redisqueue_operator.decide.canary import Phase, Rollout
from redisqueue_operator.decide.scaling import Ceiling, Policy
from redisqueue_operator.decide.status import build_status, events_between
from redisqueue_operator.observe.facts import ApplyOutcome, Observation, ServerObservation

OK = ApplyOutcome(ok=True, reason="", message="")
CALM = fleet(queue(1), idle=1)
DOWN = seen(None, [pod("idle-0")])


def _status(
    observation: Observation, previous: dict[str, Any] | None = None, applied: ApplyOutcome = OK, **spec: Any
) -> dict[str, Any]:
    rq = redis_queue(**spec)
    return build_status(rq, observation, once(observation, Policy.of(rq.spec)), applied, previous or {}, 0.0)


def _told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event.type, event.reason) for event in events_between(before, after)]


def test_a_healthy_start_says_nothing() -> None:
    assert events_between({}, _status(CALM)) == []


def test_nothing_new_says_nothing() -> None:
    for status in (_status(DOWN), _status(fleet(queue(90, dead_letter=4))), _status(CALM, replicas=1)):
        assert events_between(status, status) == []


def test_scaled() -> None:
    before = _status(CALM)
    [event] = events_between(before, _status(fleet(queue(90), idle=1), before))
    assert (event.type, event.reason, event.action) == ("Normal", "Scaled", "Scale")
    assert event.message == "from 1 to 10 workers: BacklogPerSlot, limited by MaxReplicas"


def test_scaled_less_than_wanted_says_why() -> None:
    before = _status(CALM)
    limited = {"scaleUp": {"maxStep": 2}}
    [event] = events_between(before, _status(fleet(queue(40), idle=1), before, scaling=limited))
    assert event.message == ("from 1 to 3 workers: BacklogPerSlot, limited by MaxStep, held back by MaxStep")


def test_scaled_by_a_budget_says_which_one_and_a_hold_alone_is_no_event() -> None:
    before, rq = _status(CALM), redis_queue()

    def told(observation: Observation, most: int, last: dict[str, Any]) -> dict[str, Any]:
        decision = once(observation, Policy.of(rq.spec, None, Ceiling("shop", most, "budget shop: some")))
        return build_status(rq, observation, decision, OK, last, 0.0)

    cut = told(fleet(queue(40), idle=1), 3, before)
    [event] = events_between(before, cut)
    assert event.message == "from 1 to 3 workers: Budget shop, limited by Budget"
    assert events_between(cut, told(fleet(queue(40), idle=3), 3, cut)) == []
    grown = _status(fleet(queue(20), idle=1), before)
    held = told(fleet(queue(40), idle=4), 4, grown)
    assert held["decision"]["budget"] == "shop"
    assert events_between(grown, held) == events_between(held, grown) == []


def test_a_dry_run_scales_nothing() -> None:
    dry = _status(CALM, scaling={"mode": "DryRun"})
    assert _told(dry, _status(fleet(queue(90), idle=1), dry, scaling={"mode": "DryRun"})) == []


def test_redis_goes_and_comes_back() -> None:
    up = _status(CALM)
    down = _status(DOWN, up)
    assert _told(up, down) == [("Warning", "RedisUnreachable")]
    assert _told(down, _status(CALM, down)) == [("Normal", "RedisReachable")]
    assert _told({}, _status(DOWN)) == [("Warning", "RedisUnreachable")]


def test_another_reason_of_the_same_outage_is_not_told() -> None:
    import dataclasses

    down = _status(DOWN)
    assert _told(down, _status(dataclasses.replace(DOWN, redis_reason="Timeout"), down)) == []


@pytest.mark.parametrize("reason", ["ApplyFailed", "InvalidSpec", "Forbidden"])
def test_apply(reason: str) -> None:
    failed = ApplyOutcome(ok=False, reason=reason, message="no")
    good = _status(CALM)
    bad = _status(CALM, good, failed)
    assert _told(good, bad) == [("Warning", reason)]
    assert _told(bad, _status(CALM, bad)) == [("Normal", "Applied")]


def test_a_second_problem_of_the_spec_is_told() -> None:
    bad = _status(CALM, None, ApplyOutcome(ok=False, reason="InvalidSpec", message="no"))
    worse = _status(CALM, bad, ApplyOutcome(ok=False, reason="Forbidden", message="no"))
    assert _told(bad, worse) == [("Warning", "Forbidden")]


def test_a_redis_that_is_not_safe_is_told_once() -> None:
    good = _status(CALM)
    evicts, forgets = ("EvictsKeys", "it evicts"), ("NoPersistence", "it forgets")
    unsafe = _status(seen(queue(1), [pod("idle-0")], server=ServerObservation((evicts, forgets))), good)
    assert _told(good, unsafe) == [("Warning", "EvictsKeys")]
    better = _status(seen(queue(1), [pod("idle-0")], server=ServerObservation((forgets,))), unsafe)
    assert _told(unsafe, better) == [("Warning", "NoPersistence")]
    assert _told(better, _status(CALM, better)) == [("Normal", "RedisDurable")]
    unknown = _status(seen(queue(1), [pod("idle-0")], server=ServerObservation((), ("its role",))), good)
    assert _told(good, unknown) == []


def test_degraded() -> None:
    good = _status(CALM)
    letters = _status(fleet(queue(1, dead_letter=1), idle=1), good)
    assert _told(good, letters) == [("Warning", "DeadLetters")]
    more = _status(fleet(queue(1, dead_letter=2), idle=1), letters)
    assert _told(letters, more) == []
    orphaned = _status(fleet(queue(1, dead_letter=2, orphaned=1), idle=1), more)
    assert _told(more, orphaned) == [("Warning", "OrphanedMessages")]
    assert _told(orphaned, _status(CALM, orphaned)) == [("Normal", "Recovered")]


def test_unschedulable() -> None:
    good = _status(CALM)
    full = seen(queue(1), [pod("a", ready=False, unschedulable=True)])
    stuck = _status(full, good)
    assert _told(good, stuck) == [("Warning", "UnschedulablePods")]
    assert _told(stuck, _status(full, stuck)) == []


def test_paused() -> None:
    good = _status(CALM)
    paused = _status(CALM, good, scaling={"mode": "Paused"})
    assert _told(good, paused) == [("Normal", "Paused")]
    assert _told(paused, _status(CALM, paused)) == [("Normal", "Resumed")]


def test_each_phase_of_a_rollout_is_told_once() -> None:
    def status(phase: Phase, config_hash: str = "new", message: str = "because") -> dict[str, Any]:
        return {"rollout": Rollout(phase, config_hash, "old", 0, "Why", message).to_status()}

    [started] = events_between({}, status(Phase.CANARY))
    assert (started.reason, started.message) == ("Canary", "template new is on trial beside old")
    assert _told(status(Phase.CANARY), status(Phase.CANARY, message="more")) == []
    assert _told(status(Phase.CANARY), status(Phase.CANARY, "newer")) == [("Normal", "Canary")]
    assert _told(status(Phase.CANARY), status(Phase.PROMOTING)) == [("Normal", "Promoted")]
    assert _told(status(Phase.PROMOTING), status(Phase.PROMOTED)) == []
    [refused] = events_between(status(Phase.CANARY), status(Phase.ROLLED_BACK))
    assert (refused.type, refused.reason) == ("Warning", "RolledBack")
    assert refused.message == "template new was refused, Why: because"
    assert _told(status(Phase.ROLLED_BACK), {}) == []
