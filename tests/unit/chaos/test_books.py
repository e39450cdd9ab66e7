"""The verdict of the chaos: what is lost, or handled again without a cause, is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.chaos.books import Books, Delivery, Enqueued, FaultRecord, Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

SENT = [Enqueued("a", "jobs", 10.0), Enqueued("b", "jobs", 11.0)]


def call(began: float, ended: float | None, *, message: str = "a", pod: str = "one") -> Delivery:
    return Delivery(message, "jobs", pod, began, ended)


B = call(12, 13, message="b")


def verdict(*calls: Delivery, faults: tuple[FaultRecord, ...] = (), left: tuple[str, ...] = ()) -> Verdict:
    return judge(SENT, [*calls, B], faults, lease_seconds=20, heartbeat_seconds=5, left=left)


def killed(at: float, pod: str = "one") -> FaultRecord:
    return FaultRecord("killed", at, at, frozenset({pod}), deadly=True)


def test_each_once_is_faultless() -> None:
    found = verdict(call(12, 13))
    assert found.faultless
    assert (found.enqueued, found.handled, found.repeats) == (2, 2, ())
    assert found.waits_seconds == (1, 2)


@pytest.mark.parametrize("calls", [(), (call(12, None),)], ids=["never begun", "never ended"])
def test_what_was_not_handled_to_its_end_is_lost(calls: tuple[Delivery, ...]) -> None:
    found = verdict(*calls, faults=(killed(12.5),))
    assert found.lost == ("a",)
    assert not found.faultless


def test_what_nobody_enqueued_and_what_is_left_in_redis_is_a_fault() -> None:
    assert verdict(call(12, 13), call(12, 13, message="z")).unknown == ("z",)
    assert not verdict(call(12, 13), call(12, 13, message="z")).faultless
    assert not verdict(call(12, 13), left=("jobs: 1 processing",)).faultless


def test_what_comes_again_without_a_cause_is_a_fault() -> None:
    found = verdict(call(12, 13), call(14, 15, pod="two"))
    assert [each.cause for each in found.repeats] == [""]
    assert not found.faultless


@pytest.mark.parametrize(
    ("first", "death", "explained"),
    [
        (call(12, None), killed(12.5), True),
        (call(12, 13), killed(13.2), True),  # before it could tell Redis
        (call(12, 13), killed(30), False),  # long after it had told Redis
        (call(12, None), killed(12.5, pod="another"), False),
        (call(12, None), killed(11), False),  # before it began
        (call(12, None), killed(41), False),  # after it came again
    ],
)
def test_a_death_explains_what_its_worker_had_in_hand(
    first: Delivery, death: FaultRecord, explained: bool
) -> None:
    found = verdict(first, call(40, 41, pod="two"), faults=(death,))
    assert found.faultless == explained
    assert found.repeats[0].cause == ("killed" if explained else "")


@pytest.mark.parametrize(
    ("since", "until", "explained"),
    [
        (12, 30, True),
        (5, 28, True),
        (12, 26, False),  # no lease ends so soon
        (30, 60, False),  # of that only 10 s were before it came again
    ],
)
def test_a_lease_that_could_not_be_renewed_explains_it(since: float, until: float, explained: bool) -> None:
    away = FaultRecord("away", since, until)
    assert verdict(call(12, None), call(40, 41, pod="two"), faults=(away,)).faultless == explained


@pytest.mark.parametrize(
    ("first", "ahead", "at", "explained"),
    [
        (call(12, None), 16, 20, True),
        (call(12, 25), 16, 20, True),  # its lease ended while it ran
        (call(12, 13), 16, 14, True),  # before it could tell Redis
        (call(12, 13), 16, 20, False),  # long after it had told Redis
        (call(12, None), 14, 20, False),  # no lease ends so soon
        (call(12, None), 16, 11, False),  # before it began
        (call(12, None), 16, 41, False),  # after it came again
        (call(12, None), 0, 20, False),  # set back
    ],
)
def test_a_clock_that_is_set_forward_ends_the_leases_there_are(
    first: Delivery, ahead: float, at: float, explained: bool
) -> None:
    step = FaultRecord("clock", at, at, ahead_seconds=ahead)
    assert verdict(first, call(40, 41, pod="two"), faults=(step,)).faultless == explained


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        ([("away", 14, 22), ("full", 20, 30)], "full"),  # 16 s; the longer one is named
        ([("full", 20, 30), ("away", 14, 22)], "full"),
        ([("away", 14, 22), ("full", 16, 24)], ""),  # 10 s, not 16
        ([("away", 14, 22), ("full", 26, 34)], "away"),  # a renewal may come every 5 s only
        ([("away", 14, 22), ("full", 28, 36)], ""),  # one came in between
    ],
)
def test_faults_that_overlap_add_up_to_a_lease(faults: list[tuple[str, float, float]], cause: str) -> None:
    records = tuple(FaultRecord(*each) for each in faults)
    found = verdict(call(12, None), call(40, 41, pod="two"), faults=records)
    assert found.repeats[0].cause == cause


def test_what_was_told_before_a_fault_is_not_explained_by_it() -> None:
    away = FaultRecord("away", 20, 39)
    assert not verdict(call(12, 13), call(40, 41, pod="two"), faults=(away,)).faultless
    assert verdict(call(12, 16), call(40, 41, pod="two"), faults=(away,)).faultless


def test_a_step_of_the_clock_and_time_without_redis_add_up() -> None:
    away, step = FaultRecord("away", 14, 22), FaultRecord("clock", 20, 20, ahead_seconds=8)
    calls = call(12, None), call(40, 41, pod="two")
    assert verdict(*calls, faults=(away, step)).faultless
    assert not verdict(*calls, faults=(away,)).faultless
    assert not verdict(*calls, faults=(step,)).faultless


def test_an_end_that_could_not_be_told_dies_with_its_worker() -> None:
    away = FaultRecord("away", 12, 24)
    calls = call(12, 13), call(26, 27, pod="two")
    assert verdict(*calls, faults=(away, killed(25))).faultless
    assert not verdict(*calls, faults=(away,)).faultless


def test_books_are_read_as_they_were_written(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.write("enqueued", id="a", queue="jobs", at=10.0)
    about = {"id": "a", "queue": "jobs", "pod": "one"}
    books.write("handled-one", kind="start", call="first", at=12.0, **about)
    books.write("handled-one", kind="start", call="second", at=14.0, **about)
    books.write("handled-one", kind="end", call="second", at=15.0)
    assert books.enqueued() == SENT[:1]
    assert books.deliveries() == [call(12, None), call(14, 15)]
    assert books.handled_ids() == {"a"}
