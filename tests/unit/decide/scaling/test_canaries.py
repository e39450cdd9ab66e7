"""A trial of a new template and the scaler: the sum is the scaler's, canaries stay while anybody does."""

from __future__ import annotations

from tests.support.observations import Story, pod, queue, seen, settled, worker

from redisqueue_operator.decide.scaling import Policy

CANARY = pod("canary", canary=True)
QUICK = Policy(idle_seconds=0, down_stabilization_seconds=0, min_run_seconds=0)


def test_a_shrink_takes_the_others() -> None:
    pods = [pod("a"), pod("b"), CANARY]
    reports = [worker("a", 1), worker("b"), worker("canary")]
    decision = settled(seen(queue(in_flight=1), pods, reports), QUICK)
    assert (decision.from_replicas, decision.to_replicas, decision.victims) == (3, 2, ("b",))


def test_the_last_worker_is_the_canary() -> None:
    decision = settled(seen(queue(3), [pod("a"), CANARY], [worker("a"), worker("canary")]), QUICK)
    assert (decision.to_replicas, decision.victims) == (1, ("a",))


def test_nobody_goes_in_favour_of_a_canary_that_is_not_ready() -> None:
    starting = pod("canary", canary=True, ready=False, failing="ImagePullBackOff")
    decision = settled(seen(queue(3), [pod("a"), starting], [worker("a")]), QUICK)
    assert (decision.to_replicas, decision.blocked_by) == (2, "UnreadyWorkers")


def test_nobody_goes_in_favour_of_a_canary_that_was_not_seen_yet() -> None:
    facts = seen(queue(3), [pod("a")], [worker("a")], replicas=2, canaries=1)
    assert (settled(facts, QUICK).to_replicas, settled(facts, QUICK).blocked_by) == (2, "UnreadyWorkers")
    asleep = seen(queue(), [pod("a")], [worker("a")], replicas=2, canaries=1)
    assert settled(asleep, QUICK).to_replicas == 0


def test_an_empty_queue_needs_no_canary() -> None:
    decision = settled(seen(queue(), [pod("a"), CANARY], [worker("a"), worker("canary")]), QUICK)
    assert (decision.to_replicas, set(decision.victims)) == (0, {"a", "canary"})


def test_a_canary_stays_with_whoever_has_to_stay() -> None:
    young = pod("young", age=1.0)
    story = Story(Policy(idle_seconds=0, down_stabilization_seconds=0, min_run_seconds=20))
    facts = seen(queue(), [young, CANARY, pod("old")], [worker(n) for n in ("young", "canary", "old")])
    story.at(0.0, facts)
    decision = story.at(10_000.0, facts)
    assert (decision.to_replicas, decision.victims) == (2, ("old",))


def test_a_persons_number_takes_the_canary_last() -> None:
    facts = seen(queue(), [pod("a"), CANARY, pod("b")], [worker(n) for n in ("a", "canary", "b")])
    decision = settled(facts, Policy(manual_replicas=1))
    assert set(decision.victims) == {"a", "b"}
