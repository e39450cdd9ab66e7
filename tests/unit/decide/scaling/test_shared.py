"""A queue that others work on too: what they do needs no worker here, and the rest of it always has one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.any_observation import on_a_busy_machine
from tests.support.observations import Story, fleet, once, queue, seen

from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.observe.facts import Others

QUICK = Policy(idle_seconds=0, down_stabilization_seconds=0, min_run_seconds=0, max_replicas=100)


@pytest.mark.parametrize(
    ("pending", "own", "others", "policy", "wanted"),
    [
        (50, 0, 0, Policy(), 10),
        (50, 0, 3, Policy(), 7),
        (50, 2, 3, Policy(), 7),
        (50, 7, 3, Policy(), 7),
        (50, 0, 3, Policy(max_replicas=5), 5),
        (50, 0, 30, Policy(), 0),
        (50, 0, 30, Policy(min_replicas=2), 2),
        (1, 0, 1, Policy(), 0),
        (0, 0, 4, Policy(), 0),
        (50, 0, 7, Policy(concurrency=2), 2),
        (50, 0, 1, Policy(concurrency=2), 5),
    ],
)
def test_the_rest_beside_the_others(pending: int, own: int, others: int, policy: Policy, wanted: int) -> None:
    observation = replace(fleet(queue(pending, in_flight=own), busy=own), others=Others(others, others))
    if own:  # what is in work counts as well
        observation = replace(observation, queue=queue(pending - own, in_flight=own))
    assert once(observation, policy).to_replicas == wanted


def test_the_reason_names_the_others_and_shows_the_arithmetic() -> None:
    decision = once(replace(seen(queue(50)), others=Others(3)))
    assert decision.reason == "SharedQueue"
    assert [(term.name, term.value) for term in decision.terms][-1] == ("SharedQueue", 7)
    assert "10 wanted" in decision.terms[-1].inputs


def test_when_the_others_go_their_part_is_taken_over_at_once() -> None:
    story = Story(Policy())
    story.at(0.0, replace(fleet(queue(50), idle=4), others=Others(6)))
    assert story.at(1.0, fleet(queue(50), idle=4)).to_replicas == 10


@on_a_busy_machine
@given(
    wanted=st.integers(1, 60),
    fleets=st.lists(st.integers(0, 60), min_size=2, max_size=4),
    at_once=st.booleans(),
)
def test_all_parties_together_have_enough_and_come_to_rest(
    wanted: int, fleets: list[int], at_once: bool
) -> None:
    """Whether they look at the same moment or one after the other, each sees only the others' numbers."""
    stories = [Story(QUICK) for _ in fleets]
    enough = False
    for turn in range(40):
        before = list(fleets)
        for number, story in enumerate(stories):
            known = before if at_once else fleets
            own, others = known[number], sum(known) - known[number]
            sample = queue(wanted * QUICK.backlog_per_slot)
            observation = replace(fleet(sample, idle=own), others=Others(others))
            fleets[number] = story.at(turn * 10.0, observation).to_replicas
        enough = enough or sum(before) >= wanted
        assert sum(fleets) >= wanted or not enough, "the work was left to each other"
    assert fleets == before, "they do not come to rest"
    assert wanted <= sum(fleets) < wanted + len(fleets)
