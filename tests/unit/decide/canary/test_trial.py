"""No trial where nobody may start a worker: modes, a person's number, the most there may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.observations import pod, queue, seen, worker

from redis_message_queue.stats import QueueSample
from redisqueue_operator.decide.canary import Phase, Split, Stage, Versions, trial
from redisqueue_operator.decide.scaling import History, Policy, decide
from redisqueue_operator.loop.memory import Tracked
from redisqueue_operator.platform import Canary, Fleet

PODS = tuple(pod(f"p{number}") for number in range(3))
NEW = Versions(wanted="new", stable="old")
ON_TRIAL = Versions(wanted="new", stable="old", canary="new")
WORK = seen(queue(20), PODS, [worker(each.name, 1) for each in PODS])

EMPTY = QueueSample(
    pending=0,
    in_flight=0,
    expired=0,
    processing=0,
    completed=0,
    failed=0,
    dead_letter=0,
    delayed=0,
    delayed_due=0,
    next_due_seconds=None,
    next_expiry_seconds=None,
    claims_total=None,
    time_ms=1_000_000,
    workers=(),
)

FIXED: list[dict[str, Any]] = [
    {"scaling": {"mode": "Paused"}},
    {"scaling": {"mode": "DryRun"}},
    {"scaling": {"mode": "External"}},
    {"scaling": {"mode": "DownOnly"}},
    {"replicas": 3},
    {"replicas": 5, "scaling": {"mode": "External"}},
]


def tracked(**spec: Any) -> Tracked:
    metadata = {"name": "mails", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"}
    base = {
        "redis": {"url": "redis://cache"},
        "worker": {"handler": "app:handle"},
        "rollout": {"strategy": "Versioned"},
    }
    found = Tracked("u", History.fresh(0.0))
    kind = {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue"}
    found.take({**kind, "metadata": metadata, "spec": base | spec})
    assert found.rq is not None
    return found


def missing(of: Tracked, fleet: Fleet) -> Split | None:
    assert of.rq is not None
    decision, of.history = decide(WORK, Policy.of(of.rq.spec), of.history, 1.0)
    of.decision = decision
    return trial.with_missing(of, fleet, decision)


def with_canaries(number: int) -> Fleet:
    return Fleet(3 + number, 3, 1, PODS, "1", Canary(number, "2"))


@pytest.mark.parametrize("spec", FIXED)
def test_no_trial_begins_where_somebody_else_chooses_the_number(spec: dict[str, Any]) -> None:
    of = tracked(**spec)
    assert trial.chooser(of)(NEW) is Stage.WAIT
    trial.look(of, Fleet(3, 3, 1, PODS, "1"), None, 1000.0)
    assert of.rollout is not None
    assert (of.rollout.phase, of.rollout.reason) == (Phase.WAITING, "NumberIsFixed")
    assert "spec.replicas" in of.rollout.message
    waiting = of.rollout
    trial.chooser(of)(NEW)
    trial.look(of, Fleet(3, 3, 1, PODS, "1"), None, 2000.0)
    assert of.rollout == waiting


@pytest.mark.parametrize("spec", FIXED)
def test_one_that_has_begun_goes_on_with_the_canaries_it_has(spec: dict[str, Any]) -> None:
    of = tracked(**spec)
    assert trial.chooser(of)(ON_TRIAL) is Stage.CANARY
    assert missing(of, with_canaries(0)) is None


@pytest.mark.parametrize("mode", ["Auto", "UpOnly"])
def test_where_workers_may_be_started_a_canary_is(mode: str) -> None:
    of = tracked(scaling={"mode": mode})
    assert trial.chooser(of)(NEW) is Stage.CANARY
    assert missing(of, with_canaries(0)) == Split(3, 1)


def test_a_trial_begins_when_the_number_may_change() -> None:
    before, after = tracked(scaling={"mode": "Paused"}), tracked()
    trial.chooser(before)(NEW)
    trial.look(before, Fleet(3, 3, 1, PODS, "1"), None, 1000.0)
    after.rollout = before.rollout
    assert trial.chooser(after)(NEW) is Stage.CANARY
    assert trial.look(after, with_canaries(0), None, 2000.0)
    assert after.rollout is not None
    assert (after.rollout.phase, after.rollout.since) == (Phase.CANARY, 2000)


def test_there_are_never_more_workers_than_the_most_there_may_be() -> None:
    of = tracked(scaling={"maxReplicas": 3})
    trial.chooser(of)(ON_TRIAL)
    assert missing(of, with_canaries(0)) == Split(2, 1), "it takes the place of another one"
    of = tracked(scaling={"maxReplicas": 4}, rollout={"strategy": "Versioned", "canaryPercent": 50})
    trial.chooser(of)(ON_TRIAL)
    assert missing(of, with_canaries(0)) == Split(3, 1), "two would be one too many"


@pytest.mark.parametrize(
    ("spec", "fleet", "told"),
    [
        ({"scaling": {"maxReplicas": 1}}, Fleet(1, 1, 1, PODS[:1], "1", Canary(0, "2")), "maxReplicas"),
        ({"scaling": {"mode": "Paused"}}, with_canaries(0), "spec.replicas"),
        ({}, replace(with_canaries(0), replica_failure="exceeded quota"), "exceeded quota"),
    ],
)
def test_why_no_canary_is_started_is_told(spec: dict[str, Any], fleet: Fleet, told: str) -> None:
    of = tracked(**spec)
    trial.chooser(of)(ON_TRIAL)
    assert missing(of, fleet) is None
    trial.look(of, fleet, EMPTY, 1000.0)
    assert of.rollout is not None
    assert of.rollout.reason == "NotReady"
    assert told in of.rollout.message
