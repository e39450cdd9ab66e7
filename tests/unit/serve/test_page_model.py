"""What the page shows, before it is HTML."""

from __future__ import annotations

import pytest
from tests.support.observations import queue
from tests.support.page_history import Told, condition

from redisqueue_operator.api import Key
from redisqueue_operator.serve.page.model import PAGE_ROWS, Query, QueryError, Sum, fleet_view, queue_view
from redisqueue_operator.serve.page.queue_page import queue_page


@pytest.fixture
def told() -> Told:
    return Told()


def names(told: Told, **asked: str) -> list[str]:
    return [line.key.name for line in fleet_view(told.history, Query.read(asked)).lines]


def test_what_redis_does_not_tell_is_unknown_in_rows_and_totals(told: Told) -> None:
    told.see("away", None, state="NoRedis", conditions=(condition("RedisReachable", "False"),), ready=3)
    told.see("well", queue(7, dead_letter=2), ready=1)
    view = fleet_view(told.history, Query())
    away, well = view.lines
    unread = (away.pending, away.in_flight, away.delayed, away.failed, away.dead_letter)
    assert unread == (None,) * 5
    assert (away.arrivals_per_second, away.oldest_age_seconds, away.ready) == (None, None, 3)
    assert (well.pending, well.dead_letter, well.trouble) == (7, 2, None)
    assert view.totals["pending"] == Sum(7, 1, of_some=True)
    assert view.totals["ready"] == Sum(4, 0, of_some=True)
    assert away.trouble is not None
    assert away.trouble.kind == "RedisReachable"


def test_of_many_conditions_the_row_has_the_one_that_explains_the_others(told: Told) -> None:
    bad = ("Ready", "Degraded", "RedisReachable")
    conditions = tuple(condition(kind, str(kind == "Degraded")) for kind in bad)
    told.see(
        "away", None, conditions=(*conditions, condition("Paused", "True"), condition("Stalled", "False"))
    )
    (line,) = fleet_view(told.history, Query()).lines
    assert line.trouble is not None
    assert line.trouble.kind == "RedisReachable"
    assert fleet_view(told.history, Query()).alarming == 1


def test_what_is_by_design_alarms_nobody(told: Told) -> None:
    told.history.expected = ("NoPersistence",)
    told.see("here", queue(), conditions=(condition("RedisDurable", "False", "NoPersistence"),))
    assert fleet_view(told.history, Query()).alarming == 0


def test_a_thousand_queues_are_shown_in_pages(told: Told) -> None:
    told.fleet(1000)
    first = fleet_view(told.history, Query.read({}))
    assert (len(first.lines), first.matching, first.pages) == (PAGE_ROWS, 1000, 1000 // PAGE_ROWS)
    assert names(told, page="20")[-1] == "queue-0999"
    assert names(told, page="999999") == names(told, page="20")
    assert first.totals["pending"].known == sum(range(1, 1001))
    assert all(line.waiting_series for line in first.lines)


def test_queues_are_picked_by_name_and_by_what_they_do(told: Told) -> None:
    told.see("emails", queue(3))
    told.see("invoices", queue(0, dead_letter=1))
    told.see("emails", queue(), namespace="media")
    told.see("broken", None, namespace="media", conditions=(condition("Ready", "False"),))
    assert names(told, q="MAIL") == ["emails", "emails"]
    assert names(told, q="media/") == ["broken", "emails"]
    assert names(told, show="attention") == ["broken", "invoices"]
    assert names(told, show="busy") == ["emails"]
    assert names(told, q="nothing") == []


def test_the_most_comes_first_and_the_unknown_last(told: Told) -> None:
    for name, of in (("a", queue(1)), ("b", None), ("c", queue(30)), ("d", queue(1))):
        told.see(name, of)
    assert names(told, sort="pending") == ["c", "a", "d", "b"]
    assert names(told, sort="name") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"page": "0"}, "page: '0' is no number from 1 on"),
        ({"page": "-1"}, "page: '-1'"),
        ({"page": "²"}, "page: '²'"),
        ({"page": "9" * 30}, "page: '999"),
        ({"sort": "<b>"}, "sort: '<b>' is none of name, state"),
        ({"show": "none"}, "show: 'none' is none of all, attention, busy"),
        ({"q": "x" * 201}, "q: 201 characters are more than 200"),
    ],
)
def test_a_query_that_cannot_be_is_told_by_its_name_and_value(asked: dict[str, str], said: str) -> None:
    with pytest.raises(QueryError) as refused:
        Query.read(asked)
    assert str(refused.value).startswith(said)


def test_a_link_says_no_more_than_what_is_not_as_usual() -> None:
    assert Query.read({"unknown": "x"}).changed() == {}
    query = Query.read({"q": "mail", "page": "3", "refresh": "off"})
    assert query.changed(sort="pending", page=None) == {"q": "mail", "sort": "pending", "refresh": "off"}


def test_one_queue_has_its_changes_the_newest_first(told: Told) -> None:
    key = told.see("emails", queue(3))
    told.history.scaled(key, 0, 2, "Backlog")
    told.now += 60
    told.history.scaled(key, 2, 1, "RecentLoad")
    told.now += 5
    view = queue_view(told.history, key, ["a line"], {})
    assert view is not None
    assert [(ago, change.before, change.after) for ago, change in view.changes] == [(5, 2, 1), (65, 0, 2)]
    assert view.known_for_seconds == 65
    assert queue_view(told.history, Key("shop", "gone"), [], {}) is None


def test_a_queue_says_since_when_it_is_known(told: Told) -> None:
    """No change since then is not no change in the last hour."""
    key = told.see("emails", queue(3))
    told.now += 65
    since = "00:58:55 UTC, when this operator began to look after it"
    for change in (False, True):
        if change:
            told.history.scaled(key, 0, 2, "Backlog")
        view = queue_view(told.history, key, [], {})
        assert view is not None
        text = queue_page(view, Query(), 3600.0, 0.0, "")
        assert f"{'Known' if change else 'has not changed'} since {since}" in text
