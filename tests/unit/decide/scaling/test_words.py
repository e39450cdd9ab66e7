"""Every word that a decision can say: a case that brings it about, and a line in operator/README.md."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from tests.support.observations import Story, fleet, once, pod, queue, seen, settled, worker

from redisqueue_operator.decide import scaling
from redisqueue_operator.decide.scaling import Ceiling, History, Mode, Policy
from redisqueue_operator.decide.scaling.explain import BLOCKED
from redisqueue_operator.decide.scaling.limits import Limits
from redisqueue_operator.observe.facts import Others

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redisqueue_operator.decide.scaling import Decision

SOURCES = Path(scaling.__file__).parent
README = SOURCES.parents[2] / "README.md"
Cases = dict[str, "Callable[[], Decision]"]


def _drain_within() -> Decision:
    story = Story(Policy(drain_within_seconds=1, backlog_per_slot=1000))
    for second in range(5):
        sample = queue(100, in_flight=1, claims=second, at=1000.0 + second)
        decision = story.at(float(second), seen(sample, [pod("a")], [worker("a", 1)]))
    return decision


def _message_age() -> Decision:
    story = Story(Policy(max_message_age_seconds=5, backlog_per_slot=1000))
    story.at(0.0, fleet(queue(9, in_flight=2, at=1000.0), busy=2))
    return story.at(8.0, fleet(queue(9, in_flight=2, at=1008.0), busy=2))


def _fallback() -> Decision:
    story = Story(Policy(fallback_replicas=3))
    story.at(0.0, seen(None, replicas=1))
    return story.at(30.0, seen(None, replicas=1))


def _recent_load() -> Decision:
    story = Story(Policy(down_stabilization_seconds=10))
    for second in range(20):
        sample = queue(in_flight=8, claims=second * 16, at=1000.0 + second)
        story.at(float(second), fleet(sample, busy=8, idle=2))
    return story.at(20.0, fleet(queue(claims=320, at=1020.0), idle=10))


def _recent_shrink() -> Decision:
    story = Story(Policy(down_stabilization_seconds=0))
    story.at(0.0, fleet(queue(20), idle=6))
    return story.at(1.0, fleet(queue(5), idle=4))


def _up_window() -> Decision:
    story = Story(Policy(up_stabilization_seconds=30))
    story.at(0.0, fleet(queue(in_flight=1), busy=1))
    return story.at(1.0, fleet(queue(50, in_flight=1), busy=1))


def _rate_limit() -> Decision:
    policy = Policy(limits=Limits(rate_per_second=1, rate_burst=1))
    story = Story(policy, History.of_status({"rates": {"handlerSeconds": 2.0}}, 0.0))
    return story.at(0.0, seen(queue(50), replicas=0))


def _mode(mode: Mode) -> Callable[[], Decision]:
    return lambda: once(fleet(queue(50), idle=2), Policy(mode=mode))


def _not_ours(why: str) -> Callable[[], Decision]:
    return lambda: once(seen(queue(50), replicas=0)).refused(why)


REASONS: Cases = {
    "Activation": lambda: once(seen(queue(1), replicas=0)),
    "BacklogPerSlot": lambda: once(seen(queue(50), replicas=0)),
    "DrainWithin": _drain_within,
    "MessageAge": _message_age,
    "Idle": lambda: settled(fleet(queue(), idle=1)),
    "Budget": lambda: once(fleet(queue(50), idle=1), Policy(ceiling=Ceiling("shop", 2, "two"))),
    "MaxInFlight": lambda: once(seen(queue(50), replicas=0), Policy(limits=Limits(max_in_flight=3))),
    "RateLimit": _rate_limit,
    "SharedQueue": lambda: once(replace(seen(queue(50), replicas=0), others=Others(3))),
    "MinReplicas": lambda: once(seen(queue(), replicas=0), Policy(min_replicas=2)),
    "ManualReplicas": lambda: once(seen(queue(), replicas=0), Policy(manual_replicas=2)),
    "RedisUnreadable": lambda: once(seen(None, replicas=2)),
    "Fallback": _fallback,
    "DeploymentMissing": lambda: once(seen(queue(), replicas=None)),
    "Unreadable": lambda: once(replace(seen(queue(), replicas=None), unseen=True)),
    "Paused": _mode("Paused"),
    "DryRun": _mode("DryRun"),
    "External": _mode("External"),
}
CLAMPS: Cases = {
    "Budget": REASONS["Budget"],
    "MinReplicas": REASONS["MinReplicas"],
    "MaxReplicas": lambda: once(seen(queue(99), replicas=0)),
    "MaxStep": lambda: once(seen(queue(50), replicas=0), Policy(up_max_step=3)),
    "MaxPercent": lambda: once(fleet(queue(50), idle=2), Policy(up_max_percent=50)),
}
HELD: Cases = {
    "StabilizationWindow": lambda: once(fleet(queue(), idle=5)),
    "RecentLoad": _recent_load,
    "RecentShrink": _recent_shrink,
    "IdleSeconds": lambda: once(fleet(queue(), idle=1), Policy(down_stabilization_seconds=0)),
    "BusyWorkers": lambda: settled(fleet(queue(in_flight=4), busy=4), Policy(backlog_per_slot=9)),
    "MinRunSeconds": lambda: settled(fleet(queue(), idle=2, age=5.0)),
    "RolloutInProgress": lambda: settled(fleet(queue(in_flight=1), idle=2, replica_sets=2)),
    "UnreadyWorkers": lambda: settled(
        seen(queue(in_flight=1), [pod("a", ready=False), pod("b")], [worker("a", 1), worker("b")])
    ),
    "UnschedulablePods": lambda: once(
        seen(queue(50), [pod("a", ready=False, unschedulable=True)]), Policy(hold_unschedulable=True)
    ),
    "ReplicaFailure": lambda: once(seen(queue(50), replicas=1, replica_failure="exceeded quota")),
    "ScaleRefused": lambda: once(seen(queue(50), replicas=0)).refused(),
    "Conflict": _not_ours("Conflict"),
    "NewerOperator": _not_ours("NewerOperator"),
    "ForeignOperator": _not_ours("ForeignOperator"),
    "MaxStep": CLAMPS["MaxStep"],
    "MaxPercent": CLAMPS["MaxPercent"],
    "Budget": lambda: once(fleet(queue(50), idle=2), Policy(ceiling=Ceiling("shop", 2, "two"))),
    "UpOnly": lambda: settled(fleet(queue(), idle=2), Policy(mode="UpOnly")),
    "DownOnly": _mode("DownOnly"),
    "Paused": _mode("Paused"),
    "DryRun": _mode("DryRun"),
    "External": _mode("External"),
    "RedisUnreadable": REASONS["RedisUnreadable"],
}


@pytest.mark.parametrize("word", REASONS)
def test_reasons(word: str) -> None:
    assert REASONS[word]().reason == word


@pytest.mark.parametrize("word", CLAMPS)
def test_clamps(word: str) -> None:
    assert word in CLAMPS[word]().clamps


@pytest.mark.parametrize("word", HELD)
def test_what_holds_back(word: str) -> None:
    decision = HELD[word]()
    assert decision.blocked_by == word
    assert decision.wanted_replicas != decision.to_replicas or word == "RedisUnreadable"


def test_each_hold_has_a_sentence_and_a_case() -> None:
    assert set(HELD) == set(BLOCKED)


def test_no_word_of_the_code_is_without_a_case() -> None:
    said = {*REASONS, *CLAMPS, *HELD}
    assert _words_in_the_code() - {*get_args(Mode), "AtLeast", "Drain"} == said - set(get_args(Mode))


@pytest.mark.parametrize(
    ("heading", "cases"), [("`reason`", REASONS), ("`clamps`", CLAMPS), ("`blockedBy`", HELD)]
)
def test_each_word_is_explained_on_the_page(heading: str, cases: Mapping[str, object]) -> None:
    table = re.search(
        rf"^\| {re.escape(heading)} \|.*\n\|---.*\n((?:\|.*\n)+)", README.read_text(), re.MULTILINE
    )
    assert table is not None
    words = [word for row in table[1].splitlines() for word in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(words) == sorted(cases)


def _words_in_the_code() -> set[str]:
    """The CamelCase words that modules of `scaling` have in quotes, type annotations aside."""
    words = set()
    for file in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= set(re.findall(r"\A(?:[A-Z][a-z]+)+\Z", node.value))
    return words - set(scaling.__all__)
