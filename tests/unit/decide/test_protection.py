"""Pods are left on their nodes while a handler runs for long, with few writes, and never for ever."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observations import pod, queue, seen, worker
from tests.support.resources import manifest

from redisqueue_operator.api import parse
from redisqueue_operator.decide.look import Done, Facts, Memory, Now, Plan, Protection
from redisqueue_operator.decide.protection import (
    LONG_SECONDS,
    MOST_AT_ONCE,
    PACE_SECONDS,
    RELEASE_SECONDS,
    UNKNOWN_SECONDS,
    PodChanges,
    annotations_of,
    judge,
    with_protection,
)
from redisqueue_operator.decide.remember import remembered
from redisqueue_operator.decide.scaling import History
from redisqueue_operator.decide.version_skew import NEWER
from redisqueue_operator.observe.facts import ApplyOutcome, Fleet, Hindrance

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.observe.facts import Observation, PodObservation, WorkerObservation

EVICT, DISRUPT = "cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"
OURS = "redisqueue.dev/protected"
A = ("a", "uid-a")
NEW = Protection(written_at=-math.inf)


def spec_of(**of_worker: Any) -> RedisQueue:
    raw = manifest()
    raw["spec"]["worker"] |= of_worker
    return parse(raw)


RQ = spec_of()


def one(protected: bool, *reports: WorkerObservation, known: bool = True, **of_pod: Any) -> Observation:
    """A pod `a` and what its workers say."""
    return seen(queue() if known else None, [pod("a", protected=protected, **of_pod)], reports)


def changes(
    observation: Observation, rq: RedisQueue = RQ, memory: Protection = NEW, now: float = 1000.0
) -> tuple[bool, bool]:
    """Whether the pod `a` is to be protected, and whether it is to be so no longer."""
    found = judge(observation, rq, memory, now)
    return found.protect == (A,), found.release == (A,)


BUSY = worker("a", 1, running=LONG_SECONDS)


def test_a_handler_that_has_run_for_a_minute_protects_its_pod() -> None:
    assert changes(one(False, BUSY)) == (True, False)
    assert changes(one(True, BUSY)) == (False, False)
    begun = judge(one(False, worker("a", 1, running=20.0)), RQ, NEW, 0.0)
    assert (begun.protect, begun.again) == ((), LONG_SECONDS - 20.0), "it is looked at when it may be long"


def test_short_work_and_none_protect_nobody() -> None:
    for report in (worker("a", 1, running=59.9), worker("a"), worker("a", 1)):
        assert changes(one(False, report)) == (False, False)
    assert judge(one(False, worker("a")), RQ, NEW, 0.0) == PodChanges(NEW)


def test_a_pod_that_goes_is_protected_while_it_finishes_and_is_not_written_to_after_that() -> None:
    """The node of a pod that drains is no less needed."""
    assert changes(one(False, BUSY, terminating=True)) == (True, False)
    long_ago = Protection({"uid-a": 0.0})
    assert changes(one(True, worker("a"), terminating=True), memory=long_ago) == (False, False)


def test_who_is_idle_is_released_after_two_minutes() -> None:
    memory = Protection({"uid-a": 1000.0})
    idle = one(True, worker("a"))
    soon = judge(idle, RQ, memory, 1000.0 + RELEASE_SECONDS - 7.0)
    assert (soon.release, soon.again) == ((), 7.0)
    assert changes(idle, memory=memory, now=1000.0 + RELEASE_SECONDS) == (False, True)


def test_an_operator_that_begins_anew_releases_what_the_one_before_it_left() -> None:
    first = judge(one(True, worker("a")), RQ, NEW, 50.0)
    assert (first.release, first.again) == ((), RELEASE_SECONDS)
    assert changes(one(True, worker("a")), memory=first.memory, now=50.0 + RELEASE_SECONDS) == (False, True)


@pytest.mark.parametrize(
    "observation",
    [
        one(True, known=False),
        one(True),
        one(True, worker("a", age=11.0)),
        one(True, worker("a"), worker("a", age=60.0)),
        one(True, worker("a", 1)),
    ],
    ids=["Redis away", "no report", "an old report", "one of two is silent", "a handler of unknown age"],
)
def test_what_is_not_known_changes_nothing(observation: Observation) -> None:
    memory = Protection({"uid-a": 0.0})
    assert changes(observation, memory=memory) == (False, False)
    unprotected = replace(observation, pods=(replace(observation.pods[0], protected=False),))
    assert changes(unprotected, memory=memory) == (False, False)
    known_again = judge(observation, RQ, memory, 1000.0).memory
    assert changes(one(True, worker("a")), memory=known_again, now=1001.0) == (False, False)


def test_a_handler_of_unknown_age_is_looked_at_again_soon() -> None:
    """That its age is told later is no news by itself."""
    assert judge(one(False, worker("a", 1)), RQ, NEW, 0.0) == PodChanges(NEW, again=UNKNOWN_SECONDS)
    assert judge(one(False), RQ, NEW, 0.0) == PodChanges(NEW), "and a first report is"


def test_a_pod_that_cannot_work_is_released_without_a_report() -> None:
    memory = Protection({"uid-a": 0.0})
    for broken in ({"failing": "CrashLoopBackOff"}, {"ready": False}):
        assert changes(one(True, **broken), memory=memory) == (False, True)


def test_a_handler_that_hangs_is_no_work() -> None:
    """As for a shrink: unless another one runs beside it, nobody knows for how long."""
    limit = float(RQ.spec.queue.max_in_flight_seconds)
    hung = worker("a", 1, running=limit + 1)
    assert changes(one(False, hung)) == (False, False)
    assert changes(one(True, hung), memory=Protection({"uid-a": 0.0})) == (False, True)
    assert changes(one(False, worker("a", 2, slots=2, running=limit + 1))) == (True, False)


def test_always_and_the_users_own_template_need_no_writes_and_never_takes_all_back() -> None:
    idle, memory = one(True, worker("a")), Protection({"uid-a": 999.0})
    assert changes(one(False, BUSY), spec_of(protect="Always")) == (False, False)
    assert changes(idle, spec_of(protect="Always"), Protection({"uid-a": 0.0})) == (False, False)
    assert changes(one(False, BUSY), spec_of(protect="Never")) == (False, False)
    assert changes(one(True, BUSY), spec_of(protect="Never"), memory) == (False, True)
    theirs = {"metadata": {"annotations": {EVICT: "true", DISRUPT: "false"}}}
    assert changes(one(False, BUSY), spec_of(template=theirs)) == (False, False)


def test_what_is_written_leaves_the_users_own_annotations_alone() -> None:
    assert annotations_of(RQ, protect=True) == {EVICT: "false", DISRUPT: "true", OURS: "true"}
    assert annotations_of(RQ, protect=False) == {EVICT: None, DISRUPT: None, OURS: None}
    theirs = spec_of(template={"metadata": {"annotations": {EVICT: "true"}}})
    assert annotations_of(theirs, protect=True) == {DISRUPT: "true", OURS: "true"}
    assert annotations_of(theirs, protect=False) == {DISRUPT: None, OURS: None}


def test_processes_without_a_node_are_not_protected() -> None:
    found = judge(seen(queue(), [pod("a")], [BUSY]), RQ, NEW, 0.0)
    assert found == PodChanges(NEW)


def test_few_are_written_at_once_the_longest_work_first() -> None:
    names = [f"{number:02}" for number in range(MOST_AT_ONCE + 5)]
    pods = [pod(name, protected=False) for name in names] + [pod("spent", protected=True)]
    reports = [worker(name, 1, running=LONG_SECONDS + int(name)) for name in names] + [worker("spent")]
    memory, crowd = Protection({"uid-spent": 0.0}), seen(queue(), pods, reports)
    first = judge(crowd, RQ, memory, 1000.0)
    assert [name for name, _ in first.protect] == names[:4:-1], "by age"
    assert (first.release, first.again) == ((), PACE_SECONDS)
    soon = judge(crowd, RQ, first.memory, 1000.5)
    assert (soon.protect, soon.release, soon.again) == ((), (), PACE_SECONDS - 0.5)
    done = {name for name, _ in first.protect}
    rest = replace(crowd, pods=tuple(replace(each, protected=each.name in {*done, "spent"}) for each in pods))
    second = judge(rest, RQ, first.memory, 1002.0)
    assert [name for name, _ in second.protect] == names[4::-1]
    assert second.release == (("spent", "uid-spent"),)


MEMORY = Memory(History.fresh(0.0), outcome=ApplyOutcome(True, "Applied", ""))
REFUSED = Hindrance("ProtectionRefused", "pods are not yours", 1300.0)


def plan_at(now: float, memory: Memory, observation: Observation, **plan: Any) -> Plan:
    facts = Facts(RQ.raw, RQ, fleet=Fleet(pods=observation.pods), observation=observation)
    return with_protection(Plan(memory, **plan), facts, now)


def test_a_refusal_is_told_once_and_tried_again_later() -> None:
    busy = one(False, BUSY)
    first = plan_at(1000.0, MEMORY, busy)
    assert first.protect == (A,)
    memory = remembered(first, Done(unprotected=REFUSED), Now(1000.0, 0.0))
    second = plan_at(1100.0, memory, busy)
    (event,) = second.events
    assert (second.protect, event.type, event.reason) == ((), "Warning", "ProtectionRefused")
    assert "not yours" in event.message
    third = plan_at(1300.0, second.memory, busy)
    assert (third.protect, third.events) == ((A,), ())
    again = remembered(third, Done(unprotected=replace(REFUSED, until=1600.0)), Now(1300.0, 0.0))
    assert plan_at(1400.0, again, busy).events == (), "it was told"
    well = remembered(plan_at(1600.0, again, busy), Done(), Now(1600.0, 0.0))
    assert well.protection.hindrance is None
    anew = remembered(
        plan_at(1700.0, well, busy), Done(unprotected=replace(REFUSED, until=2000.0)), Now(0, 0)
    )
    assert len(plan_at(1701.0, anew, busy).events) == 1, "but this is news"


def test_what_may_pass_is_told_nobody_and_tried_again_at_once() -> None:
    busy = one(False, BUSY)
    passing = Hindrance("ProtectionRefused", "", 1000.0)
    memory = remembered(plan_at(1000.0, MEMORY, busy), Done(unprotected=passing), Now(1000.0, 0.0))
    again = plan_at(1002.0, memory, busy)
    assert (again.protect, again.events) == ((A,), ())


def test_nothing_is_written_to_what_another_operator_looks_after() -> None:
    newer = replace(MEMORY, outcome=ApplyOutcome(False, NEWER, ""))
    assert plan_at(1000.0, newer, one(False, BUSY)) == Plan(newer)
    assert plan_at(1000.0, MEMORY, one(False, BUSY), sampled=False) == Plan(MEMORY, sampled=False)


SLOTS = 3
handlers = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 5.0, 59.0, 130.0]), st.sampled_from([0.5, 30.0, 59.5, 61.0, 75.0, 300.0])
    ),
    max_size=12,
)
"""Of one pod: (pause before it, how long it runs), one after the other."""
blackouts = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 90)), max_size=2)
TICK = 1.0


class Node:
    """Pods that live by their lists of handlers, and an operator that looks at them each second."""

    def __init__(self, lives: list[list[tuple[float, float]]], blackouts: list[tuple[int, int]]) -> None:
        self.blackouts = blackouts
        self.spans: list[list[tuple[float, float]]] = []
        for life in lives:
            spans, at = [], 0.0
            for pause, length in life:
                spans.append((at + pause, at + pause + length))
                at += pause + length
            self.spans.append(spans)
        self.protected = [False] * len(lives)
        self.writes: list[tuple[float, int, bool]] = []
        self.memory = Protection()

    def known(self, now: float) -> bool:
        return not any(start <= now < start + length for start, length in self.blackouts)

    def age(self, number: int, now: float) -> float | None:
        return next((now - start for start, end in self.spans[number] if start <= now < end), None)

    def look(self, now: float) -> None:
        pods: list[PodObservation] = []
        reports: list[WorkerObservation] = []
        for number, protected in enumerate(self.protected):
            age = self.age(number, now)
            pods.append(pod(str(number), protected=protected))
            reports.append(worker(str(number), int(age is not None), running=age))
        known = self.known(now)
        found = judge(seen(queue() if known else None, pods, reports if known else ()), RQ, self.memory, now)
        self.memory = found.memory
        assert len(found.protect) + len(found.release) <= MOST_AT_ONCE
        for chosen, on in ((found.protect, True), (found.release, False)):
            for name, _ in chosen:
                assert self.protected[int(name)] is not on, "nothing is written twice"
                self.protected[int(name)] = on
                self.writes.append((now, int(name), on))


@given(st.lists(handlers, min_size=1, max_size=SLOTS), blackouts)
@settings(deadline=None, max_examples=25)
def test_whatever_workers_do(
    lives: list[list[tuple[float, float]]], blackouts: list[tuple[int, int]]
) -> None:
    """Long work is protected within seconds, nobody flaps, and everybody is released in the end."""
    node = Node(lives, blackouts)
    end = max((spans[-1][1] for spans in node.spans if spans), default=0.0)
    end = max([end, *(start + length for start, length in blackouts)])
    unprotected_since = [math.inf] * len(lives)
    now = 0.0
    while now <= end + RELEASE_SECONDS + 10:
        node.look(now)
        for number in range(len(lives)):
            age = node.age(number, now)
            needs = node.known(now) and age is not None and age >= LONG_SECONDS
            if not needs or node.protected[number]:
                unprotected_since[number] = math.inf
            else:
                unprotected_since[number] = min(unprotected_since[number], now)
                assert now - unprotected_since[number] <= 2 * PACE_SECONDS + TICK
        now += TICK
    assert not any(node.protected), "an idle pod gives its node back"
    for number in range(len(lives)):
        mine = [(at, on) for at, which, on in node.writes if which == number]
        assert [on for _, on in mine] == [True, False] * (len(mine) // 2), "they alternate"
        for (set_at, _), (cleared_at, _) in zip(mine[::2], mine[1::2], strict=True):
            assert cleared_at - set_at >= RELEASE_SECONDS
        longest = max((until - since for since, until in node.spans[number]), default=0.0)
        assert longest >= LONG_SECONDS or not mine, "short handlers cost no write"


def test_one_long_handler_after_the_other_is_one_write() -> None:
    node = Node([[(1.0, 70.0)] * 20], [])
    for second in range(1400):
        node.look(float(second))
    assert [on for _, _, on in node.writes] == [True]
