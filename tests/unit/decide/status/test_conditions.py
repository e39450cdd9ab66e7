"""Every condition and every reason of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.observations import Story, fleet, pod, queue, seen, worker
from tests.support.resources import manifest, redis_queue

from redisqueue_operator.api import definition, structure
from redisqueue_operator.decide.budget import Allotment, held_by_budget, why
from redisqueue_operator.decide.canary import Phase, Rollout
from redisqueue_operator.decide.scaling import Ceiling, Policy
from redisqueue_operator.decide.status import build_status
from redisqueue_operator.observe.facts import ApplyOutcome, Observation, ServerObservation

OK = ApplyOutcome(ok=True, reason="", message="")
KINDS = ["Ready", "RedisReachable", "RedisDurable", "ScalingActive", "Progressing", "Degraded", "Paused"]


def _status(
    observation: Observation,
    *,
    previous: dict[str, Any] | None = None,
    applied: ApplyOutcome = OK,
    at: float = 0.0,
    rollout: Rollout | None = None,
    **spec: Any,
) -> dict[str, Any]:
    rq = redis_queue(**spec)
    decision = Story(Policy.of(rq.spec)).at(at, observation)
    return build_status(rq, observation, decision, applied, previous or {}, 1_000_000.0 + at, rollout)


def _said(status: dict[str, Any], kind: str) -> tuple[str, str]:
    [condition] = [each for each in status["conditions"] if each["type"] == kind]
    return condition["status"], condition["reason"]


def _message(status: dict[str, Any], kind: str) -> str:
    [condition] = [each for each in status["conditions"] if each["type"] == kind]
    return str(condition["message"])


def test_a_healthy_queue() -> None:
    status = _status(fleet(queue(3, in_flight=1), busy=1))
    assert {kind: _said(status, kind) for kind in KINDS} == {
        "Ready": ("True", "Applied"),
        "RedisReachable": ("True", "Connected"),
        "RedisDurable": ("True", "Durable"),
        "ScalingActive": ("True", "Auto"),
        "Progressing": ("False", "Stable"),
        "Degraded": ("False", "Healthy"),
        "Paused": ("False", "NotPaused"),
    }
    assert status["state"] == "Running"


@pytest.mark.parametrize("idle", [0, 2])
def test_a_queue_that_its_budget_keeps_where_it_is_says_so(idle: int) -> None:
    rq, observation = redis_queue(), fleet(queue(50), idle=idle)
    ceiling = Ceiling("shop", idle, f"budget shop: {idle} of 10 wanted")
    policy = Policy.of(rq.spec, None, ceiling)
    status = build_status(rq, observation, Story(policy).at(0.0, observation), OK, {}, 1_000_000.0)
    decision = status["decision"]
    assert (decision["to"], decision["reason"], decision["blockedBy"]) == (idle, "Budget", "Budget")
    assert _message(status, "ScalingActive").endswith(
        f"less than it wants: budget shop: {idle} of 10 wanted."
    )
    assert status["budget"] == {"name": "shop"}, "its share is not known as data"
    manual = dataclasses.replace(policy, manual_replicas=idle)
    assert Story(manual).at(0.0, observation).budget == "", "a person's number wins over it"


def test_what_a_budget_leaves_a_queue_is_in_its_status_as_data() -> None:
    rq, observation, share = redis_queue(), fleet(queue(50), idle=2), Allotment(2, 3, 10, "Waiting")
    policy = Policy.of(rq.spec, None, Ceiling("shop", 2, why(share, "shop"), share))
    held = build_status(rq, observation, Story(policy).at(0.0, observation), OK, {}, 1_000_000.0)
    assert held["budget"] == {"name": "shop", "wanted": 10, "share": 3, "ceiling": 2, "reason": "Waiting"}
    assert list(structure.check(held, definition.schema()["properties"]["status"], "status")) == []
    assert held_by_budget(held) == why(share, "shop")
    assert build_status(rq, None, None, OK, held, 1_000_000.0)["budget"] == held["budget"], "as it was"
    alone = Policy.of(rq.spec)
    free = build_status(rq, observation, Story(alone).at(0.0, observation), OK, held, 1_000_000.0)
    assert "budget" not in free
    assert held_by_budget(free) == ""


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, ""),
        ({"decision": {"blockedBy": "Budget", "budget": "shop"}}, "budget shop"),
        ({"decision": {"blockedBy": "", "budget": "shop", "reason": "Budget"}}, ""),
        ({"budget": {"name": "shop"}}, "budget shop: the share is not known yet"),
        (
            {"budget": {"name": "shop", "wanted": 9, "share": 1, "ceiling": 1, "reason": "Later"}},
            "budget shop: 1 of 9 wanted: Later",
        ),
    ],
    ids=["nothing", "older", "older and free", "not known yet", "newer"],
)
def test_what_other_operators_write_of_a_budget_is_read_too(status: dict[str, Any], said: str) -> None:
    assert held_by_budget(status) == said


def test_every_condition_has_what_metav1_asks_for() -> None:
    for condition in _status(fleet(queue()), generation=7)["conditions"]:
        assert condition["observedGeneration"] == 7
        assert condition["lastTransitionTime"] == "1970-01-12T13:46:40Z"
        assert condition["reason"].isalnum()
        assert condition["message"]


def test_apply_failed() -> None:
    failed = ApplyOutcome(ok=False, reason="Forbidden", message="deployments is forbidden")
    status = _status(fleet(queue()), applied=failed)
    assert _said(status, "Ready") == ("False", "Forbidden")
    assert status["state"] == "NotReady"


@pytest.mark.parametrize(
    "observation", [fleet(queue(10_000)), fleet(queue(10_000), busy=3), fleet(queue(dead_letter=9))]
)
def test_ready_never_flips_on_load_or_dead_letters(observation: Observation) -> None:
    assert _said(_status(observation), "Ready") == ("True", "Applied")


def test_redis_unreachable() -> None:
    status = _status(seen(None, replicas=1))
    assert _said(status, "RedisReachable") == ("False", "ConnectionRefused")
    assert _said(status, "ScalingActive") == ("False", "RedisUnreadable")
    assert status["state"] == "NoRedis"


def test_before_the_first_sample_nothing_is_said_about_the_queue() -> None:
    """A restarted operator would write every status twice otherwise."""
    never = dataclasses.replace(seen(None, [pod("a")]), redis_reason="", redis_message="")
    new = _status(never)
    assert _said(new, "RedisReachable") == _said(new, "ScalingActive") == ("Unknown", "NotObserved")
    before = _status(seen(queue(1, dead_letter=1), [pod("a")]))
    assert _status(never, previous=before)["conditions"] == before["conditions"]


def test_fallback() -> None:
    fallback = {"behavior": "AtLeast", "replicas": 2, "afterSeconds": 0}
    status = _status(seen(None, replicas=0), scaling={"fallback": fallback})
    assert _said(status, "ScalingActive") == ("False", "Fallback")


def test_no_deployment_yet() -> None:
    assert _said(_status(seen(queue(), replicas=None)), "ScalingActive") == ("False", "DeploymentMissing")


@pytest.mark.parametrize(
    ("spec", "reason", "state"),
    [
        ({"replicas": 0}, "ManualReplicas", "Manual"),
        ({"scaling": {"mode": "Paused"}}, "Paused", "Paused"),
        ({"scaling": {"mode": "DryRun"}}, "DryRun", "DryRun"),
        ({"scaling": {"mode": "External"}}, "External", "External"),
        ({"scaling": {"mode": "External"}, "replicas": 0}, "External", "External"),
        ({"scaling": {"mode": "DryRun"}, "replicas": 0}, "ManualReplicas", "Manual"),
    ],
)
def test_paused(spec: dict[str, Any], reason: str, state: str) -> None:
    status = _status(fleet(queue()), **spec)
    assert _said(status, "Paused") == ("True", reason)
    assert _said(status, "ScalingActive") == ("False", reason)
    assert status["state"] == state


@pytest.mark.parametrize("spec", [{}, {"replicas": 0}])
def test_an_autoscaler_that_finds_no_scale_is_told_of(spec: dict[str, int]) -> None:
    status = _status(fleet(queue()), scaling={"mode": "External"}, **spec)
    told = [each["message"] for each in status["conditions"] if each["reason"] == "External"]
    assert ["`kubectl scale` sets it" in message for message in told] == [not spec] * 2


@pytest.mark.parametrize("mode", ["UpOnly", "DownOnly"])
def test_one_direction_is_not_a_pause(mode: str) -> None:
    status = _status(fleet(queue()), scaling={"mode": mode})
    assert (_said(status, "ScalingActive"), _said(status, "Paused")[0]) == (("True", mode), "False")


@pytest.mark.parametrize(
    ("observation", "said", "state"),
    [
        (fleet(queue(5, in_flight=1), busy=1, replica_sets=2), ("True", "RollingOut"), "RollingOut"),
        (fleet(queue(50)), ("True", "ScalingUp"), "ScalingUp"),
        (seen(queue(1), [pod("a", ready=False)]), ("True", "ScalingUp"), "ScalingUp"),
        (
            seen(queue(1), [pod("a", ready=False, unschedulable=True)]),
            ("False", "UnschedulablePods"),
            "Unschedulable",
        ),
        (fleet(queue(1), idle=1), ("False", "Stable"), "Running"),
        (fleet(queue()), ("False", "Stable"), "Idle"),
    ],
)
def test_progressing(observation: Observation, said: tuple[str, str], state: str) -> None:
    status = _status(observation)
    assert (_said(status, "Progressing"), status["state"]) == (said, state)


@pytest.mark.parametrize(
    ("observation", "reason", "message"),
    [
        (fleet(queue(dead_letter=3)), "DeadLetters", "3 dead letters."),
        (
            fleet(queue(orphaned=1234)),
            "OrphanedMessages",
            "1200 messages in processing have no lease and are never taken back: see 'redisqueue repair'.",
        ),
        (
            seen(queue(1), [pod("a"), pod("b")], [worker("a", tripped=True), worker("b")]),
            "WorkersFailing",
            "1 of 2 workers failed several times in a row and try one message now and then.",
        ),
        (
            seen(queue(1), [pod("a")], [worker("a", 1, running=3601.0)]),
            "HungHandler",
            "a handler runs for longer than 3600 s in a.",
        ),
        (
            seen(queue(1), [pod("a", failing="ImagePullBackOff"), pod("b", failing="CrashLoopBackOff")]),
            "PodsFailing",
            "worker pods fail: CrashLoopBackOff, ImagePullBackOff.",
        ),
    ],
)
def test_degraded(observation: Observation, reason: str, message: str) -> None:
    status = _status(observation)
    assert _said(status, "Degraded") == ("True", reason)
    assert _message(status, "Degraded") == message
    assert status["state"] == "Degraded"


def test_the_worst_trouble_names_the_condition_and_all_are_told() -> None:
    status = _status(seen(queue(dead_letter=1, orphaned=1), [pod("a", failing="CrashLoopBackOff")]))
    assert _said(status, "Degraded") == ("True", "PodsFailing")
    assert _message(status, "Degraded").count(";") == 2


def test_dead_letters_up_to_the_limit_are_fine() -> None:
    limit = {"warnAbove": 3}
    assert _said(_status(fleet(queue(dead_letter=3)), deadLetter=limit), "Degraded") == ("False", "Healthy")
    assert _said(_status(fleet(queue(dead_letter=4)), deadLetter=limit), "Degraded") == (
        "True",
        "DeadLetters",
    )


def test_a_stale_report_is_not_hung() -> None:
    stale = worker("a", 1, running=4000.0, age=11.0)
    assert _said(_status(seen(queue(1), [pod("a")], [stale])), "Degraded") == ("False", "Healthy")


def test_trouble_in_the_queue_is_not_over_because_redis_is_away() -> None:
    before = _status(fleet(queue(dead_letter=3), idle=1))
    away = _status(seen(None, [pod("idle-0")]), previous=before)
    assert _said(away, "Degraded") == ("True", "DeadLetters")
    assert _said(_status(fleet(queue(), idle=1), previous=away), "Degraded") == ("False", "Healthy")


def test_crashing_pods_do_not_flicker() -> None:
    crashing = _status(seen(queue(1), [pod("a", ready=False, failing="CrashLoopBackOff")]))
    between = _status(seen(queue(1), [pod("a", ready=False)]), previous=crashing)
    assert _said(between, "Degraded") == ("True", "PodsFailing")
    assert _said(_status(seen(queue(1), [pod("a")]), previous=between), "Degraded") == ("False", "Healthy")


def test_the_transition_time_moves_with_the_status_alone() -> None:
    first = _status(seen(None, replicas=0))
    other_reason = dataclasses.replace(seen(None, replicas=0), redis_reason="Timeout")
    second = _status(other_reason, previous=first, at=60.0)
    third = _status(seen(queue(), replicas=0), previous=second, at=120.0)
    times = [
        next(each["lastTransitionTime"] for each in status["conditions"] if each["type"] == "RedisReachable")
        for status in (first, second, third)
    ]
    assert times[0] == times[1] == "1970-01-12T13:46:40Z"
    assert times[2] == "1970-01-12T13:48:40Z"


def test_an_invalid_spec_keeps_what_was_known() -> None:
    before = _status(fleet(queue(7, in_flight=1), busy=1))
    invalid = ApplyOutcome(ok=False, reason="InvalidSpec", message="spec.worker.handler: missing")
    after = build_status(manifest(generation=2), None, None, invalid, before, 2_000_000.0)
    assert _said(after, "Ready") == ("False", "InvalidSpec")
    assert _said(after, "RedisReachable") == ("True", "Connected")
    assert (after["queue"], after["observedGeneration"], after["state"]) == (before["queue"], 2, "NotReady")


EVICTS, FORGETS = ("EvictsKeys", "it evicts keys"), ("NoPersistence", "it keeps nothing")
UNTOLD = "it does not tell the operator's login its persistence (INFO, CONFIG GET)"


@pytest.mark.parametrize(
    ("server", "said", "message"),
    [
        (ServerObservation(), ("True", "Durable"), "Redis evicts nothing, writes to disk and is no replica."),
        (
            ServerObservation((EVICTS, FORGETS)),
            ("False", "EvictsKeys"),
            "Messages are not safe on this Redis: it evicts keys; it keeps nothing.",
        ),
        (
            ServerObservation((EVICTS,), ("its persistence",)),
            ("False", "EvictsKeys"),
            f"Messages are not safe on this Redis: it evicts keys; {UNTOLD}.",
        ),
        (
            ServerObservation((), ("its persistence",)),
            ("Unknown", "NotTold"),
            f"Whether messages are safe on this Redis is not known: {UNTOLD}.",
        ),
        (None, ("Unknown", "NotObserved"), "Not looked at yet."),
    ],
)
def test_whether_messages_are_safe_on_redis(
    server: ServerObservation | None, said: tuple[str, str], message: str
) -> None:
    status = _status(seen(queue(), server=server))
    assert _said(status, "RedisDurable") == said
    assert _message(status, "RedisDurable") == message
    assert status["state"] == "Idle"


def test_what_was_known_of_redis_stays_until_it_is_asked_again() -> None:
    unsafe = _status(seen(queue(), server=ServerObservation((EVICTS,))))
    assert _said(_status(seen(queue(), server=None), previous=unsafe), "RedisDurable")[1] == "EvictsKeys"


def test_nothing_known_at_all_is_unknown() -> None:
    invalid = ApplyOutcome(ok=False, reason="InvalidSpec", message="spec.worker.handler: missing")
    status = build_status(manifest(), None, None, invalid, {}, 0.0)
    assert {
        _said(status, kind) for kind in ("RedisReachable", "RedisDurable", "Progressing", "Degraded")
    } == {("Unknown", "NotObserved")}
    assert _said(status, "ScalingActive") == ("False", "InvalidSpec")


@pytest.mark.parametrize(
    ("phase", "status", "reason", "state", "message"),
    [
        (Phase.CANARY, "True", "Canary", "Canary", "Template new is on trial. Why: because."),
        (
            *(Phase.PROMOTING, "True", "Promoted", "Promoted"),
            "Template new passed, all workers get it. Why: because.",
        ),
        (
            *(Phase.ROLLED_BACK, "False", "RolledBack", "RolledBack"),
            "Template new was rolled back; change the spec to try another. Why: because.",
        ),
        (Phase.PROMOTED, "False", "Stable", "Running", "All wanted workers are ready."),
    ],
)
def test_a_template_on_trial(phase: Phase, status: str, reason: str, state: str, message: str) -> None:
    trial = Rollout(phase, "new", "old", 0, "Why", "because")
    told = _status(fleet(queue(3), busy=1), rollout=trial)
    assert _said(told, "Progressing") == (status, reason)
    assert _message(told, "Progressing") == message
    assert told["state"] == state
    assert told["rollout"]["phase"] == phase


def test_before_the_first_sample_nobody_says_that_messages_are_well() -> None:
    """The status is written then where a Secret is missing, say."""
    missing = ApplyOutcome(ok=False, reason="SecretMissing", message="Secret 'mail' does not exist")
    unread = dataclasses.replace(seen(None, replicas=None), redis_reason="", redis_message="")
    assert _said(_status(unread, applied=missing), "Degraded") == ("Unknown", "NotObserved")
    away = _status(seen(None, [pod("a")]))
    still = _status(unread, applied=missing, previous=away)
    assert _said(still, "Degraded") == ("Unknown", "RedisUnreadable")
