"""No trial where nobody may start a worker: modes, a person's number, the most there may be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.observations import EMPTY_SAMPLE, pod, queue, seen, worker

from redisqueue_operator.api import parse
from redisqueue_operator.decide.canary import Phase, Rollout, Split, Stage, Versions, stage_of, trial
from redisqueue_operator.decide.scaling import History, Policy, decide
from redisqueue_operator.observe.facts import Canary, Fleet

if TYPE_CHECKING:
    from redis_message_queue.stats import QueueSample

PODS = tuple(pod(f"p{number}") for number in range(3))
NEW = Versions(wanted="new", stable="old")
ON_TRIAL = Versions(wanted="new", stable="old", canary="new")
WORK = seen(queue(20), PODS, [worker(each.name, 1) for each in PODS])

FIXED: list[dict[str, Any]] = [
    {"scaling": {"mode": "Paused"}},
    {"scaling": {"mode": "DryRun"}},
    {"scaling": {"mode": "External"}},
    {"scaling": {"mode": "DownOnly"}},
    {"replicas": 3},
    {"replicas": 5, "scaling": {"mode": "External"}},
]


class Tried:
    """A RedisQueue whose template is tried: what is decided at one look is remembered for the next."""

    def __init__(self, **spec: Any) -> None:
        metadata = {"name": "mails", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "1"}
        base = {
            "redis": {"url": "redis://cache"},
            "worker": {"handler": "app:handle"},
            "rollout": {"strategy": "Versioned"},
        }
        kind = {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue"}
        self.spec = parse({**kind, "metadata": metadata, "spec": base | spec}).spec
        self.decision, _ = decide(WORK, Policy.of(self.spec), History.fresh(0.0), 1.0)
        self.rollout: Rollout | None = None

    def choose(self, versions: Versions) -> Stage:
        self.versions = versions
        may_start = trial.may_start(self.spec)
        self.stage = stage_of(versions, self.rollout, versioned=True, may_start=may_start)
        return self.stage

    def look(self, fleet: Fleet, sample: QueueSample | None, wall: float) -> bool:
        """Whether that was a step."""
        before = self.rollout
        self.rollout = trial.look(
            self.spec,
            before,
            self.stage,
            self.versions,
            fleet=fleet,
            decision=self.decision,
            sample=sample,
            wall=wall,
        )
        return trial.is_a_step(before, self.rollout)


def missing(of: Tried, fleet: Fleet) -> Split | None:
    return trial.with_missing(of.spec, of.stage, fleet, of.decision)


def with_canaries(number: int) -> Fleet:
    return Fleet(3 + number, 3, 1, PODS, "1", Canary(number, "2"))


@pytest.mark.parametrize("spec", FIXED)
def test_no_trial_begins_where_somebody_else_chooses_the_number(spec: dict[str, Any]) -> None:
    of = Tried(**spec)
    assert of.choose(NEW) is Stage.WAIT
    of.look(Fleet(3, 3, 1, PODS, "1"), None, 1000.0)
    assert of.rollout is not None
    assert (of.rollout.phase, of.rollout.reason) == (Phase.WAITING, "NumberIsFixed")
    assert "spec.replicas" in of.rollout.message
    waiting = of.rollout
    of.choose(NEW)
    of.look(Fleet(3, 3, 1, PODS, "1"), None, 2000.0)
    assert of.rollout == waiting


@pytest.mark.parametrize("spec", FIXED)
def test_one_that_has_begun_goes_on_with_the_canaries_it_has(spec: dict[str, Any]) -> None:
    of = Tried(**spec)
    assert of.choose(ON_TRIAL) is Stage.CANARY
    assert missing(of, with_canaries(0)) is None


@pytest.mark.parametrize("mode", ["Auto", "UpOnly"])
def test_where_workers_may_be_started_a_canary_is(mode: str) -> None:
    of = Tried(scaling={"mode": mode})
    assert of.choose(NEW) is Stage.CANARY
    assert missing(of, with_canaries(0)) == Split(3, 1)


def test_a_trial_begins_when_the_number_may_change() -> None:
    before, after = Tried(scaling={"mode": "Paused"}), Tried()
    before.choose(NEW)
    before.look(Fleet(3, 3, 1, PODS, "1"), None, 1000.0)
    after.rollout = before.rollout
    assert after.choose(NEW) is Stage.CANARY
    assert after.look(with_canaries(0), None, 2000.0)
    assert after.rollout is not None
    assert (after.rollout.phase, after.rollout.since) == (Phase.CANARY, 2000)


def test_there_are_never_more_workers_than_the_most_there_may_be() -> None:
    of = Tried(scaling={"maxReplicas": 3})
    of.choose(ON_TRIAL)
    assert missing(of, with_canaries(0)) == Split(2, 1), "it takes the place of another one"
    of = Tried(scaling={"maxReplicas": 4}, rollout={"strategy": "Versioned", "canaryPercent": 50})
    of.choose(ON_TRIAL)
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
    of = Tried(**spec)
    of.choose(ON_TRIAL)
    assert missing(of, fleet) is None
    of.look(fleet, EMPTY_SAMPLE, 1000.0)
    assert of.rollout is not None
    assert of.rollout.reason == "NotReady"
    assert told in of.rollout.message
