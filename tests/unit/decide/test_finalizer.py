"""When a deleted RedisQueue with deletionPolicy Drain is let go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.observations import queue, seen
from tests.support.resources import manifest

from redisqueue_operator.api import parse
from redisqueue_operator.decide.finalizer import FINALIZER, finalizers, is_held, may_go, shall_be_held

if TYPE_CHECKING:
    from redisqueue_operator.api import RedisQueue

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def deleted(policy: str = "Drain", *, seconds_ago: float = 0.0, held: bool = True) -> RedisQueue:
    raw: dict[str, Any] = manifest(deletionPolicy=policy)
    raw["metadata"]["deletionTimestamp"] = datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat()
    raw["metadata"]["finalizers"] = ["foregroundDeletion", *([FINALIZER] if held else [])]
    return parse(raw)


@pytest.mark.parametrize("counter", ["pending", "delayed", "in_flight"])
def test_it_stays_while_there_is_work_of_any_kind(counter: str) -> None:
    work = seen(queue(**{counter: 1}), replicas=1)
    assert may_go(deleted(), work, 0, NOW) == ""
    assert may_go(deleted(), seen(queue(), replicas=1), 0, NOW) == "the queue is empty"


def test_unknown_is_not_empty_and_only_the_deadline_ends_it() -> None:
    unread = seen(None, replicas=1)
    assert may_go(deleted(seconds_ago=599), unread, 0, NOW) == ""
    assert "deletionDeadlineSeconds" in may_go(deleted(seconds_ago=601), unread, 0, NOW)


def test_a_sample_from_before_the_deletion_says_nothing() -> None:
    empty = seen(queue(at=1000.0), replicas=1)
    assert may_go(deleted(), empty, 1_000_000, NOW) == ""
    assert may_go(deleted(), empty, 999_999, NOW) == "the queue is empty"


def test_it_goes_when_nobody_is_left_to_empty_the_queue() -> None:
    gone = seen(queue(5), replicas=None)
    assert may_go(deleted(), gone, 0, NOW) == "it has no workers"


def test_a_change_of_mind_lets_it_go_at_once() -> None:
    work = seen(queue(5), replicas=1)
    assert may_go(deleted("Delete"), work, 0, NOW) == "deletionPolicy is Delete"


def test_the_finalizer_is_there_for_drain_alone_and_is_never_added_to_what_leaves() -> None:
    alive = [parse(manifest(deletionPolicy=policy)) for policy in ("Delete", "Drain", "Orphan")]
    assert [shall_be_held(rq) for rq in alive] == [False, True, False]
    assert not shall_be_held(deleted(held=False))
    assert shall_be_held(deleted())
    assert is_held(deleted())


def test_finalizers_of_others_are_kept() -> None:
    assert finalizers(deleted(), False) == ["foregroundDeletion"]
    assert finalizers(deleted(held=False), True) == ["foregroundDeletion", FINALIZER]
