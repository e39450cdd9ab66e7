"""A decision in sentences."""

from __future__ import annotations

import pytest
from tests.support.observations import fleet, once, pod, queue, seen, settled, worker

from redisqueue_operator.decide.scaling import Policy, explain
from redisqueue_operator.decide.scaling.explain import BLOCKED


def test_growth() -> None:
    observation, policy = fleet(queue(97, in_flight=1), busy=1), Policy()
    assert explain(once(observation, policy), observation, policy) == [
        "97 pending, 1 in flight, 0 expired",
        "1 workers wanted, 1 ready, 1 busy",
        "BacklogPerSlot asks for 20: (97 pending + 0 due + 1 in flight) / (5 per slot * 1 slots)",
        "Activation asks for 1: 1 when anything waits or a lease has expired",
        "limited by MaxReplicas",
        "goes from 1 to 10 (BacklogPerSlot)",
    ]


def test_shrink() -> None:
    pods = [pod("a"), pod("b"), pod("c"), pod("d", age=5.0)]
    observation = seen(queue(in_flight=2, delayed=3), pods, [worker("a", 1), worker("b"), worker("d")])
    policy = Policy(backlog_per_slot=9)
    assert explain(settled(observation, policy), observation, policy) == [
        "0 pending, 2 in flight, 0 expired, 3 delayed (0 due)",
        "4 workers wanted, 4 ready, 1 busy, 1 of unknown state",
        "BacklogPerSlot asks for 1: (0 pending + 0 due + 2 in flight) / (9 per slot * 1 slots)",
        "Activation asks for 0: 1 when anything waits or a lease has expired",
        "goes from 4 to 3 (BacklogPerSlot)",
        "held back: idle workers are younger than 20 s",
        "first to go: b",
        "looks again in 15.0 s at the latest",
    ]


def test_unreadable() -> None:
    observation, policy = seen(None, replicas=2), Policy()
    lines = explain(once(observation, policy), observation, policy)
    assert (
        lines[0] == "Redis cannot be read: ConnectionRefused: Nothing accepts connections at Redis' address."
    )
    assert lines[-2:] == [
        "stays at 2 (RedisUnreadable)",
        "held back: Redis cannot be read, and unknown is never zero",
    ]


@pytest.mark.parametrize(
    "policy",
    [Policy(mode="External"), Policy(mode="DryRun"), Policy(mode="Paused"), Policy(manual_replicas=2)],
)
def test_what_the_rules_would_choose(policy: Policy) -> None:
    observation = fleet(queue(50), idle=2)
    lines = explain(once(observation, policy), observation, policy)
    assert f"stays at 2 ({once(observation, policy).reason})" in lines
    assert "the rules would choose 10" in lines
    at_target = fleet(queue(6), idle=2)
    assert not any("would" in line for line in explain(once(at_target, policy), at_target, policy))


@pytest.mark.parametrize("word", sorted(BLOCKED))
def test_every_hold_has_a_sentence(word: str) -> None:
    import dataclasses

    observation, policy = fleet(queue(), busy=1), Policy(up_max_step=2)
    decision = dataclasses.replace(once(observation, policy), blocked_by=word)
    held = [line for line in explain(decision, observation, policy) if line.startswith("held back: ")]
    assert len(held) == 1
    assert "{" not in held[0]
    assert "None" not in held[0]
