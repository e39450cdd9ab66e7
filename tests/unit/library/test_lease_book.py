"""Which leases are renewed when, and which count as lost: no threads, no server, times as the test tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redis_message_queue.consumer import Claim
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.leases import LeaseBook

TIMEOUT, INTERVAL = 12.0, 3.0


def claim(number: int) -> Claim:
    return Claim(f"stored {number}", str(number), None, "payload", 1)


def test_leases_that_came_at_different_times_are_soon_renewed_together() -> None:
    book = LeaseBook(TIMEOUT, INTERVAL)
    for number in range(30):
        book.add(claim(number), claimed_at=number / 10)
    calls: list[tuple[float, int]] = []
    while len(calls) < 6:
        now = book.renews_at
        claims = book.due(now)
        calls.append((now, len(claims)))
        assert book.renewed(claims, [True] * len(claims), now) == []
    assert calls[-2:] == [(calls[-3][0] + INTERVAL, 30), (calls[-3][0] + 2 * INTERVAL, 30)]


def test_two_messages_under_one_token_are_two_leases() -> None:
    book = LeaseBook(TIMEOUT, INTERVAL)
    old, new = claim(1), claim(1)._replace(stored="another")
    book.add(old, claimed_at=0.0)
    book.add(new, claimed_at=1.0)
    book.remove(old)
    assert (book.ends_at(old), book.ends_at(new)) == (None, 1.0 + TIMEOUT)
    assert book.due(4.0) == [new]
    assert book.renewed([old, new], [False, True], 4.0) == []


def test_a_failure_is_repeated_sooner_and_the_end_stays() -> None:
    book = LeaseBook(TIMEOUT, INTERVAL)
    book.add(claim(1), claimed_at=0.0)
    assert book.renews_at == 3.0
    assert book.due(3.0) == [claim(1)]
    book.failed(3.5)
    assert book.renews_at == 3.5 + book.retry_seconds == 4.25
    assert book.ends_at(claim(1)) == book.expires_at == TIMEOUT


def test_an_expired_lease_is_told_once_and_may_still_be_saved() -> None:
    book = LeaseBook(TIMEOUT, INTERVAL)
    book.add(claim(1), claimed_at=0.0)
    book.failed(11.0)
    assert book.expired(11.9) == []
    assert book.expired(12.0) == [claim(1)]
    assert book.expired(13.0) == []
    assert book.expires_at == float("inf")
    assert book.due(13.0) == [claim(1)]
    assert book.renewed([claim(1)], [True], 13.0) == []
    assert book.ends_at(claim(1)) == book.expires_at == 13.0 + TIMEOUT
    assert book.due(25.0) == book.expired(25.0) == [claim(1)]


def test_a_lost_lease_is_kept_no_longer_and_a_removed_one_is_never_lost() -> None:
    book = LeaseBook(TIMEOUT, INTERVAL)
    for number in (1, 2):
        book.add(claim(number), claimed_at=0.0)
    asked = book.due(3.0)
    book.remove(claim(1))
    assert book.renewed(asked, [False, False], 3.0) == [claim(2)]
    assert (len(book), book.renews_at, book.ends_at(claim(2))) == (0, float("inf"), None)


def eighths(number: int) -> float:
    """Times that add up exactly."""
    return number / 8


@pytest.mark.parametrize(
    ("timeout", "interval", "named"),
    [
        (0, None, "visibility_timeout_seconds"),
        (float("inf"), 1, "visibility_timeout_seconds"),
        (10, 0, "interval_seconds"),
        (10, 5.1, "interval_seconds"),
        (10, float("nan"), "interval_seconds"),
    ],
)
def test_times_that_cannot_work_are_refused(timeout: float, interval: float | None, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{named}' must be"):
        LeaseBook(timeout, interval)


class Keeping(RuleBasedStateMachine):
    """Leases come and go, time passes, calls succeed, fail, or are answered late."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook(TIMEOUT, INTERVAL)
        self.now = 0.0
        self.ends: dict[str, float] = {}
        self.told: set[str] = set()
        self.asked: list[Claim] = []
        self.asked_at = 0.0
        self.numbers = 0

    @rule(ago=st.integers(0, 8).map(eighths))
    def add(self, ago: float) -> None:
        self.numbers += 1
        self.book.add(claim(self.numbers), claimed_at=self.now - ago)
        self.ends[str(self.numbers)] = self.now - ago + TIMEOUT

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        token = data.draw(st.sampled_from(sorted(self.ends)))
        self.book.remove(claim(int(token)))
        del self.ends[token]
        self.told.discard(token)

    @rule(seconds=st.integers(1, 200).map(eighths))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.asked)
    @rule()
    def ask(self) -> None:
        self.asked, self.asked_at = self.book.due(self.now), self.now
        soon = self.now + INTERVAL / 2
        assert {each.token for each in self.asked} == {
            token for token, end in self.ends.items() if end - TIMEOUT + INTERVAL <= soon
        }

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: Any) -> None:
        answers = data.draw(st.lists(st.booleans(), min_size=len(self.asked), max_size=len(self.asked)))
        lost = self.book.renewed(self.asked, answers, self.asked_at)
        kept = {each.token for each, ok in zip(self.asked, answers, strict=True) if ok}
        refused = {each.token for each in self.asked} - kept
        assert {each.token for each in lost} == refused & self.ends.keys()
        for token in kept & self.ends.keys():
            self.ends[token] = self.asked_at + TIMEOUT
            self.told.discard(token)
        for each in lost:
            del self.ends[each.token]
            self.told.discard(each.token)
        self.asked = []

    @precondition(lambda self: self.asked)
    @rule()
    def fail(self) -> None:
        self.book.failed(self.now)
        self.asked = []

    @rule()
    def expire(self) -> None:
        told = {each.token for each in self.book.expired(self.now)}
        assert told == {token for token, end in self.ends.items() if end <= self.now} - self.told
        self.told |= told

    @invariant()
    def every_lease_has_its_end_and_its_next_renewal(self) -> None:
        assert {token: self.book.ends_at(claim(int(token))) for token in self.ends} == self.ends
        assert len(self.book) == len(self.ends)
        untold = [end for token, end in self.ends.items() if token not in self.told]
        assert self.book.expires_at == min(untold, default=float("inf"))
        if self.ends:
            # Nobody waits for longer than an interval after the last success, or than a retry from now.
            soon = min(self.ends.values()) - TIMEOUT + INTERVAL
            assert self.book.renews_at <= max(soon, self.now + self.book.retry_seconds)


Keeping.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestKeeping = Keeping.TestCase
