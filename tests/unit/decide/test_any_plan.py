"""Any RedisQueue, fleet, answer: there is a plan, its status fits the definition, its number the bounds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.any_observation import observations, on_a_busy_machine
from tests.support.observations import EMPTY_SAMPLE
from tests.support.odd_redisqueues import odd_redisqueue

from redisqueue_operator.api import parse
from redisqueue_operator.api.definition import schema
from redisqueue_operator.api.structure import check
from redisqueue_operator.decide.children import children
from redisqueue_operator.decide.finalizer import FINALIZER
from redisqueue_operator.decide.look import Done, Facts, Memory, Now
from redisqueue_operator.decide.plan import plan_of
from redisqueue_operator.decide.remember import remembered
from redisqueue_operator.decide.scaling import Ceiling, History, Policy
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.loop.memory import stand_in
from redisqueue_operator.observe.facts import ApplyOutcome, Canary, ChildrenSeen, Fleet, Hindrance
from redisqueue_operator.platform import Written

if TYPE_CHECKING:
    from redisqueue_operator.decide.look import Plan
    from redisqueue_operator.observe.facts import Observation

START, WALL = 1000.0, 1_767_225_600.0
STATUS = schema()["properties"]["status"]
STEPS = ("", "", "", "children", "scale", "retire", "recall", "status", "finalizer")
APPLIED = Written(ApplyOutcome(True, "Applied", "The workers are as the spec says."), "live")
errors = st.sampled_from([None, Conflict("has moved on"), PlatformError("is forbidden")])
held_numbers = st.none() | st.integers(0, 30).map(lambda most: Ceiling("shared", most, "others need more"))


def an_object(seed: int, *, held: bool, leaves: bool) -> dict[str, Any]:
    made = odd_redisqueue(Random(seed))
    made["metadata"] |= {
        "namespace": "default",
        "uid": "uid-emails",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": [FINALIZER] * held,
    }
    if leaves:
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    return made


def facts_of(raw: dict[str, Any], data: st.DataObject) -> Facts:
    """One look at it, as the engine makes them."""
    try:
        rq, problem = parse(raw), ""
    except ValueError as error:
        rq, problem = stand_in(raw), str(error)
    observation: Observation = data.draw(observations())
    canary = data.draw(st.none() | st.builds(Canary, st.integers(0, 3), st.just("2")))
    fleet = Fleet(
        observation.replicas,
        observation.ready_replicas,
        observation.active_replica_sets,
        observation.pods,
        "1",
        canary,
        data.draw(st.sampled_from(["", "exceeded quota"])),
    )
    made = data.draw(st.booleans())
    wanted = children(rq, default_image="default:1", operator_version="1.0.0", source={"a.py": "text"})
    seen_children = ChildrenSeen(
        "1.0.0",
        manifests=tuple(wanted),
        digest="v1",
        workers=wanted[-1] if made else None,
        live="live" if made else "",
        others_as_wanted=data.draw(st.booleans()),
        problem=data.draw(st.none() | st.just(ApplyOutcome(False, "ConfigMapMissing", "there is none"))),
    )
    sample = data.draw(st.sampled_from([None, EMPTY_SAMPLE, ConnectionError("refused")]))
    ceiling = data.draw(held_numbers)
    seen = fleet.seen_in(observation)
    return Facts(raw, rq, problem, fleet, seen_children, seen, sample, ceiling=ceiling)


def outcome_of(plan: Plan, data: st.DataObject) -> Done:
    failed = data.draw(st.sampled_from(STEPS))
    refused = Hindrance("ScaleRefused", "no", data.draw(st.sampled_from([0.0, START + 20])))
    return Done(
        failed,
        data.draw(errors) if failed else None,
        refused if failed in ("scale", "recall") and data.draw(st.booleans()) else None,
        APPLIED if plan.children is not None and failed != "children" else None,
        plan.scale.split if plan.scale is not None and not failed else None,
        told=plan.status is not None and not failed,
    )


def fits(plan: Plan, facts: Facts, now: Now) -> None:
    assert plan.again >= 0, "NaN or the past"
    for shown in filter(None, (plan.shown, plan.status)):
        json.dumps(shown)
        assert not list(check(shown, STATUS, "status"))
    for event in plan.events:
        assert event.reason.isalnum()
        assert event.message
    if plan.scale is None or plan.scale.decision is None or facts.fleet is None:
        return
    policy = Policy.of(facts.rq.spec, now.wall, facts.ceiling)
    before, after = sum(facts.fleet.split), sum(plan.scale.split)
    by_hand = policy.manual_replicas
    assert by_hand is not None or policy.mode not in ("Paused", "DryRun", "External")
    most = policy.max_replicas if by_hand is None else by_hand
    assert 0 <= after <= max(most, before, policy.fallback_replicas or 0)


@on_a_busy_machine
@given(st.data())
def test_there_is_a_plan_for_whatever_is_seen(data: st.DataObject) -> None:
    seed, held, leaves = data.draw(st.integers(0, 10**6)), data.draw(st.booleans()), data.draw(st.booleans())
    raw = an_object(seed, held=held, leaves=leaves)
    memory, clock = Memory(History.fresh(0.0)), START
    for _ in range(data.draw(st.integers(1, 6))):
        now = Now(clock, WALL + clock, data.draw(st.sampled_from([0.0, 0.9])), data.draw(st.booleans()))
        facts = facts_of(raw, data)
        plan = plan_of(facts, memory, now)
        fits(plan, facts, now)
        done = outcome_of(plan, data)
        fits(plan_of(facts, memory, now, (done.failed,) if done.failed else ()), facts, now)
        memory = remembered(plan, done, now)
        if plan.status is not None and done.told:
            raw = {**raw, "status": plan.status}
        if data.draw(st.booleans()):
            memory = replace(memory, looked_at=-math.inf)
        clock += data.draw(st.sampled_from([0.1, 2.0, 60.0, 4000.0]))
