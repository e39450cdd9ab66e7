"""Fifty queues that share a budget for some minutes: what operator/docs/budgets.md promises."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.simulate import __main__ as command
from tests.simulate.fleet import CLASSES, FLEET_SCALERS, WORKERS, FleetOutcome, Member, members, play_fleet
from tests.simulate.report import FLEET_HEAD
from tests.simulate.scalers import OUR_GRACE
from tests.simulate.timeline import Timeline
from tests.simulate.world import Quota, World
from tests.support.prometheus import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SEED, SECONDS = 2, 150.0
OURS, SHORT, KEDA, BEST = FLEET_SCALERS


@pytest.fixture(scope="module")
def ours() -> FleetOutcome:
    return play_fleet(members(SEED, SECONDS), OURS, SEED)


def test_the_higher_priority_waits_for_less(ours: FleetOutcome) -> None:
    high, middle, low = ours.p99
    assert high < middle < low
    assert ours.unfinished == 0, "and nobody waits for ever"


def test_all_together_stay_within_the_budget_and_no_busy_worker_is_taken(ours: FleetOutcome) -> None:
    assert ours.most_workers == WORKERS, "there was more to do than all of them could"
    assert ours.busy_removed == 0


def test_no_worker_of_the_budget_is_missing_while_a_queue_needs_it(ours: FleetOutcome) -> None:
    assert ours.vacant_seconds <= 3


def test_a_quota_leaves_more_idle_and_knows_no_priority(ours: FleetOutcome) -> None:
    for scaler in (KEDA, BEST):
        other = play_fleet(members(SEED, SECONDS), scaler, SEED)
        assert other.utilisation < 0.5 * ours.utilisation
        assert other.p99[0] > 10 * ours.p99[0]
        assert other.most_workers <= WORKERS


def test_short_windows_leave_fewer_idle(ours: FleetOutcome) -> None:
    assert play_fleet(members(SEED, SECONDS), SHORT, SEED).utilisation > ours.utilisation + 0.05


def test_without_priorities_nobody_goes_first(ours: FleetOutcome) -> None:
    """The same queues under one priority: what the higher one gained it had from that alone."""
    fleet = [
        Member(each.name, replace(each.of, priority=0), each.messages) for each in members(SEED, SECONDS)
    ]
    assert play_fleet(fleet, OURS, SEED).p99[0] > 1.5 * ours.p99[0]


def test_the_same_seed_gives_the_same_outcome() -> None:
    fleet = members(5, 30.0)
    assert play_fleet(fleet, OURS, 5) == play_fleet(fleet, OURS, 5)
    assert play_fleet(fleet, OURS, 5) != play_fleet(members(6, 30.0), OURS, 6)


def test_a_pod_that_the_quota_refuses_comes_when_another_one_is_gone() -> None:
    timeline, quota = Timeline(), Quota(3)
    first, second = (World(timeline, random.Random(n), OUR_GRACE, quota=quota) for n in range(2))
    first.scale(2)
    second.scale(2)
    assert (first.live, second.live, quota.refused) == (2, 1, 1)
    timeline.run(10.0)
    first.scale(0)
    timeline.run(25.0)
    assert (first.live, second.live, quota.used) == (0, 2, 2)


def test_the_command_and_the_table_of_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "numbers.json"
    monkeypatch.setattr(command, "members", lambda seed: members(seed, 60.0))
    monkeypatch.setattr("sys.argv", ["simulate", "--fleet", "--json", str(file)])
    assert command.main() == 0
    printed = capsys.readouterr().out
    page = (ROOT / "operator" / "docs" / "budgets.md").read_text()
    assert FLEET_HEAD in printed
    assert FLEET_HEAD in page
    for scaler, numbers in zip(FLEET_SCALERS, json.loads(file.read_text()), strict=True):
        assert numbers["scaler"] == scaler.name
        assert f"\n| {scaler.name} | " in printed
        assert f"\n| {scaler.name} | " in page
        assert f"- {scaler.name}: {scaler.text}" in printed
    assert [each.queues for each in CLASSES] == [10, 15, 25]
