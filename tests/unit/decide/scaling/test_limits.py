"""A queue with limits: no more workers than may have something in hand, and no fewer than have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.any_observation import limits, observations, on_a_busy_machine, policies
from tests.support.observations import Story, fleet, once, pod, queue, seen, settled
from tests.support.resources import redis_queue

from redis_message_queue.limits import Limits as LibraryLimits
from redisqueue_operator.decide.scaling import History, Policy, explain
from redisqueue_operator.decide.scaling.limits import NO_LIMITS, Limits
from redisqueue_operator.decide.scaling.rates import RateHistory
from redisqueue_operator.observe.facts import Observation, Others

WIDE = Policy(max_replicas=100)
AT_ONCE = replace(WIDE, idle_seconds=0, down_stabilization_seconds=0, min_run_seconds=0)


def in_flight(most: int, policy: Policy = WIDE) -> Policy:
    return replace(policy, limits=Limits(max_in_flight=most))


def rate(per_second: float, burst: int | None = None, policy: Policy = WIDE) -> Policy:
    return replace(policy, limits=Limits(rate_per_second=per_second, rate_burst=burst))


def working(policy: Policy, busy: int, each_seconds: float, seconds: int = 60) -> Story:
    """So many slots were busy all the time, with messages of that length, and a thousand wait."""
    story = Story(policy)
    for second in range(seconds + 1):
        story.at(float(second), _look(busy, each_seconds, second))
    return story


def _look(busy: int, each_seconds: float, second: float, idle: int = 0) -> Observation:
    claims = busy + int(busy * second / each_seconds)
    of = queue(1000, in_flight=busy, claims=claims, at=1000.0 + second)
    return fleet(of, busy=busy, idle=idle)


@pytest.mark.parametrize(
    ("most", "concurrency", "workers"),
    [(1, 1, 1), (10, 1, 10), (10, 4, 3), (8, 4, 2), (3, 16, 1), (999, 1, 100)],
)
def test_as_many_workers_as_may_have_a_message_in_flight(most: int, concurrency: int, workers: int) -> None:
    policy = in_flight(most, replace(WIDE, concurrency=concurrency))
    assert once(seen(queue(10_000), replicas=0), policy).to_replicas == workers


def test_the_limit_settles_the_number_only_where_it_is_lower() -> None:
    few, many = seen(queue(10), replicas=0), seen(queue(500), replicas=0)
    assert once(few, in_flight(3)).reason == "BacklogPerSlot"
    limited = once(many, in_flight(3))
    assert (limited.reason, limited.to_replicas, limited.limit, limited.clamps) == ("MaxInFlight", 3, 3, ())
    bounded = once(many, replace(in_flight(30), max_replicas=20))
    assert (bounded.reason, bounded.to_replicas, bounded.clamps) == ("BacklogPerSlot", 20, ("MaxReplicas",))
    assert once(many, replace(in_flight(3), min_replicas=5)).to_replicas == 5


@pytest.mark.parametrize(
    ("per_second", "each_seconds", "concurrency", "workers"),
    [(2.0, 1.0, 1, 3), (2.0, 1.0, 2, 2), (10.0, 4.0, 1, 55), (1.0, 2.0, 1, 3), (1.0, 30.0, 8, 5)],
)
def test_a_rate_needs_slots_for_as_long_as_a_message_takes(
    per_second: float, each_seconds: float, concurrency: int, workers: int
) -> None:
    """Of them a fifth is spare, and the mean of few messages is a guess."""
    policy = rate(per_second, 1, replace(WIDE, concurrency=concurrency))
    decision = working(policy, 2, each_seconds, 300).at(301.0, _look(2, each_seconds, 301))
    assert (decision.reason, decision.limit) == ("RateLimit", decision.to_replicas)
    exact = per_second * each_seconds / concurrency
    assert exact <= decision.to_replicas <= max(1, 2 * exact + 1)
    assert decision.to_replicas == pytest.approx(workers, abs=max(1, workers * 0.1))


def test_while_no_message_was_done_a_rate_bounds_nothing() -> None:
    policy = rate(1.0)
    decision = once(seen(queue(500), replicas=0), policy)
    assert (decision.to_replicas, decision.reason, decision.limit) == (100, "BacklogPerSlot", None)
    text = explain(decision, seen(queue(500), replicas=0), policy)
    assert any("rate limit bounds nothing yet" in line for line in text)


def test_a_program_that_never_says_busy_has_no_mean_and_so_no_bound() -> None:
    story = Story(rate(1.0))
    for second in range(60):
        of = queue(500, in_flight=5, claims=5 * second, at=1000.0 + second)
        decision = story.at(float(second), seen(of, [pod(f"p{n}") for n in range(5)]))
    assert (decision.limit, decision.wanted_replicas) == (None, 100)


def test_a_new_leader_goes_on_with_the_mean_that_the_status_has() -> None:
    told = working(rate(2.0, 1), 2, 1.0).at(61.0, _look(2, 1.0, 61)).rates.handler_seconds
    assert told == pytest.approx(1.0, rel=0.2)
    fresh = Story(rate(2.0, 1), History.of_status({"rates": {"handlerSeconds": told}}, 0.0))
    assert fresh.at(0.0, _look(2, 1.0, 0)).to_replicas <= 4
    assert Story(rate(2.0, 1)).at(0.0, _look(2, 1.0, 0)).to_replicas == 100


@pytest.mark.parametrize("told", [{}, {"rates": {}}, {"rates": {"handlerSeconds": 0}}, {"rates": None}])
def test_a_status_that_tells_no_mean_is_one_that_is_not_known(told: dict[str, object]) -> None:
    assert History.of_status(told, 5.0) == History.fresh(5.0)


def test_what_is_left_of_a_burst_may_begin_at_once() -> None:
    known = History.of_status({"rates": {"handlerSeconds": 1.0}}, 0.0)
    story = Story(rate(1.0, 40), known)
    assert story.at(0.0, seen(queue(1000, at=1000.0), replicas=0)).to_replicas == 41
    spent = seen(queue(960, in_flight=0, claims=40, at=1001.0), replicas=41)
    assert story.at(1.0, spent).limit == 2
    rested = seen(queue(960, claims=40, at=1031.0), replicas=41)
    assert story.at(31.0, rested).limit == pytest.approx(32, abs=1)


def test_a_burst_is_spent_where_work_goes_on_and_waits_when_it_is_first_seen() -> None:
    history = RateHistory().add(queue(100, in_flight=4, claims=50), 4)
    assert history.unspent(1.0, 40) == 0
    assert RateHistory().add(queue(100, claims=50), 0).unspent(1.0, 40) == 39
    assert RateHistory().unspent(1.0, 40) == 39


def test_the_lower_limit_counts() -> None:
    policy = replace(WIDE, limits=Limits(rate_per_second=10.0, rate_burst=1, max_in_flight=4))
    decision = working(policy, 2, 1.0).at(61.0, _look(2, 1.0, 61))
    assert (decision.reason, decision.to_replicas) == ("MaxInFlight", 4)
    policy = replace(policy, limits=replace(policy.limits, max_in_flight=90))
    decision = working(policy, 2, 1.0).at(61.0, _look(2, 1.0, 61))
    assert decision.reason == "RateLimit"


def test_what_is_in_flight_keeps_its_workers_when_a_limit_is_lowered() -> None:
    decision = settled(fleet(queue(1000, in_flight=8), busy=8, idle=4), in_flight(2, AT_ONCE))
    assert decision.to_replicas == 8
    assert not [name for name in decision.victims if name.startswith("busy")]


def test_the_idle_ones_go_when_a_limit_is_lowered() -> None:
    decision = settled(fleet(queue(1000, in_flight=2), busy=2, idle=10), in_flight(3, AT_ONCE))
    assert (decision.to_replicas, decision.reason) == (3, "MaxInFlight")


def test_no_spare_worker_where_the_limit_leaves_it_nothing() -> None:
    """All that may be in flight is, all the time: one worker in five more would only wait."""
    policy = in_flight(10, replace(AT_ONCE, down_stabilization_seconds=30))
    story = Story(policy)
    for second in range(90):
        of = queue(1000, in_flight=10, claims=10 * second, at=1000.0 + second)
        decision = story.at(float(second), fleet(of, busy=10, idle=5))
    assert decision.to_replicas == 10


def test_a_limit_is_of_all_parties_of_a_shared_queue() -> None:
    observation = replace(seen(queue(1000), replicas=0), others=Others(4))
    decision = once(observation, in_flight(10))
    assert (decision.to_replicas, decision.reason) == (6, "SharedQueue")


def test_the_arithmetic_is_told() -> None:
    observation = seen(queue(500), replicas=0)
    policy = replace(in_flight(6, replace(WIDE, concurrency=4)), key_limits=True)
    lines = explain(once(observation, policy), observation, policy)
    assert "MaxInFlight lets 2 work: 6 in flight at most / 4 slots" in lines
    assert any(line.startswith("limits of single keys bound nothing here") for line in lines)


def test_the_spec_says_them() -> None:
    limits = {"ratePerSecond": 5, "rateBurst": 7, "maxInFlight": 9, "perKey": {"maxInFlight": 1}}
    policy = Policy.of(redis_queue(queue={"limits": limits}).spec)
    assert (policy.limits, policy.key_limits) == (Limits(5, 7, 9), True)
    policy = Policy.of(redis_queue().spec)
    assert (policy.limits, policy.key_limits) == (NO_LIMITS, False)


@given(st.none() | st.floats(0.001, 10_000), st.none() | st.integers(1, 100))
@on_a_busy_machine
def test_the_burst_is_the_one_that_the_claim_counts(per_second: float | None, burst: int | None) -> None:
    if per_second is not None:
        assert Limits(per_second, burst).burst == LibraryLimits(per_second, burst).burst


@given(st.lists(observations(st.just(True)), min_size=1, max_size=6), policies, limits)
@on_a_busy_machine
def test_a_limit_never_asks_for_more_and_leaves_who_has_something_in_hand(
    row: list[Observation], policy: Policy, of: Limits
) -> None:
    policy = replace(policy, mode="Auto", drain_within_seconds=None, max_message_age_seconds=None)
    free, bound = Story(replace(policy, limits=NO_LIMITS)), Story(replace(policy, limits=of))
    for step, observation in enumerate(row):
        without, limited = (story.at(step * 7.0, observation) for story in (free, bound))
        assert limited.wanted_replicas <= without.wanted_replicas
        assert limited.wanted_replicas > 0 or without.wanted_replicas == 0
        assert limited.limit is None or limited.limit * policy.concurrency >= _in_hand(observation)


def _in_hand(observation: Observation) -> int:
    """What is in flight, less what pods that leave work at."""
    assert observation.queue is not None
    leaving = {each.uid for each in observation.pods if each.terminating}
    busy = (each.busy for each in observation.workers if each.is_fresh and each.pod_uid in leaving)
    return max(1, observation.queue.in_flight - sum(busy))


@given(
    st.integers(1, 40),
    st.sampled_from([0.5, 1.0, 5.0]),
    st.sampled_from([0.5, 2.0, 10.0]),
    st.sampled_from([1.0, 1.5, 4.0]),
)
@on_a_busy_machine
def test_a_higher_limit_never_means_fewer_workers(
    most: int, per_second: float, each_seconds: float, times: float
) -> None:
    def wanted(of: Limits) -> int:
        story = working(replace(WIDE, limits=of), 3, each_seconds, 40)
        return story.at(41.0, _look(3, each_seconds, 41)).wanted_replicas

    low = wanted(Limits(per_second, 1, most))
    assert wanted(Limits(per_second * times, 1, most)) >= low
    assert wanted(Limits(per_second, 1, round(most * times))) >= low
    assert wanted(Limits(per_second, 9, most)) >= low
