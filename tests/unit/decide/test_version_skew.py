"""Two operators of different versions on one object."""

from __future__ import annotations

from typing import Any

from redisqueue_operator.decide.version_skew import ANSWER_SECONDS, YIELD_SECONDS, Precedence
from redisqueue_operator.observe.facts import ApplyOutcome

REFUSED = ApplyOutcome(False, "NewerOperator", "")
APPLIED = ApplyOutcome(True, "Applied", "")


def status(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Paused", "reason": "Auto"}, {"type": "Ready", "reason": reason}]}


def test_without_a_newer_one_nothing_holds_it_back() -> None:
    none = Precedence().after(APPLIED, None, 0)
    assert none.may_scale(APPLIED, 0)
    assert none.yields_until < 0


def test_it_says_so_before_it_scales_and_waits_for_an_answer() -> None:
    first = Precedence().after(REFUSED, status("Applied"), 0)
    assert not first.may_scale(REFUSED, 100)
    told = first.told(REFUSED, 100).after(REFUSED, status("NewerOperator"), 101)
    assert not told.may_scale(REFUSED, 101)
    assert told.may_scale(REFUSED, 100 + ANSWER_SECONDS), "nobody objected: the newer one is gone"


def test_a_newer_one_that_answers_is_left_alone_for_a_while() -> None:
    told = Precedence().told(REFUSED, 100)
    yields = told.after(REFUSED, status("Applied"), 101)
    assert yields.yields_until == 101 + YIELD_SECONDS
    assert not yields.may_scale(REFUSED, 200)
    assert yields.after(REFUSED, status("Applied"), 300) == yields, "asking does not prolong it"


def test_what_the_process_before_said_counts() -> None:
    again = Precedence().after(REFUSED, status("NewerOperator"), 10)
    assert again.may_scale(REFUSED, 10 + ANSWER_SECONDS)


def test_once_the_children_are_its_own_all_is_forgotten() -> None:
    yields = Precedence(yields_until=1000.0)
    assert yields.after(APPLIED, status("Applied"), 5) == Precedence()
