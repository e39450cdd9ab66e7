"""How queues share a budget of workers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observations import Story, fleet, queue
from tests.support.redisqueue_cases import redis_queue

from redisqueue_operator.api import parse
from redisqueue_operator.decide.budget import (
    Claim,
    Limit,
    Selecting,
    claim_of,
    cost_of,
    minimums_fit,
    owner_of,
    shares,
    used,
)
from redisqueue_operator.decide.scaling import Ceiling, Policy, explain


def workers(number: float) -> Limit:
    return number, math.inf, math.inf


def ceilings(claims: list[Claim], limit: Limit) -> dict[str, int]:
    return {name: share.ceiling for name, share in shares(claims, limit).items()}


def after(claims: list[Claim], limit: Limit) -> list[Claim]:
    """What the queues have once each has done what it may: idle workers went, busy ones stayed."""
    most = ceilings(claims, limit)
    found = []
    for claim in claims:
        allowed = min(max(claim.wanted, claim.held), most[claim.queue])
        floor = max(min(claim.busy, claim.current), claim.held)
        found.append(replace(claim, current=max(allowed, min(floor, claim.current))))
    return found


def settled(claims: list[Claim], limit: Limit) -> list[Claim]:
    for _ in range(20):
        if (following := after(claims, limit)) == claims:
            return claims
        claims = following
    raise AssertionError("the shares go on changing although no want does")


@st.composite
def fleets(draw: st.DrawFn) -> list[Claim]:
    found = []
    for n in range(draw(st.integers(1, 6))):
        current = draw(st.integers(0, 6))
        unknown = draw(st.integers(0, 9)) == 0
        found.append(
            Claim(
                queue=f"q{n}",
                wanted=current if unknown else draw(st.integers(0, 8)),
                current=current,
                busy=draw(st.integers(0, current)),
                minimum=draw(st.integers(0, 2)),
                priority=draw(st.integers(-1, 1)),
                held=current if unknown else 0,
            )
        )
    return found


@given(fleets(), st.integers(0, 20))
@settings(max_examples=150)
def test_all_together_never_grow_beyond_the_budget(claims: list[Claim], number: int) -> None:
    before = used(claims)[0]
    for _ in range(4):
        claims = after(claims, workers(number))
        assert used(claims)[0] <= max(number, before)
        before = used(claims)[0]


@given(fleets(), st.integers(0, 20))
@settings(max_examples=150)
def test_nothing_lies_idle_and_nothing_goes_on_changing(claims: list[Claim], number: int) -> None:
    end = settled(claims, workers(number))
    if used(end)[0] < number:
        assert all(claim.current >= claim.wanted for claim in end)


@given(fleets(), st.integers(0, 20))
@settings(max_examples=150)
def test_minimums_first_then_the_higher_priority_and_equals_have_equal_parts(
    claims: list[Claim], number: int
) -> None:
    """Once nobody is busy any more."""
    limit = workers(number)
    end = settled([replace(claim, busy=0) for claim in claims], limit)
    least = {claim.queue: max(claim.held, min(claim.minimum, claim.wanted)) for claim in end}
    if minimums_fit(end, limit):
        assert all(claim.current >= least[claim.queue] for claim in end)
    for short in (claim for claim in end if claim.current < claim.wanted):
        for other in end:
            beyond = other.current > least[other.queue]
            if other.priority < short.priority:
                assert not beyond, f"{other} has what {short} lacks"
            elif other.priority == short.priority and beyond:
                assert other.current <= short.current + 1


@given(fleets(), st.integers(0, 20), st.integers(0, 5), st.integers(0, 8))
@settings(max_examples=150)
def test_a_want_that_comes_and_goes_leaves_all_as_it_was(
    claims: list[Claim], number: int, index: int, wanted: int
) -> None:
    """Nobody goes round in circles: the same wants lead to as many workers of the same priorities."""
    limit = workers(number)
    first = settled([replace(claim, busy=0) for claim in claims], limit)
    at = index % len(first)
    if first[at].held:
        return
    other = settled(
        [replace(claim, wanted=wanted) if n == at else claim for n, claim in enumerate(first)], limit
    )
    back = [replace(claim, wanted=first[n].wanted) for n, claim in enumerate(other)]
    again = settled(back, limit)
    assert settled(again, limit) == again
    assert used(again) == used(first)


def test_idle_workers_of_the_lower_priority_give_way_and_busy_ones_stay() -> None:
    low = Claim("low", wanted=10, current=10, busy=7)
    high = Claim("high", wanted=8, current=0, priority=1)
    found = shares([low, high], workers(10))
    assert found["low"].ceiling < 7
    assert (found["low"].verdict, found["high"].ceiling, found["high"].verdict) == ("GivesWay", 0, "Waiting")
    gone = replace(low, current=7)
    assert shares([gone, high], workers(10))["high"].ceiling == 3


def test_where_an_equal_is_busy_the_idle_one_gives_more() -> None:
    idle, busy = Claim("idle", 10, 10, busy=2), Claim("busy", 10, 10, busy=10)
    end = settled([idle, busy, Claim("high", 5, 0, priority=1)], workers(20))
    assert [claim.current for claim in end] == [5, 10, 5]


def test_minimums_beyond_the_budget_go_by_priority_and_then_in_proportion() -> None:
    claims = [Claim("a", 4, 0, minimum=4), Claim("b", 8, 0, minimum=8), Claim("c", 3, 0, 0, 3, priority=1)]
    assert not minimums_fit(claims, workers(9))
    assert ceilings(claims, workers(9)) == {"a": 2, "b": 4, "c": 3}


def test_a_large_worker_waits_for_room_that_small_ones_do_not_take() -> None:
    """Or it would wait for ever: each of them that ends would be followed by another one."""
    limit = (math.inf, 4000, math.inf)
    small = Claim("small", wanted=9, current=3, busy=3, cost=(1, 1000, 0))
    large = Claim("large", wanted=1, current=0, priority=1, cost=(1, 4000, 0))
    found = shares([small, large], limit)
    assert (found["small"].ceiling, found["large"].ceiling) == (0, 0)
    done = replace(small, current=0, busy=0)
    assert shares([done, large], limit)["large"].ceiling == 1


def test_what_does_not_fit_at_all_stands_in_nobodys_way() -> None:
    limit = (math.inf, 4000, math.inf)
    large = Claim("large", wanted=1, current=0, priority=1, cost=(1, 5000, 0))
    assert ceilings([large, Claim("small", 9, 0, cost=(1, 1000, 0))], limit) == {"large": 0, "small": 4}


def test_what_cannot_be_counted_keeps_its_workers() -> None:
    found = shares(
        [Claim("a", 9, 2, cost=None), Claim("b", 9, 0, cost=(1, 500, 0))], (math.inf, 2000, math.inf)
    )
    assert (found["a"].ceiling, found["a"].verdict, found["b"].ceiling) == (2, "Uncounted", 4)


def test_the_oldest_budget_counts() -> None:
    old, young = Selecting("z", "2026-01-01T00:00:00Z"), Selecting("a", "2026-01-02T00:00:00Z")
    assert owner_of([young, old]) == old
    assert owner_of([replace(young, name="b"), young]) == young
    assert owner_of([]) is None


@pytest.mark.parametrize(
    ("worker", "cost"),
    [
        ({"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}, (1, 250, 1 << 30)),
        ({"resources": {"limits": {"cpu": 1, "memory": "512Mi"}}}, (1, 1000, 512 << 20)),
        ({"resources": {"requests": {"cpu": "1"}}}, None),
        ({}, None),
        ({"resources": {"requests": {"cpu": "1e400", "memory": ".5Ki"}}}, (1, (2**63 - 1) * 1000, 512)),
        *(
            ({"resources": {"requests": {"cpu": cpu, "memory": "1"}}}, None)
            for cpu in ("-1", "1e99999999", "1e1.5", "NaN", "Infinity", "1_0", " 1", "\u0661", True, [1])
        ),
    ],
)
def test_a_worker_counts_for_what_its_pod_requests(worker: dict[str, object], cost: object) -> None:
    rq = parse(redis_queue(worker={"handler": "a:b", **worker}))
    assert cost_of(rq, (math.inf, 8000, 1e12)) == cost
    assert cost_of(rq, workers(4)) == (1, 0, 0)


def test_containers_of_the_template_count_too() -> None:
    one = {"requests": {"cpu": "1"}}
    template = {
        "spec": {
            "containers": [{"name": "proxy", "resources": one}, {"name": "worker", "resources": one}],
            "initContainers": [{"name": "first", "resources": {"requests": {"cpu": "3"}}}],
        }
    }
    rq = parse(redis_queue(worker={"handler": "a:b", "template": template}))
    assert cost_of(rq, (math.inf, 8000, math.inf)) == (1, 3000, 0)


def test_sidecars_run_beside_all_that_starts_after_them() -> None:
    def container(name: str, cpu: str, **more: str) -> dict[str, object]:
        return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}

    first = [container("a", "1"), container("mesh", "2", restartPolicy="Always"), container("b", "3")]
    limit = (math.inf, 8000, math.inf)

    def cost(cpu: str, **pod: object) -> object:
        own = {"resources": {"requests": {"cpu": cpu}}}
        template = {"spec": {"initContainers": first, **pod}}
        return cost_of(parse(redis_queue(worker={"handler": "a:b", **own, "template": template})), limit)

    assert cost("1") == (1, 5000, 0), "mesh and b"
    assert cost("4") == (1, 6000, 0), "mesh and the worker"
    assert cost("4", resources={"requests": {"cpu": "10"}}) == (1, 10000, 0), "of the pod as a whole"


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": "other", "resources": "all"}]},
        {"containers": [{"name": "other", "resources": {"requests": ["cpu"]}}]},
        {"initContainers": "none", "containers": [{"name": "other"}]},
        {"initContainers": [1, {"name": "a", "resources": []}], "resources": "all"},
    ],
    ids=["resources", "requests", "a text of containers", "a number as a container"],
)
def test_a_template_that_the_api_server_will_refuse_breaks_no_budget(spec: dict[str, object]) -> None:
    rq = parse(redis_queue(worker={"handler": "a:b", "template": {"spec": spec}}))
    assert cost_of(rq, (math.inf, 8000, math.inf)) is None


def limited(most: int | None, **policy: object) -> Policy:
    ceiling = Ceiling("shop", most, f"budget shop: {most}")
    return Policy(max_replicas=100, ceiling=ceiling, **policy)  # type: ignore[arg-type]


def test_a_queue_grows_to_its_share_and_says_why() -> None:
    seen = fleet(queue(100), idle=1)
    decision = Story(limited(4)).at(0.0, seen)
    assert (decision.to_replicas, decision.reason, decision.wanted_replicas) == (4, "Budget", 20)
    assert (decision.unbudgeted_replicas, decision.budget) == (20, "shop")
    assert decision.because == "Budget shop", "what the page and the log say"
    assert "budget shop: 4" in explain(decision, seen, limited(4))


def test_a_queue_whose_share_is_not_known_keeps_what_it_has() -> None:
    assert Story(limited(None)).at(0.0, fleet(queue(100), idle=3)).to_replicas == 3


@pytest.mark.parametrize("drain", [False, True])
def test_idle_workers_go_without_a_window_and_busy_ones_stay(drain: bool) -> None:
    decision = Story(limited(2, drain_busy=drain)).at(0.0, fleet(queue(100, in_flight=3), busy=3, idle=5))
    assert (decision.to_replicas, decision.reason, decision.blocked_by) == (3, "Budget", "BusyWorkers")
    assert all(name.startswith("idle") for name in decision.victims)


def test_more_than_it_wants_changes_nothing() -> None:
    decision = Story(limited(50)).at(0.0, fleet(queue(100), idle=1))
    assert (decision.to_replicas, decision.budget) == (20, "")
    assert "Budget" not in (decision.reason, *decision.clamps)


@pytest.mark.parametrize(
    "spec", [{"scaling": {"mode": "External"}}, {"scaling": {"mode": "DryRun"}}, {"replicas": 1}]
)
def test_whoever_chooses_elsewhere_is_advised_by_the_need_and_not_by_what_there_is(
    spec: dict[str, Any],
) -> None:
    rq = parse(redis_queue(**{**spec, "scaling": {**spec.get("scaling", {}), "maxReplicas": 20}}))
    seen, most = fleet(queue(100), idle=1), None
    for _ in range(3):
        policy = Policy.of(rq.spec, ceiling=Ceiling("shop", most, "the share"))
        decision = Story(policy).at(0.0, seen)
        assert (decision.to_replicas, decision.wanted_replicas, decision.budget) == (1, 20, "")
        claim = claim_of(rq, seen, decision, (1, 0, 0))
        most = shares([claim], workers(40))[claim.queue].ceiling


def test_without_redis_nobody_goes() -> None:
    story = Story(limited(2))
    seen = replace(fleet(queue(), idle=5), queue=None, redis_reason="ConnectionRefused")
    decision = story.at(0.0, seen)
    assert decision.to_replicas == 5
    claim = claim_of(parse(redis_queue()), seen, decision, (1, 0, 0))
    assert (claim.wanted, claim.held) == (5, 5)
