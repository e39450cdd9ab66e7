"""What `make chaos` tells of a run: a row for each fault, a line for the books, a picture."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from tests.chaos.books import Delivery, Enqueued, FaultRecord, judge
from tests.chaos.report import markdown, picture
from tests.chaos.run import Happened, Outcome

CALLS = [Delivery("a", "jobs", "one", 10.0, None), Delivery("a", "jobs", "two", 13.0, 14.0)]
DEATH = FaultRecord("worker killed", 11.0, 11.0, frozenset({"one"}), deadly=True)


def outcome(*faults: FaultRecord) -> Outcome:
    found = judge([Enqueued("a", "jobs", 9.0)], CALLS, faults, lease_seconds=20, heartbeat_seconds=5)
    happened = Happened("worker killed", 2.0, 3.0, 5.5), Happened("failover", 8.0, 9.0, 10.0)
    return Outcome(7, 3, happened, found, (0.0,), (5.0,))


def test_a_table_of_the_faults_and_a_line_of_the_books() -> None:
    text = markdown([outcome(DEATH).plain()])
    assert "| worker killed | 1 | 1 to 1 | 2.5 | 2.5 | 1 |" in text
    assert "| failover | 1 | 1 to 1 | 1.0 | 1.0 | 0 |" in text
    assert "Seed 7: 1 enqueued, 1 handled, 0 lost, 1 handled again, 0 without a cause" in text
    assert "2 of 3 faults in time" in text
    assert outcome(DEATH).problems == []


def test_what_failed_is_named() -> None:
    (told,) = outcome().problems
    assert told.startswith("handled again without a cause")
    stuck = Happened("failover", 8.0, 9.0, None, ("jobs: Ready is False",))
    told, _ = replace(outcome(), happened=(stuck,)).problems
    assert told == "failover at 8 s: jobs: Ready is False"
    assert "| failover | 1 | 1 to 1 |  | never | 0 |" in markdown(
        [replace(outcome(), happened=(stuck,)).plain()]
    )


def test_faults_that_overlapped_have_rows_of_their_own() -> None:
    beside = Happened("failover", 8.0, 9.0, 12.0, beside="worker killed")
    death = replace(DEATH, cause=beside.name)
    plain = replace(outcome(death), happened=(Happened("failover", 2.0, 3.0, 3.5), beside)).plain()
    assert "| failover | 1 | 1 to 1 | 0.5 | 0.5 | 0 |" in markdown([plain])
    assert "| failover, beside worker killed | 1 | 1 to 1 | 3.0 | 3.0 | 1 |" in markdown([plain])
    assert {each.text for each in ET.fromstring(picture(plain)).iter()} >= {"failover"}


def test_the_picture_has_each_fault() -> None:
    drawn = picture(outcome(DEATH).plain())
    texts = {each.text for each in ET.fromstring(drawn).iter() if each.text}
    assert {"worker killed", "failover", "enqueued", "handled"} <= texts
