"""Ready, Reconciling and Stalled agree with each other and with every other condition."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from tests.support.observations import fleet, once, pod, queue, seen, worker
from tests.support.resources import manifest, redis_queue

from redisqueue_operator.decide.canary import Phase, Rollout
from redisqueue_operator.decide.scaling import Ceiling, Policy
from redisqueue_operator.decide.status import build_status
from redisqueue_operator.observe.facts import ApplyOutcome, Fleet, Hindrance, Observation

QUOTA = 'pods "q-worker-1" is forbidden: exceeded quota: small'
OUTCOMES = {
    "applied": ApplyOutcome(ok=True, reason="Applied", message=""),
    "queued": ApplyOutcome(ok=True, reason="RolloutQueued", message="later"),
    "deleting": ApplyOutcome(ok=True, reason="Deleting", message="emptied first"),
    **{
        reason: ApplyOutcome(ok=False, reason=reason, message=f"{reason} it is")
        for reason in (
            "ApplyRefused",
            "NameConflict",
            "Conflict",
            "NewerOperator",
            "SourceMissing",
            "Unreadable",
        )
    },
}
OVERDUE = 'ReplicaSet "jobs-worker-5c" has timed out progressing.'
WORKERS = {
    "none": {"replicas": None},
    "asleep": {"replicas": 0},
    "at work": {"pods": [pod("a"), pod("b")], "workers": [worker("a", 1), worker("b")]},
    "starting": {"pods": [pod("a", ready=False)]},
    "some start": {"pods": [pod("a"), pod("b", ready=False)], "workers": [worker("a", 1)]},
    "failing": {"pods": [pod("a", ready=False, failing="ImagePullBackOff")]},
    "no room": {"pods": [pod("a", ready=False, unschedulable=True)]},
    "refused": {"replicas": 3, "replica_failure": QUOTA},
    "not made": {"replicas": 3, "unmade": 200.0},
    "being made": {"replicas": 3, "unmade": 20.0},
    "some refused": {"pods": [pod("a")], "replicas": 3, "replica_failure": QUOTA},
    "rolling": {"pods": [pod("a"), pod("b")], "replica_sets": 2},
    "overdue": {"pods": [pod("a"), pod("b", ready=False)], "replica_sets": 2, "overdue": OVERDUE},
    "was overdue": {"pods": [pod("a"), pod("b")], "overdue": OVERDUE},
}
QUEUES = {"away": None, "empty": queue(), "full": queue(200, in_flight=1), "dead": queue(dead_letter=9)}
SPECS: dict[str, dict[str, Any]] = {
    "Auto": {},
    "at least 2": {"scaling": {"minReplicas": 2}},
    "by hand": {"replicas": 3},
    "Paused": {"scaling": {"mode": "Paused"}},
}
HINDRANCES = {"": None, "refused": Hindrance("ScaleRefused", "not on Fridays", 0.0)}
ROLLOUTS = {
    "": None,
    **{
        phase.value: Rollout(phase, "new", "old", 0, "Why", "because")
        for phase in (Phase.CANARY, Phase.ROLLED_BACK)
    },
}


def _said(status: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status["conditions"]}


def _status(
    outcome: ApplyOutcome, observation: Observation, previous: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    hindrance, rollout = options.pop("hindrance", None), options.pop("rollout", None)
    rq = redis_queue(**options)
    decision = once(observation, Policy.of(rq.spec))
    decision = decision.refused() if hindrance else decision
    return build_status(rq, observation, decision, outcome, previous or {}, 0.0, rollout, hindrance)


def kstatus(status: dict[str, Any]) -> str:
    """The verdict of kstatus about a custom resource whose generation was observed."""
    said = _said(status)
    if said["Reconciling"][0] == "True":
        return "InProgress"
    if said["Stalled"][0] == "True":
        return "Failed"
    return "Current" if said["Ready"][0] == "True" else "InProgress"


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("workers", WORKERS)
def test_no_two_conditions_contradict_each_other(outcome: str, workers: str) -> None:
    """All combinations, each as the first status and after one where all was well."""
    applied = OUTCOMES[outcome]
    well = _status(OUTCOMES["applied"], fleet(queue(1), idle=1))
    for of, spec, hindrance, rollout, before in itertools.product(
        QUEUES.values(), SPECS.values(), HINDRANCES.values(), ROLLOUTS.values(), ({}, well)
    ):
        observation = seen(of, **WORKERS[workers])
        status = _status(applied, observation, before, hindrance=hindrance, rollout=rollout, **spec)
        said = _said(status)
        others = (said["Reconciling"][0], said["Stalled"][0])
        if said["Ready"][0] == "True":
            assert others == ("False", "False")
            assert applied.ok
            assert said["RedisReachable"][0] == "True"
            assert said["ScalingActive"][1] != "ScaleRefused"
            assert said["Degraded"][1] not in ("PodsFailing", "ReplicaFailure")
            assert said["Progressing"][1] in ("Stable", "ScalingUp")
            assert observation.ready_replicas or not observation.pods
        else:
            assert sorted(others) == ["False", "True"]
            reason = said["Ready"][1]
            assert reason in (said["Reconciling"][1], said["Stalled"][1])
            assert (
                status["state"] not in ("Running", "Idle")
                or reason in ("NotEnoughWorkers", "Deleting")
                or said["Progressing"][1] == "DeploymentMissing"
                or hindrance
            )
        if said["Stalled"][0] == "True":
            assert said["Degraded"][0] != "False"
        assert said["Degraded"][1] != "Healthy" or of is not None
        assert said["Progressing"][1] != "Stable" or observation.replicas is not None
        assert kstatus(status) == {"True": "Current"}.get(
            said["Ready"][0], "Failed" if said["Stalled"][0] == "True" else "InProgress"
        )


@pytest.mark.parametrize(
    ("outcome", "observation", "ready", "verdict"),
    [
        ("applied", fleet(queue()), ("True", "Applied"), "Current"),
        ("applied", fleet(queue(50, in_flight=2), busy=2), ("True", "Applied"), "Current"),
        ("applied", fleet(queue(dead_letter=9), idle=1), ("True", "Applied"), "Current"),
        ("queued", fleet(queue(), idle=1), ("True", "RolloutQueued"), "Current"),
        ("applied", seen(None, [pod("a")]), ("False", "RedisUnreachable"), "InProgress"),
        ("applied", seen(queue(1), [pod("a", ready=False)]), ("False", "NotEnoughWorkers"), "InProgress"),
        ("applied", seen(queue(1), **WORKERS["failing"]), ("False", "PodsFailing"), "InProgress"),
        ("applied", seen(queue(1), **WORKERS["overdue"]), ("False", "ProgressDeadlineExceeded"), "Failed"),
        ("applied", seen(queue(1), **WORKERS["was overdue"]), ("True", "Applied"), "Current"),
        ("applied", seen(queue(1), **WORKERS["no room"]), ("False", "UnschedulablePods"), "InProgress"),
        ("applied", seen(queue(1), **WORKERS["refused"]), ("False", "ReplicaFailure"), "Failed"),
        ("applied", seen(queue(1), **WORKERS["not made"]), ("False", "PodsMissing"), "InProgress"),
        ("applied", seen(queue(1), **WORKERS["being made"]), ("True", "Applied"), "Current"),
        ("applied", seen(queue(1), **WORKERS["none"]), ("False", "DeploymentMissing"), "InProgress"),
        ("applied", fleet(queue(1), idle=1, replica_sets=2), ("False", "RollingOut"), "InProgress"),
        ("deleting", fleet(queue(), idle=1), ("False", "Deleting"), "InProgress"),
        ("SourceMissing", fleet(queue(), idle=1), ("False", "SourceMissing"), "InProgress"),
        ("ApplyRefused", fleet(queue(), idle=1), ("False", "ApplyRefused"), "Failed"),
        ("Unreadable", seen(queue(1), **WORKERS["none"]), ("Unknown", "Unreadable"), "InProgress"),
    ],
)
def test_what_ready_means(
    outcome: str, observation: Observation, ready: tuple[str, str], verdict: str
) -> None:
    status = _status(OUTCOMES[outcome], observation)
    assert (_said(status)["Ready"][:2], kstatus(status)) == (ready, verdict)


def test_a_refused_number_and_a_refused_template_are_stalled() -> None:
    calm = fleet(queue(30), idle=1)
    refused = _status(OUTCOMES["applied"], calm, hindrance=HINDRANCES["refused"])
    assert (
        _said(refused)["Ready"]
        == _said(refused)["ScalingActive"]
        == ("False", "ScaleRefused", "not on Fridays")
    )
    back = _status(OUTCOMES["applied"], fleet(queue(1), idle=1), rollout=ROLLOUTS["RolledBack"])
    assert (_said(back)["Ready"][:2], back["state"]) == (("False", "RolledBack"), "RolledBack")
    assert kstatus(refused) == kstatus(back) == "Failed"


def test_the_clusters_words_are_told() -> None:
    status = _status(OUTCOMES["applied"], seen(queue(1), **WORKERS["refused"]))
    for kind in ("Ready", "Progressing", "Degraded", "Stalled"):
        assert QUOTA in _said(status)[kind][2]


def blinded() -> Observation:
    empty = Fleet(unseen=True)
    return replace(seen(queue(7), empty.pods, replicas=empty.replicas), unseen=empty.unseen)


def test_what_cannot_be_seen_is_unknown_and_stays_as_it_was() -> None:
    well = _status(OUTCOMES["applied"], fleet(queue(in_flight=2), busy=2))
    blind = blinded()
    status = _status(OUTCOMES["Unreadable"], blind, well)
    said = _said(status)
    assert {
        kind: said[kind][:2] for kind in ("Ready", "ScalingActive", "Progressing", "Degraded")
    } == dict.fromkeys(("Ready", "ScalingActive", "Progressing", "Degraded"), ("Unknown", "Unreadable"))
    assert (status["workers"], status["replicas"]) == (well["workers"], well["replicas"])
    assert status["queue"]["pending"] == 7, "Redis can still be read"


def test_it_stays_so_where_something_else_is_worse() -> None:
    """A conflict about the queue is told before, and says nothing of the workers."""
    at_work = fleet(queue(50), busy=2)
    cut = once(at_work, Policy(ceiling=Ceiling("shop", 2, "two")))
    well = build_status(redis_queue(), at_work, cut, OUTCOMES["applied"], {}, 0.0)
    status = _status(OUTCOMES["Conflict"], blinded(), well)
    parts = ("replicas", "workers", "budget")
    assert {part: status[part] for part in parts} == {part: well[part] for part in parts}


def test_an_invalid_spec_scales_nothing_and_is_not_well() -> None:
    well = _status(OUTCOMES["applied"], fleet(queue(1), idle=1))
    invalid = ApplyOutcome(ok=False, reason="InvalidSpec", message="spec.worker.handler: missing")
    said = _said(build_status(manifest(generation=2), None, None, invalid, well, 0.0))
    assert said["ScalingActive"][:2] == ("False", "InvalidSpec")
    assert said["Degraded"][:2] == said["Stalled"][:2] == ("True", "InvalidSpec")


def test_an_outage_is_not_well_until_it_is_over() -> None:
    """Whether messages were lost meanwhile nobody knows."""
    well = _status(OUTCOMES["applied"], fleet(queue(1), idle=1))
    away = _status(OUTCOMES["applied"], seen(None, [pod("idle-0")]), well)
    assert _said(away)["Degraded"][:2] == ("Unknown", "RedisUnreadable")
    over = _said(_status(OUTCOMES["applied"], fleet(queue(1), idle=1), away))
    assert (over["Ready"][0], over["Degraded"][:2]) == ("True", ("False", "Healthy"))
