"""Which faults of the chaos may overlap, and what each says of duplicates."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from itertools import permutations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.chaos.books import FaultRecord
from tests.chaos.faults import ALL, FAULTS, Fault, Impact, may_overlap
from tests.chaos.plan import Step
from tests.chaos.run import Mended, inject

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_what_breaks_the_same_part_or_needs_what_is_broken_never_overlaps() -> None:
    pairs = {(one, other) for one, other in permutations(FAULTS, 2) if may_overlap(one, other)}
    assert all((other, one) in pairs for one, other in pairs)
    assert {("worker killed", "failover"), ("clock stepped", "Redis restarted")} <= pairs
    assert ("API server restarted", "Redis cut off") in pairs
    assert not pairs & {
        ("failover", "Redis restarted"),
        ("etcd restarted", "worker killed"),
        ("etcd restarted", "API server restarted"),
    }
    assert not any("namespace taken away" in pair for pair in pairs)


@pytest.mark.parametrize(
    ("impact", "record"),
    [
        (Impact(deadly=True, pods=frozenset({"a"})), FaultRecord("it", 1, 2, frozenset({"a"}), deadly=True)),
        (ALL, FaultRecord("it", 1, 9)),
        (Impact(ahead_seconds=30.0), FaultRecord("it", 1, 2, ahead_seconds=30.0)),
        (Impact(ahead_seconds=-30.0), FaultRecord("it", 5, 6, ahead_seconds=30.0)),
    ],
    ids=["death", "away", "clock set forward first", "clock set back first"],
)
def test_a_fault_goes_into_the_books_as_what_it_may_explain(impact: Impact, record: FaultRecord) -> None:
    assert Mended("it", impact, 1, 2, 5, 6).record("it", 9) == record


@pytest.mark.parametrize("seed", range(20))
def test_a_clock_is_set_right_again(seed: int) -> None:
    told: list[float] = []
    world = SimpleNamespace(
        redis=SimpleNamespace(clock=SimpleNamespace(step_to=told.append)), lease_seconds=20
    )
    with FAULTS["clock stepped"].body(world, random.Random(seed)) as impact:
        assert told == [impact.ahead_seconds]
        # By more than a lease, or by less than is left of one: of what is in between nobody could say.
        assert abs(impact.ahead_seconds) >= 22 or abs(impact.ahead_seconds) <= 10
    assert told == [impact.ahead_seconds, 0.0]


def test_a_fault_begins_while_another_has_not_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    second_began = threading.Event()
    patience = 60

    @contextmanager
    def first(world: Any, draw: random.Random) -> Iterator[Impact]:
        yield ALL
        assert second_began.wait(patience)

    @contextmanager
    def second(world: Any, draw: random.Random) -> Iterator[Impact]:
        second_began.set()
        yield Impact(deadly=True)

    for name, body in (("first", first), ("second", second)):
        monkeypatch.setitem(
            FAULTS, name, Fault(name, "", (0.0, 0.0), body, name, needs_api=False, brief=False)
        )
    well = iter((["not yet"], []))
    world: Any = SimpleNamespace(unwell=lambda since: next(well), patience_seconds=patience)
    records: list[FaultRecord] = []
    steps = [Step(5.0, "first", 0.0, 1), Step(5.1, "second", 0.0, 2, overlaps=True)]
    one, other = inject(world, steps, 0.0, records)
    assert (one.name, other.name) == ("first, beside second", "second, beside first")
    assert one.recovered == other.recovered is not None
    assert [each.cause for each in records] == [one.name, other.name]
    assert [each.deadly for each in records] == [False, True]
