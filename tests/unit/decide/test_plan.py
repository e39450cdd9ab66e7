"""Given what is seen, what is remembered and the time, the plan is …: as tables, with nothing running."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from tests.support.observations import EMPTY_SAMPLE, pod, queue, worker
from tests.support.observations import seen as observed
from tests.support.resources import manifest

from redis_message_queue.stats import QueueSample, WorkerState
from redisqueue_operator.api import parse
from redisqueue_operator.decide.attempt import ENDLESS, RETRY_SECONDS
from redisqueue_operator.decide.canary import Phase, Rollout, Split
from redisqueue_operator.decide.children.identity import CONFIG_HASH, OPERATOR, OPERATOR_VERSION, OWNER_UID
from redisqueue_operator.decide.children.plan import APPLIED, Applied, Known
from redisqueue_operator.decide.finalizer import FINALIZER
from redisqueue_operator.decide.look import Done, Facts, Memory, Now, Plan
from redisqueue_operator.decide.plan import plan_of
from redisqueue_operator.decide.queue_conflict import Claimant
from redisqueue_operator.decide.remember import is_to_be_raised, remembered
from redisqueue_operator.decide.scaling import Ceiling, History
from redisqueue_operator.decide.scaling.explain import BLOCKED
from redisqueue_operator.decide.version_skew import ANSWER_SECONDS, Precedence
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.observe.facts import (
    ApplyOutcome,
    Canary,
    ChildrenSeen,
    Fleet,
    Hindrance,
    Observation,
    PodObservation,
    QueueObservation,
    WorkerObservation,
)
from redisqueue_operator.platform import Written

START = 1000.0
EMPTY = queue()
WALL = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
NOW = Now(START, WALL, chance=0.5)
SCALING = {
    "backlogPerSlot": 5,
    "scaleDown": {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0},
}
MADE = Known(Applied("Roll v1", "live", APPLIED, START))
"""The children are as this operator made them."""


def deployment(
    template: str = "v1", version: str = "1.0.0", author: str = "", uid: str = "uid-emails"
) -> Any:
    annotations = {OWNER_UID: uid, OPERATOR_VERSION: version} | ({OPERATOR: author} if author else {})
    metadata = {"namespace": "default", "name": "emails-worker", "labels": {}, "annotations": annotations}
    template_of = {"metadata": {"annotations": {CONFIG_HASH: template}, "labels": {}}}
    selector = {"matchLabels": {}}
    return {"metadata": metadata, "spec": {"template": template_of, "selector": selector}}


@dataclass(frozen=True)
class Look:
    """One look, and what the tests change of it."""

    spec: dict[str, Any] = field(default_factory=dict)
    of: QueueObservation | None = EMPTY
    pods: tuple[PodObservation, ...] = ()
    workers: tuple[WorkerObservation, ...] = ()
    canaries: int | None = None
    children: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    deleted: bool = False
    made: bool = True
    sample: QueueSample | None = None
    claimants: dict[str, Claimant] = field(default_factory=dict)
    settings_for: float = math.inf
    problem: str = ""

    def seen(self) -> Facts:
        raw = manifest(scaling=self.spec.get("scaling", SCALING), **_but(self.spec, "scaling"))
        raw["metadata"] |= {"finalizers": list(self.finalizers), "creationTimestamp": "2026-01-01T00:00:00Z"}
        raw["status"] = self.status
        if self.deleted:
            raw["metadata"]["deletionTimestamp"] = datetime.fromtimestamp(WALL, UTC).isoformat()
        fleet = Fleet()
        if self.made:
            canary = Canary(self.canaries, "2") if self.canaries is not None else None
            number = len(self.pods) + (self.canaries or 0)
            fleet = Fleet(number, sum(each.ready for each in self.pods), 1, self.pods, "1", canary)
        observation: Observation = observed(self.of, self.pods, self.workers, replicas=fleet.replicas)
        workers = deployment() if self.made else None
        there = {"workers": workers, "live": "live" if self.made else ""}
        children = {"manifests": (deployment(),), "digest": "v1", **there, **self.children}
        return Facts(
            raw,
            parse(raw),
            self.problem,
            fleet=fleet,
            children=ChildrenSeen("1.0.0", "ours", **children),
            observation=observation,
            sample=self.sample,
            claimants=self.claimants,
            settings_for=self.settings_for,
        )


def _but(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in spec.items() if each != name}


def memory(**known: Any) -> Memory:
    return Memory(History.fresh(0.0), **{"children": MADE, **known})


def steps(plan: Plan) -> dict[str, Any]:
    """What it writes, in its order, in short."""
    status = plan.status or {}
    found = {
        "children": plan.children and plan.children.wanted,
        "retire": plan.retire,
        "scale": plan.scale and tuple(plan.scale.split),
        "recall": plan.recall,
        "status": {each["type"]: each["reason"] for each in status.get("conditions", ())}.get("Ready"),
        "events": tuple(event.reason for event in plan.events),
        "finalizer": plan.finalizer,
    }
    return {name: what for name, what in found.items() if what not in (None, ())}


BUSY = ("a", "b")
IDLE = tuple(pod(name) for name in BUSY)
REPORTS = tuple(worker(name) for name in BUSY)
HELD = {"spec": {"deletionPolicy": "Drain"}, "finalizers": (FINALIZER,)}
LATER = Hindrance("ScaleRefused", "not on Fridays", START + 3)
PRIOR = Claimant("2025", "older", "default/older", "there")
TABLE: dict[str, tuple[Look, dict[str, Any], dict[str, Any], float]] = {
    "nothing is there: the children, and nothing else before they are": (
        Look(of=queue(20), made=False),
        {"children": Known()},
        {"children": "Roll v1"},
        0,
    ),
    "as another leader left it: nothing is written but what it did not tell": (
        Look(),
        {"children": Known()},
        {"status": "Applied"},
        math.inf,
    ),
    "somebody has changed the Deployment: it is mended": (
        Look(children={"live": "edited"}),
        {},
        {"children": "Roll v1"},
        0,
    ),
    "work for four workers: the number, and no status in the same plan": (
        Look(of=queue(20)),
        {},
        {"scale": (4, 0)},
        0,
    ),
    "nobody is needed: the idle ones are retired first": (
        Look(pods=IDLE, workers=REPORTS),
        {},
        {"retire": ("a", "b"), "scale": (0, 0)},
        0,
    ),
    "retired for a shrink that took others: they claim again": (
        Look(of=queue(10), pods=IDLE, workers=(worker("a", retired=True), worker("b", 1))),
        {},
        {"recall": ("a",), "status": "Applied"},
        math.inf,
    ),
    "but not before it shows whom the shrink took": (
        Look(of=queue(10), pods=IDLE, workers=(worker("a", retired=True), worker("b", 1))),
        {"scaled_at": START - 0.5},
        {"status": "Applied"},
        1.5,
    ),
    "a refused change is not tried again yet, and told": (
        Look(of=queue(20)),
        {"hindrance": LATER},
        {"status": "ScaleRefused", "events": ("ScaleRefused",)},
        3.0,
    ),
    "a refused change is tried again in time": (
        Look(of=queue(20)),
        {"hindrance": replace(LATER, until=START)},
        {"scale": (4, 0)},
        0,
    ),
    "a deletion shall wait for us: first of all the finalizer": (
        Look(spec={"deletionPolicy": "Drain"}, of=queue(20), made=False),
        {"children": Known()},
        {"finalizer": True},
        0,
    ),
    "it shall wait no longer": (
        Look(finalizers=(FINALIZER,), of=queue(20)),
        {},
        {"finalizer": False},
        0,
    ),
    "deleted, with messages left: workers for these, and it is held": (
        Look(**HELD, of=queue(20), deleted=True),
        {},
        {"scale": (4, 0)},
        0,
    ),
    "deleted, and its workers have what is left in hand: it is told, and looked at soon": (
        Look(**HELD, of=queue(in_flight=1), pods=IDLE[:1], workers=(worker("a", 1),), deleted=True),
        {},
        {"status": "Deleting", "events": ("Deleting",)},
        0.5,
    ),
    "deleted, and empty since: it is let go": (
        Look(**HELD, of=queue(at=2000), deleted=True),
        {"deletion_seen_ms": 1_000_000},
        {"finalizer": False},
        math.inf,
    ),
    "deleted, and its workers vanished: that is told before it is let go": (
        Look(**HELD, of=queue(3), deleted=True, made=False),
        {},
        {"events": ("WorkersVanished",), "finalizer": False},
        math.inf,
    ),
    "deleted before any workers were made: nobody is said to have deleted them": (
        Look(**HELD, of=queue(3), deleted=True, made=False),
        {"children": Known()},
        {"events": ("MessagesLeft",), "finalizer": False},
        math.inf,
    ),
    "deleted, and its workers were refused: the same": (
        Look(**HELD, of=queue(3), deleted=True, made=False),
        {"children": Known(Applied("Roll v1", "", ApplyOutcome(False, "ApplyRefused", "no"), START))},
        {"events": ("MessagesLeft",), "finalizer": False},
        math.inf,
    ),
    "deleted without workers or messages: there is nothing to tell": (
        Look(**HELD, deleted=True, made=False),
        {"children": Known()},
        {"finalizer": False},
        math.inf,
    ),
    "on its way out without us: nothing at all": (
        Look(of=queue(20), deleted=True),
        {},
        {},
        math.inf,
    ),
    "a spec that says nothing usable: told, and nothing that runs is touched": (
        Look(of=queue(20), problem="spec.worker.handler: 5"),
        {},
        {"status": "InvalidSpec", "events": ("InvalidSpec",)},
        math.inf,
    ),
    "unusable, deleted and held: it is let go": (
        Look(**HELD, problem="spec.worker.handler: 5", deleted=True),
        {},
        {"finalizer": False},
        math.inf,
    ),
    "somebody has the older right to the queue: told, and nothing else": (
        Look(of=queue(20), made=False),
        {"prior_claimant": PRIOR, "children": Known()},
        {"status": "Conflict", "events": ("Conflict",)},
        math.inf,
    ),
    "somebody else's Deployment has the name": (
        Look(children={"workers": deployment(uid="somebody")}),
        {"children": Known()},
        {"status": "NameConflict", "events": ("NameConflict",)},
        math.inf,
    ),
    "a newer operator made it: that is told": (
        Look(children={"workers": deployment(version="9.0.0"), "live": "theirs"}),
        {},
        {"status": "NewerOperator", "events": ("NewerOperator",)},
        ANSWER_SECONDS,
    ),
    "nobody corrected that: the workers are scaled as they are": (
        Look(
            of=queue(20),
            children={"workers": deployment(version="9.0.0"), "live": "theirs"},
            status={"conditions": [{"type": "Ready", "status": "False", "reason": "NewerOperator"}]},
        ),
        {"precedence": Precedence(told_at=START - ANSWER_SECONDS)},
        {"scale": (4, 0)},
        0,
    ),
    "it corrected that: the object is left alone": (
        Look(of=queue(20), children={"workers": deployment(version="9.0.0"), "live": "theirs"}),
        {"precedence": Precedence(told_at=START - 1)},
        {},
        ANSWER_SECONDS,
    ),
    "a Secret is missing: told, and nothing is applied": (
        Look(made=False, children={"problem": ApplyOutcome(False, "SecretMissing", "no Secret 'x'")}),
        {"children": Known()},
        {"status": "SecretMissing", "events": ("SecretMissing",)},
        math.inf,
    ),
    "before the first sample nothing is told": (
        Look(of=None),
        {"looked_at": START - 60},
        {"status": "RedisUnreachable", "events": ("RedisUnreachable",)},
        math.inf,
    ),
    "a status was thought of a moment ago: not again yet": (
        Look(),
        {"looked_at": START - 0.4},
        {},
        1.0,
    ),
    "the login is to be asked for again soon": (
        Look(settings_for=7.0),
        {"looked_at": START - 0.4},
        {},
        1.0,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_plan_is(name: str) -> None:
    look, known, expected, again = TABLE[name]
    plan = plan_of(look.seen(), memory(**known), NOW)
    assert (steps(plan), plan.again) == (expected, again)


def test_the_steps_stand_in_the_order_in_which_they_are_written() -> None:
    written = ["children", "retire", "scale", "recall", "status", "events", "finalizer"]
    assert [name for name in Plan.__dataclass_fields__ if name in written] == written


@pytest.mark.parametrize(
    ("look", "known"),
    [
        (TABLE["on its way out without us: nothing at all"], {}),
        (TABLE["a spec that says nothing usable: told, and nothing that runs is touched"], {}),
        (TABLE["it corrected that: the object is left alone"], {}),
    ],
)
def test_a_queue_whose_workers_are_not_ours_to_choose_is_not_sampled(
    look: Any, known: dict[str, Any]
) -> None:
    of, remembers, *_ = look
    assert not plan_of(of.seen(), memory(**remembers, **known), NOW).sampled
    assert plan_of(Look().seen(), memory(), NOW).sampled


def test_a_quiet_queue_costs_no_write() -> None:
    look = Look()
    first = plan_of(look.seen(), memory(), NOW)
    assert first.status is not None
    known = remembered(first, Done(told=True), NOW)
    later = replace(NOW, clock=START + 60)
    again = plan_of(replace(look, status=first.status).seen(), known, later)
    assert steps(again) == {}
    assert again.shown == first.status, "which is what the metrics say, too"


def test_what_was_scaled_is_told_by_the_next_plan_and_once() -> None:
    plan = plan_of(Look(of=queue(20)).seen(), memory(looked_at=START - 0.1), NOW)
    known = remembered(plan, Done(scaled=Split(4, 0)), NOW)
    look = Look(of=queue(20), pods=tuple(pod(f"p{n}", ready=False) for n in range(4)))
    told = plan_of(look.seen(), known, NOW)
    assert steps(told) == {"status": "NotEnoughWorkers", "events": ("Scaled",)}
    assert told.status is not None
    assert (told.status["decision"]["from"], told.status["decision"]["to"]) == (0, 4)
    assert remembered(told, Done(told=True), NOW).scaled is None
    assert remembered(told, Done(failed="status"), NOW).scaled is not None, "as long as it is not told"


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(Done(), id="the finalizer is off, and the watch does not say so yet"),
        pytest.param(Done(failed="finalizer", error=Conflict("x")), id="the finalizer cannot be taken off"),
    ],
)
def test_that_the_workers_vanished_is_told_once(done: Done) -> None:
    look = Look(**HELD, of=queue(3), deleted=True, made=False)
    first = plan_of(look.seen(), memory(), NOW)
    assert steps(first) == {"events": ("WorkersVanished",), "finalizer": False}
    later = replace(NOW, clock=START + 60)
    assert steps(plan_of(look.seen(), remembered(first, done, NOW), later)) == {"finalizer": False}


def test_while_many_statuses_are_written_another_one_waits_and_is_written_when_it_is_called() -> None:
    plan = plan_of(Look().seen(), memory(), replace(NOW, crowded=True))
    assert (steps(plan), plan.untold, plan.again) == ({}, True, 45)
    called = plan_of(Look().seen(), remembered(plan, Done(), NOW), NOW)
    assert (called.status is not None, called.untold) == (True, False)


def test_before_the_first_sample_nothing_is_told() -> None:
    look = Look(of=None)
    unread = replace(look.seen().observation or observed(None), redis_reason="", redis_message="")
    assert steps(plan_of(replace(look.seen(), observation=unread), memory(), NOW)) == {}


def test_no_number_is_written_while_a_newer_operator_may_answer() -> None:
    theirs = {"workers": deployment(version="9.0.0"), "live": "theirs"}
    assert "scale" not in steps(plan_of(Look(of=queue(20), children=theirs).seen(), memory(), NOW))


def test_a_refused_number_is_told_with_what_was_seen() -> None:
    look = Look(of=queue(20))
    first = plan_of(look.seen(), memory(), NOW)
    known = remembered(first, Done(failed="scale", hindrance=LATER), NOW)
    told = plan_of(look.seen(), known, NOW, {"scale"})
    assert steps(told) == {"status": "ScaleRefused", "events": ("ScaleRefused",)}
    assert told.status is not None
    assert told.status["queue"]["pending"] == 20
    assert told.status["decision"]["blockedBy"] == "ScaleRefused"


def test_victims_that_took_a_message_are_told_as_what_holds_the_number() -> None:
    look = Look(pods=IDLE, workers=REPORTS)
    told = plan_of(look.seen(), memory(), NOW, {"retire"})
    assert told.memory.decision is not None
    assert (told.memory.decision.to_replicas, told.memory.decision.blocked_by) == (2, "BusyWorkers")
    assert told.status is not None
    assert told.scale is None


def test_a_finalizer_that_is_refused_keeps_no_worker_from_a_queue() -> None:
    look = Look(spec={"deletionPolicy": "Drain"}, of=queue(20))
    assert steps(plan_of(look.seen(), memory(), NOW, {"finalizer"})) == {"scale": (4, 0)}


def test_children_that_cannot_be_written_keep_no_worker_from_a_queue() -> None:
    look = Look(of=queue(20), children={"live": "edited"})
    assert steps(plan_of(look.seen(), memory(), NOW, {"children"})) == {"scale": (4, 0)}


@pytest.mark.parametrize(("generation", "told"), [(1, True), (0, False)])
def test_no_status_says_that_a_spec_is_in_force_which_could_not_be_applied(
    generation: int, *, told: bool
) -> None:
    look = Look(children={"live": "edited"}, status={"observedGeneration": generation})
    assert (plan_of(look.seen(), memory(), NOW, {"children"}).status is not None) == told


def test_the_outcome_of_what_was_written_is_what_the_next_plan_tells() -> None:
    look = Look(made=False)
    first = plan_of(look.seen(), memory(children=Known()), NOW)
    refused = ApplyOutcome(False, "ApplyRefused", "no such field")
    known = remembered(first, Done(written=Written(refused, "")), NOW)
    assert steps(plan_of(look.seen(), known, NOW)) == {"status": "ApplyRefused", "events": ("ApplyRefused",)}
    later = replace(NOW, clock=START + 31)
    assert steps(plan_of(look.seen(), known, later)) == {"children": "Roll v1"}, "after a while once more"


def test_a_list_that_misses_a_child_has_all_of_them_applied_again_once() -> None:
    look = Look(children={"others_missed_at": START + 1, "others_as_wanted": False})
    assert steps(plan_of(look.seen(), memory(), NOW)) == {"children": "Roll v1"}
    after = replace(NOW, clock=START + 2)
    known = remembered(plan_of(look.seen(), memory(), after), Done(written=Written(APPLIED, "live")), after)
    assert "children" not in steps(plan_of(look.seen(), known, after))


def failing(look: Look, known: Memory, step: str, error: PlatformError, times: int) -> Memory:
    """What is remembered when a step of the plan is refused so often in a row."""
    for _ in range(times):
        plan = plan_of(look.seen(), known, NOW)
        assert step in steps(plan)
        known = remembered(plan, Done(failed=step, error=error), NOW)
    return known


BUSIER = Conflict("somebody was faster")
REFUSED = PlatformError("not on Fridays")


@pytest.mark.parametrize(
    ("look", "step", "error", "times", "told"),
    [
        (Look(children={"live": "edited"}), "children", BUSIER, ENDLESS, "ApplyConflict"),
        (Look(children={"live": "edited"}), "children", REFUSED, 1, "ApplyRefused"),
        (Look(spec={"deletionPolicy": "Drain"}), "finalizer", BUSIER, ENDLESS, "FinalizerRefused"),
        (Look(spec={"deletionPolicy": "Drain"}), "finalizer", REFUSED, 1, "FinalizerRefused"),
        (Look(of=queue(20)), "scale", REFUSED, 1, "Applied"),
    ],
)
def test_what_is_refused_for_good_is_told_and_tried_again_after_a_while(
    look: Look, step: str, error: PlatformError, times: int, told: str
) -> None:
    known = failing(look, memory(), step, error, times)
    done = Done(failed=step, error=error)
    assert is_to_be_raised(known, done, START) is (step == "scale"), "only what people are not told of"
    then = plan_of(look.seen(), known, NOW, {step})
    assert step not in steps(then)
    assert steps(then)["status"] == told
    if step != "scale":
        assert then.again == RETRY_SECONDS
        work = replace(look, of=queue(20))
        assert steps(plan_of(work.seen(), known, NOW)) == {"scale": (4, 0)}, "and keeps no worker away"
        later = replace(NOW, clock=START + RETRY_SECONDS)
        assert step in steps(plan_of(look.seen(), known, later))


def test_a_conflict_that_may_pass_is_not_told_but_looked_at_again() -> None:
    look = Look(children={"live": "edited"})
    known = failing(look, memory(), "children", BUSIER, ENDLESS - 1)
    assert is_to_be_raised(known, Done(failed="children", error=BUSIER), START)
    assert steps(plan_of(look.seen(), known, NOW)) == {"children": "Roll v1"}
    plan = plan_of(look.seen(), known, NOW)
    well = remembered(plan, Done(written=Written(APPLIED, "edited")), NOW)
    assert well.attempt("children").in_vain == 0


def test_a_status_that_is_refused_is_told_by_an_event_once_and_stops_nothing() -> None:
    look = Look()
    known = failing(look, memory(), "status", REFUSED, 1)
    told = plan_of(look.seen(), known, NOW, {"status"})
    assert steps(told) == {"events": ("StatusRefused",)}
    later = replace(NOW, clock=START + 1)
    assert steps(plan_of(look.seen(), told.memory, later)) == {}, "it is not tried yet"
    assert steps(plan_of(replace(look, of=queue(20)).seen(), told.memory, later)) == {"scale": (4, 0)}
    again = plan_of(look.seen(), told.memory, replace(NOW, clock=START + RETRY_SECONDS))
    assert "status" in steps(again)
    refused = remembered(again, Done(failed="status", error=REFUSED), NOW)
    assert steps(plan_of(look.seen(), refused, NOW, {"status"})) == {}
    written = remembered(again, Done(told=True), NOW)
    assert written.attempt("status").error is None


def test_a_release_that_is_refused_is_told_and_vanished_workers_only_once() -> None:
    gone = Look(**HELD, of=queue(3), deleted=True, made=False)
    first = plan_of(gone.seen(), memory(), NOW)
    known = remembered(first, Done(failed="finalizer", error=REFUSED), NOW)
    told = plan_of(gone.seen(), known, NOW, {"finalizer"})
    assert steps(told) == {"status": "FinalizerRefused", "events": ("FinalizerRefused",)}
    again = plan_of(gone.seen(), told.memory, replace(NOW, clock=START + RETRY_SECONDS))
    assert steps(again) == {"finalizer": False}


def test_a_remark_is_told_when_it_begins_and_when_it_is_over() -> None:
    look = Look(children={"remark": "two budgets"})
    first = plan_of(look.seen(), memory(remark=""), NOW)
    assert steps(first)["events"][0] == "SecondDisruptionBudget"
    assert remembered(first, Done(failed="status", error=BUSIER), NOW).remark == "", "it was not told"
    known = replace(remembered(first, Done(told=True), NOW), looked_at=START - 60)
    assert "SecondDisruptionBudget" not in steps(plan_of(look.seen(), known, NOW)).get("events", ())
    assert "Recovered" in steps(plan_of(Look().seen(), known, NOW))["events"]


def test_what_an_operator_that_is_gone_has_made_is_taken_over() -> None:
    theirs = {"workers": deployment(author="theirs"), "live": "theirs", "manifests": (deployment("v2"),)}
    look = Look(children={**theirs, "digest": "v2"})
    theirs["workers"]["metadata"]["annotations"]["redisqueue.dev/applied-hash"] = "another"
    told = plan_of(look.seen(), memory(), NOW)
    assert steps(told) == {"status": "ForeignOperator", "events": ("ForeignOperator",)}
    known = remembered(told, Done(told=True), NOW)
    later = replace(NOW, clock=START + ANSWER_SECONDS)
    assert told.status is not None
    taken = plan_of(replace(look, status=told.status).seen(), known, later)
    assert (steps(taken), taken.again) == ({}, 0)
    assert steps(plan_of(look.seen(), taken.memory, later)) == {"children": "Roll v2"}


@pytest.mark.parametrize(
    ("rolling", "starting", "expected"),
    [
        (0, 0, {"children": "Roll v2"}),
        (4, 0, {"children": "Roll v2"}),
        (4, 1, {"status": "RolloutQueued"}),
        (5, 0, {"status": "RolloutQueued"}),
        (None, 0, {"status": "RolloutQueued"}),
    ],
)
def test_an_operators_upgrade_waits_for_its_turn(rolling: int | None, starting: int, expected: Any) -> None:
    older = deployment("v1", version="0.9.0")
    older["spec"]["replicas"] = 2
    seen: dict[str, Any] = {
        "manifests": (deployment("v2"),),
        "digest": "v2",
        "workers": older,
        "live": "older",
        "rolling": rolling,
        "starting": starting,
    }
    look = Look(of=queue(10), pods=IDLE, workers=REPORTS, children=seen)
    first = plan_of(look.seen(), memory(children=Known()), NOW)
    assert steps(first) == expected
    assert first.children is None or first.children.upgrade
    asked = replace(look, children={**seen, "inputs": ("people changed it",)})
    assert steps(plan_of(asked.seen(), first.memory, NOW)) == {"children": "Roll v2"}, "that does not wait"


class OnTrial:
    """A new template on trial beside the old one."""

    SPEC: ClassVar[dict[str, Any]] = {
        "rollout": {"strategy": "Versioned"},
        "scaling": {**SCALING, "minReplicas": 2},
    }
    CHILDREN: ClassVar[dict[str, Any]] = {"manifests": (deployment("v2"),), "digest": "v2"}

    @classmethod
    def look(cls, **more: Any) -> Look:
        found: dict[str, Any] = {"pods": IDLE, "workers": REPORTS, "spec": cls.SPEC, "children": cls.CHILDREN}
        return Look(**found | more)


def test_a_trial_begins_with_a_deployment_for_its_canaries_beside_the_old_template() -> None:
    plan = plan_of(OnTrial.look().seen(), memory(children=Known()), NOW)
    assert steps(plan) == {"children": "Canary v2"}
    assert plan.children is not None
    assert plan.children.canaries is not None
    hashes = [
        each["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH]
        for each in (plan.children.workers, plan.children.canaries)
    ]
    assert hashes == ["v1", "v2"]


def test_a_step_of_a_trial_is_written_down_before_anything_is_done_about_it() -> None:
    made = Known(Applied("Canary v2", "live", APPLIED, START))
    look = OnTrial.look(canaries=0)
    first = plan_of(look.seen(), memory(children=made), NOW)
    assert (steps(first)["events"][-1], first.again) == ("Canary", 0)
    assert first.scale is None
    then = plan_of(look.seen(), remembered(first, Done(told=True), NOW), NOW)
    assert steps(then) == {"scale": (2, 1)}, "a canary beside the others"


@pytest.mark.parametrize("waits", [True, False], ids=["finds no node", "was not made"])
def test_a_fixed_number_is_not_left_to_a_canary_that_may_never_start(waits: bool) -> None:
    canary = pod("canary", ready=False, unschedulable=True, canary=True)
    look = OnTrial.look(
        spec={"rollout": {"strategy": "Versioned"}, "scaling": SCALING, "replicas": 1},
        of=queue(50, in_flight=1),
        pods=(pod("a"), canary) if waits else (pod("a"),),
        workers=(worker("a", 1),),
        children={**OnTrial.CHILDREN, "trial": deployment("v2")},
        canaries=1,
    )
    seen = look.seen()
    assert seen.fleet is not None
    assert seen.observation is not None
    fleet = replace(seen.fleet, replicas=2)
    seen = replace(seen, fleet=fleet, observation=fleet.seen_in(seen.observation))
    made = Known(Applied("Canary v2", "live", APPLIED, START))
    first = plan_of(seen, memory(children=made), NOW)
    then = plan_of(seen, remembered(first, Done(told=True), NOW), NOW)
    assert steps(then)["scale"] == (1, 0)
    assert then.scale is not None
    assert then.scale.victims == ("canary",) or not waits


@pytest.mark.parametrize(("most", "share"), [(None, (5, 5)), (9, (5, 5)), (10, (5, 5)), (12, (10, 2))])
def test_a_trial_stays_within_what_the_budget_leaves(most: int | None, share: tuple[int, int]) -> None:
    names = [f"p{n}" for n in range(10)]
    spec = {"rollout": {"strategy": "Versioned", "canaryPercent": 50}, "scaling": {"maxReplicas": 40}}
    look = OnTrial.look(
        spec=spec,
        of=queue(500, in_flight=10),
        pods=tuple(map(pod, names)),
        workers=tuple(worker(name, 1) for name in names),
        canaries=0,
    )
    facts = replace(look.seen(), ceiling=Ceiling("shop", most, "its share"))
    made = Known(Applied("Canary v2", "live", APPLIED, START))
    first = plan_of(facts, memory(children=made), NOW)
    then = plan_of(facts, remembered(first, Done(told=True), NOW), NOW)
    assert steps(then)["scale"] == share


@pytest.mark.parametrize("reason", ["", "ConnectionRefused"])
def test_as_long_as_the_queue_is_unread_no_canary_is_started(reason: str) -> None:
    """Nobody knows how many it takes; and before the first sample a step cannot be written down."""
    look, at_work = OnTrial.look(canaries=0), OnTrial.look(canaries=1)
    known = memory(children=Known(Applied("Canary v2", "live", APPLIED, START)))
    unread = replace(look.seen().observation or observed(None), queue=None, redis_reason=reason)
    first = plan_of(replace(look.seen(), observation=unread), known, NOW)
    assert first.scale is None
    assert (first.status is None, first.memory.rollout is None) == (not reason, not reason)
    then = plan_of(replace(look.seen(), observation=unread), remembered(first, Done(told=True), NOW), NOW)
    assert then.scale is None
    more = replace(at_work.seen().observation or observed(None), queue=None, redis_reason=reason)
    assert plan_of(replace(at_work.seen(), observation=more), then.memory, NOW).scale is None
    read = plan_of(look.seen(), remembered(first, Done(told=True), NOW), NOW)
    if not reason:
        assert (steps(read)["events"][-1], read.scale) == ("Canary", None)
    else:
        assert steps(read) == {"scale": (2, 1)}


def test_a_template_that_was_refused_leaves_no_canaries() -> None:
    refused = Rollout(Phase.ROLLED_BACK, "v2", "v1", int(WALL), "Failures", "3 of 10")
    trial = deployment("v2")
    children = {**OnTrial.CHILDREN, "trial": trial}
    plan = plan_of(OnTrial.look(children=children).seen(), memory(children=Known(), rollout=refused), NOW)
    assert steps(plan) == {"children": "Stay v2"}
    assert plan.children is not None
    assert (plan.children.ended, plan.children.canaries) == (trial, None)


def test_a_number_that_is_not_ours_to_write_is_not_told_as_wanted() -> None:
    look = Look(of=queue(20), pods=IDLE, workers=REPORTS)
    plan = plan_of(look.seen(), memory(prior_claimant=PRIOR), NOW)
    assert plan.status is not None
    assert plan.status["workers"]["desired"] == 2
    assert "Scaled" not in {event.reason for event in plan.events}
    decision = plan.status["decision"]
    assert (decision["from"], decision["to"], decision["blockedBy"]) == (2, 2, "Conflict")
    assert plan.memory.decision is not None
    assert plan.memory.decision.blocked_by in BLOCKED, "what `redisqueue explain` says of it"


def test_whoever_is_at_work_on_the_queue_and_older_has_the_right_to_it() -> None:
    at_work = WorkerState(
        id="w",
        protocol=1,
        pod_uid="w",
        owner_uid="older",
        slots=1,
        busy=0,
        oldest_start_ms=None,
        draining=False,
        config_hash="",
        updated_ms=1_000_000,
        retired=False,
    )
    sample = replace(EMPTY_SAMPLE, pending=20, workers=(at_work,))
    look = Look(sample=sample, claimants={"older": PRIOR})
    plan = plan_of(look.seen(), memory(), NOW)
    assert steps(plan) == {"status": "Conflict", "events": ("Conflict",)}
    assert plan.memory.prior_claimant == PRIOR
    unread = plan_of(replace(look, sample=None).seen(), plan.memory, NOW)
    assert unread.memory.prior_claimant == PRIOR, "unknown is as it was"
