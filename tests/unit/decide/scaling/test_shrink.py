"""Shrinking: late, never below the busy workers, and only pods that hold nothing."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tests.support.observations import OLD, Story, fleet, once, pod, queue, seen, settled, worker

from redisqueue_operator.decide.scaling import Policy, survivors, to_retire
from redisqueue_operator.observe.facts import FRESH_SECONDS


def test_down_to_the_highest_need_of_the_window() -> None:
    story = Story(Policy(max_replicas=100))
    story.at(0.0, fleet(queue(41, in_flight=4), busy=4, idle=6))
    story.at(30.0, fleet(queue(21, in_flight=4), busy=4, idle=6))
    held = story.at(60.0, fleet(queue(in_flight=4), busy=4, idle=6))
    assert (held.to_replicas, held.blocked_by, held.recheck_after_seconds) == (9, "StabilizationWindow", 30.0)
    assert story.at(91.0, fleet(queue(in_flight=4), busy=4, idle=6)).to_replicas == 5
    assert story.at(121.0, fleet(queue(in_flight=4), busy=4, idle=6)).to_replicas == 4


def test_a_need_lasts_until_the_next_decision() -> None:
    """Nothing changed for ten minutes, so nothing was decided: the need was there all the same."""
    story = Story()
    story.at(0.0, fleet(queue(41, in_flight=9), busy=9))
    assert story.at(600.0, fleet(queue(), idle=9)).to_replicas == 9


def test_a_restarted_operator_shrinks_nothing_at_first() -> None:
    decision = once(fleet(queue(), idle=5))
    assert (decision.changes, decision.blocked_by, decision.recheck_after_seconds) == (
        False,
        "StabilizationWindow",
        30.0,
    )


def test_the_last_worker_waits_for_idle_seconds() -> None:
    story = Story(Policy(down_stabilization_seconds=0))
    story.at(0.0, fleet(queue(1, in_flight=1), busy=1))
    held = story.at(100.0, fleet(queue(), idle=1))
    assert (held.to_replicas, held.blocked_by, held.recheck_after_seconds) == (1, "IdleSeconds", 30.0)
    assert story.at(129.0, fleet(queue(), idle=1)).to_replicas == 1
    gone = story.at(130.0, fleet(queue(), idle=1))
    assert (gone.to_replicas, gone.reason, gone.victims) == (0, "Idle", ("idle-0",))


@pytest.mark.parametrize("idle", [10, 30, 90])
@pytest.mark.parametrize("workers", [1, 8])
def test_when_an_idle_queue_goes_to_sleep_is_said_by_idle_seconds_alone(idle: int, workers: int) -> None:
    """The window is about how many workers the work needs; whether there is any is another question."""
    story = Story(Policy(idle_seconds=idle, down_stabilization_seconds=60))
    story.at(0.0, fleet(queue(40, in_flight=1), busy=1, idle=workers - 1))
    held = story.at(100.0, fleet(queue(), idle=workers))
    assert held.to_replicas == workers
    assert held.recheck_after_seconds <= idle
    if idle <= 60:
        assert story.at(99.9 + idle, fleet(queue(), idle=workers)).to_replicas == workers
    assert story.at(100.0 + idle, fleet(queue(), idle=workers)).to_replicas == 0


def test_a_queue_that_may_not_sleep_goes_to_its_minimum() -> None:
    story = Story(Policy(min_replicas=2))
    story.at(0.0, fleet(queue(40, in_flight=1), busy=8))
    held = story.at(100.0, fleet(queue(), idle=8))
    assert (held.to_replicas, held.blocked_by, held.recheck_after_seconds) == (8, "StabilizationWindow", 30.0)
    assert story.at(130.0, fleet(queue(), idle=8)).to_replicas == 2


def test_one_message_in_flight_keeps_the_window() -> None:
    story = Story()
    story.at(0.0, fleet(queue(40, in_flight=1), busy=8))
    story.at(100.0, fleet(queue(in_flight=1), busy=1, idle=7))
    held = story.at(140.0, fleet(queue(in_flight=1), busy=1, idle=7))
    assert (held.to_replicas, held.blocked_by) == (8, "StabilizationWindow")
    assert story.at(160.0, fleet(queue(in_flight=1), busy=1, idle=7)).to_replicas == 1


def test_all_but_one_may_go_before_idle_seconds() -> None:
    story = Story(Policy(down_stabilization_seconds=0))
    story.at(0.0, fleet(queue(9), idle=4))
    assert story.at(1.0, fleet(queue(), idle=4)).to_replicas == 1


@pytest.mark.parametrize("of", [queue(1), queue(due=1), queue(in_flight=1), queue(expired=1, in_flight=1)])
def test_never_zero_while_there_is_anything_to_do(of: object) -> None:
    assert settled(fleet(of, idle=1)).to_replicas == 1  # type: ignore[arg-type]


def test_never_zero_while_a_draining_pod_holds_the_last_message() -> None:
    leaving, stays = pod("leaving", ready=False, terminating=True), pod("stays")
    reports = [worker("leaving", 1, draining=True), worker("stays")]
    decision = settled(seen(queue(in_flight=1), [leaving, stays], reports))
    assert (decision.to_replicas, decision.blocked_by) == (1, "IdleSeconds")


def test_an_empty_queue_at_zero_stays_at_zero() -> None:
    decision = once(seen(queue(), replicas=0))
    assert (decision.to_replicas, decision.blocked_by) == (0, "")
    assert math.isinf(decision.recheck_after_seconds)


def test_max_zero_switches_off_without_waiting_but_not_under_a_busy_worker() -> None:
    off = Policy(max_replicas=0)
    assert once(fleet(queue(50), idle=3), off).to_replicas == 0
    assert once(fleet(queue(50, in_flight=1), busy=1, idle=3), off).to_replicas == 1


def test_a_lowered_maximum_applies_at_once() -> None:
    assert once(fleet(queue(50), idle=8), Policy(max_replicas=3)).to_replicas == 3


def test_never_below_the_busy_workers() -> None:
    decision = settled(fleet(queue(in_flight=6), busy=6, idle=2), Policy(backlog_per_slot=100))
    assert (decision.to_replicas, decision.blocked_by) == (6, "BusyWorkers")
    assert decision.victims == ("idle-0", "idle-1")


def test_a_worker_without_a_fresh_report_counts_as_busy() -> None:
    pods = [pod(name) for name in ("mute", "stale", "idle")]
    reports = [worker("stale", age=11.0), worker("idle")]
    decision = settled(seen(queue(in_flight=3), pods, reports))
    assert (decision.to_replicas, decision.victims) == (2, ("idle",))


@pytest.mark.parametrize(("age", "victims"), [(FRESH_SECONDS, ("mute",)), (FRESH_SECONDS + 0.1, ())])
def test_how_old_a_report_may_be(age: float, victims: tuple[str, ...]) -> None:
    observation = seen(
        queue(in_flight=1), [pod("mute"), pod("busy")], [worker("mute", age=age), worker("busy", 1)]
    )
    assert settled(observation).victims == victims


def test_a_pod_of_two_workers_is_known_when_both_are() -> None:
    reports = [worker("two"), worker("second", uid="uid-two", age=30.0), worker("busy", 1)]
    observation = seen(queue(in_flight=1), [pod("two"), pod("busy")], reports)
    assert settled(observation).victims == ()
    reports[1] = worker("second", uid="uid-two")
    assert settled(dataclasses.replace(observation, workers=tuple(reports))).victims == ("two",)


def test_leases_bound_how_many_may_be_busy_unseen() -> None:
    """One lease: of three mute pods one at most is busy. But which one is not known, so none may go."""
    mute = [pod(f"mute-{n}") for n in range(3)]
    decision = settled(seen(queue(in_flight=1), mute))
    assert (decision.to_replicas, decision.blocked_by) == (3, "BusyWorkers")
    assert settled(seen(queue(in_flight=1), [*mute, pod("idle")], [worker("idle")])).victims == ("idle",)


def test_without_a_lease_nobody_is_busy() -> None:
    mute = [pod(f"mute-{n}") for n in range(3)]
    assert settled(seen(queue(), mute)).to_replicas == 0


def test_a_report_without_its_pod_protects_nothing() -> None:
    decision = settled(
        seen(
            queue(in_flight=1),
            [pod("idle"), pod("rest")],
            [worker("idle"), worker("rest"), worker("gone", 1)],
        )
    )
    assert decision.to_replicas == 1


def test_pods_not_seen_yet_may_be_busy() -> None:
    decision = settled(seen(queue(in_flight=4), [pod("idle")], [worker("idle")], replicas=4))
    assert (decision.to_replicas, decision.victims) == (3, ("idle",))


def test_a_worker_without_a_uid_is_found_by_its_name() -> None:
    pods = [pod("local-0"), pod("local-1")]
    reports = [worker("local-0", 1, uid=""), worker("local-1", uid="")]
    decision = settled(seen(queue(in_flight=1), pods, reports))
    assert (decision.to_replicas, decision.victims) == (1, ("local-1",))


def test_a_hung_handler_does_not_protect_its_pod() -> None:
    pods = [pod("hung"), pod("busy")]
    hung = worker("hung", 1, running=3601.0)
    decision = settled(seen(queue(in_flight=2), pods, [hung, worker("busy", 1, running=5.0)]))
    assert (decision.to_replicas, decision.victims) == (1, ("hung",))


def test_a_second_handler_beside_the_hung_one_does() -> None:
    pods = [pod("hung"), pod("idle")]
    reports = [worker("hung", 2, slots=2, running=3601.0), worker("idle", slots=2)]
    decision = settled(seen(queue(in_flight=2), pods, reports), Policy(concurrency=2))
    assert (decision.to_replicas, decision.victims) == (1, ("idle",))
    both = [reports[0], worker("idle", 1, slots=2, running=5.0)]
    assert settled(seen(queue(in_flight=3), pods, both), Policy(concurrency=2)).to_replicas == 2


def test_recheck_when_a_handler_becomes_hung() -> None:
    pods = [pod("a"), pod("b")]
    reports = [worker("a", 1, running=3590.0), worker("b", 1, running=5.0)]
    assert settled(seen(queue(in_flight=2), pods, reports)).recheck_after_seconds == 10.0


def test_who_goes_first() -> None:
    pods = [
        pod("unknown"),
        pod("idle-old"),
        pod("idle-young", age=100.0),
        pod("retired"),
        pod("starting", ready=False, age=5.0),
        pod("crashing", ready=False, failing="CrashLoopBackOff"),
        pod("busy"),
    ]
    reports = [
        worker("idle-old"),
        worker("idle-young"),
        worker("retired", retired=True),
        worker("busy", 1),
        worker("crashing", age=30.0),
    ]
    decision = settled(seen(queue(in_flight=2), pods, reports))
    assert decision.to_replicas == 2
    assert decision.victims == ("starting", "crashing", "retired", "idle-young", "idle-old")


def test_only_reporting_idle_victims_are_asked_to_retire() -> None:
    pods = [pod("idle"), pod("starting", ready=False), pod("mute"), pod("hung"), pod("drained", ready=False)]
    reports = [worker("idle"), worker("hung", 1, running=4000.0), worker("drained", draining=True)]
    observation = seen(queue(), pods, reports)
    decision = settled(observation)
    assert set(decision.victims) == {"idle", "starting", "mute", "hung", "drained"}
    assert to_retire(decision, observation) == ("idle",)


def test_young_workers_get_the_chance_to_claim() -> None:
    pods = [pod("old"), pod("young", age=5.0), pod("younger", age=2.0)]
    reports = [worker(name) for name in ("old", "young", "younger")]
    decision = settled(seen(queue(in_flight=1), pods, reports))
    assert (decision.to_replicas, decision.victims) == (2, ("old",))
    assert (decision.blocked_by, decision.recheck_after_seconds) == ("MinRunSeconds", 15.0)


def test_a_pod_that_never_started_is_not_young() -> None:
    pods = [pod("old"), pod("starting", ready=False, age=1.0)]
    decision = settled(seen(queue(1), pods, [worker("old")]))
    assert decision.victims == ("starting",)


def test_no_shrink_during_a_rollout() -> None:
    decision = settled(fleet(queue(in_flight=1), idle=4, replica_sets=2), Policy(backlog_per_slot=9))
    assert (decision.to_replicas, decision.blocked_by) == (4, "RolloutInProgress")
    some_stay = settled(fleet(queue(), idle=4, replica_sets=2), Policy(min_replicas=1))
    assert (some_stay.to_replicas, some_stay.blocked_by) == (4, "RolloutInProgress")


def test_a_fleet_with_nothing_to_do_goes_although_its_rollout_is_stuck() -> None:
    broken = [pod("old-0"), pod("old-1"), pod("new", ready=False, failing="ImagePullBackOff")]
    idle = [worker("old-0"), worker("old-1")]
    decision = settled(seen(queue(), broken, idle, replica_sets=2))
    assert (decision.to_replicas, decision.blocked_by) == (0, "")
    crashing = [pod("old-0"), pod("new", ready=False, failing="CrashLoopBackOff")]
    reported = [worker("old-0"), worker("new", age=60.0)]
    assert settled(seen(queue(), crashing, reported, replica_sets=2)).to_replicas == 0
    assert settled(seen(queue(delayed=3), crashing, reported, replica_sets=2)).to_replicas == 0
    busy = seen(queue(in_flight=1), broken, [worker("old-0", 1), worker("old-1")], replica_sets=2)
    assert settled(busy, Policy(backlog_per_slot=9)).to_replicas == 3


def test_a_program_of_ones_own_goes_as_a_whole_or_one_by_one_as_asked() -> None:
    """It reports nothing: any of its pods may be busy."""
    pods = [pod("a"), pod("b"), pod("c")]
    held = settled(seen(queue(in_flight=1), pods))
    assert (held.to_replicas, held.blocked_by) == (3, "BusyWorkers")
    assert settled(seen(queue(in_flight=1), pods), Policy(drain_busy=True)).to_replicas == 1
    assert settled(seen(queue(), pods)).to_replicas == 0


@pytest.mark.parametrize(("idle", "percent", "to"), [(8, 25, 6), (8, 10, 7), (2, 25, 1), (10, 100, 0)])
def test_max_percent_of_those_that_run_at_least_one(idle: int, percent: int, to: int) -> None:
    decision = settled(fleet(queue(), idle=idle), Policy(down_max_percent=percent))
    assert (decision.to_replicas, decision.clamps) == (to, ("MaxPercent",) if to else ())


def test_max_percent_counts_from_the_most_of_ten_seconds() -> None:
    story = Story(Policy(down_max_percent=25))
    story.at(0.0, fleet(queue(), idle=8))
    assert story.at(1000.0, fleet(queue(), idle=8)).to_replicas == 6
    story.at(1001.0, fleet(queue(), idle=6))
    held = story.at(1007.0, fleet(queue(), idle=6))
    assert (held.to_replicas, held.blocked_by, held.recheck_after_seconds) == (6, "MaxPercent", 4.0)
    assert story.at(1011.0, fleet(queue(), idle=6)).to_replicas == 5


def test_one_shrink_settles_before_the_next() -> None:
    story = Story(Policy(down_stabilization_seconds=0))
    story.at(0.0, fleet(queue(30), idle=6))
    assert story.at(1.0, fleet(queue(20), idle=6)).to_replicas == 4
    held = story.at(2.0, fleet(queue(10), idle=4))
    assert (held.to_replicas, held.blocked_by, held.recheck_after_seconds) == (4, "RecentShrink", 5.0)
    assert story.at(7.0, fleet(queue(10), idle=4)).to_replicas == 2


def test_busy_policy_drain_takes_idle_ones_first_and_then_busy_ones() -> None:
    policy = Policy(drain_busy=True, backlog_per_slot=4)
    decision = settled(fleet(queue(in_flight=4), busy=4, idle=2), policy)
    assert decision.to_replicas == 1
    assert decision.victims[:2] == ("idle-0", "idle-1")
    assert decision.drain_busy


def test_pods_that_go_already_are_named_again_with_the_next_ones() -> None:
    """The Deployment went from 5 to 4, its ReplicaSet has not chosen yet: the retired one stays first."""
    names = [f"p{n}" for n in range(5)]
    pods = [pod(name) for name in names]
    reports = [worker("p0", 1), *(worker(name, retired=name == "p4") for name in names[1:])]
    decision = settled(seen(queue(6, in_flight=4), pods, reports, replicas=4))
    assert decision.to_replicas == 2
    assert decision.victims == ("p4", "p1", "p2")


def test_an_age_that_nobody_reports_is_not_hung() -> None:
    observation = seen(queue(in_flight=1), [pod("a", age=OLD), pod("b")], [worker("a", 1), worker("b")])
    assert settled(observation).victims == ("b",)


def test_an_idle_pod_that_is_not_ready_goes_first_as_a_replica_set_chooses() -> None:
    pods = [pod("a"), pod("b", ready=False), pod("c")]
    decision = settled(seen(queue(in_flight=1), pods, [worker("a"), worker("b"), worker("c", 1)]))
    assert (decision.to_replicas, decision.victims) == (1, ("b", "a"))


def test_nothing_shrinks_while_a_pod_that_may_be_busy_is_not_ready() -> None:
    pods = [pod("a"), pod("killed", ready=False)]
    decision = settled(seen(queue(in_flight=1), pods, [worker("a"), worker("killed", 1)]))
    assert (decision.to_replicas, decision.blocked_by) == (2, "UnreadyWorkers")


def test_a_retired_worker_that_stays_is_a_survivor_once_the_shrink_is_done() -> None:
    pods, reports = [pod("a"), pod("b")], [worker("a", retired=True), worker("b")]
    assert survivors(seen(queue(), pods, reports, replicas=1)) == ()
    gone = [pod("a"), pod("b", terminating=True)]
    assert survivors(seen(queue(), gone, reports, replicas=1)) == ("a",)
